"""The calibrated threshold of a query: the rule of its kind, applied to cosines with a sample of the items."""

from pathlib import Path
from typing import Self

import numpy as np

from likewise.retrieval.candidates import Candidate, HybridCandidates, Source
from likewise.retrieval.hybrid import Hybrid
from likewise.retrieval.metadata import IndexMetadata
from likewise.retrieval.query import Query
from likewise.retrieval.thresholds import QueryKind, ScoreStatistics, Threshold, Thresholds
from likewise.stores.base import Store


def find_kind(query: Query) -> QueryKind | None:
    """The kind of a query whose scores mean what they meant when thresholds were calibrated; None for others.

    Those by items or recordings, with a boost, or of a hybrid search that combines scores otherwise have none.
    """
    if query.likes or query.sounds or query.boost is not None:
        return None
    if query.hybrid is not None:
        as_calibrated = query.hybrid.by == Hybrid.by and query.hybrid.words == Hybrid.words
        return "hybrid" if as_calibrated and not query.images else None
    if query.texts and query.images:
        return "mixed"
    return "words" if query.texts else "pictures"


class QueryThresholds:
    """The thresholds of an index's queries; the rules of its run and the sample are read once.

    The sample was drawn when the index was built. Of its items, those that are still there count as they are when this
    index first needs them.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._rules: tuple[Thresholds | None] | None = None
        self._metadata: IndexMetadata | None = None
        self._sample: tuple[str, np.ndarray, np.ndarray] | None = None  # of which build

    def use(self, metadata: IndexMetadata) -> Self:
        """Answer for the content of an index that has this metadata."""
        self._metadata = metadata
        return self

    def find(
        self, query: Query, vector: np.ndarray, store: Store, source: Source, best: Candidate | None
    ) -> Threshold | None:
        """The threshold of a query; None where the run has no rule for such a query, or the index keeps no sample.

        Args:
            vector: (dim,) the query's.
            source: that its hits came from.
            best: the first of its candidates, however many hits are skipped; None where there is none. In a hybrid
                search the nearest item counts instead.

        Raises:
            UserError: the run's rules are damaged.
        """
        kind, metadata = find_kind(query), self._metadata
        nearest = source.nearest if isinstance(source, HybridCandidates) else best
        if kind is None or metadata is None or nearest is None or not vector.any():
            return None
        if self._rules is None:
            self._rules = (Thresholds.read(self._run),)
        (thresholds,) = self._rules
        rule = (
            None
            if thresholds is None or thresholds.dim != metadata.dim
            else thresholds.rules.get("words" if kind == "hybrid" else kind)
        )
        if rule is None:
            return None
        ids, sample = self._read_sample(metadata, store)
        (item,) = store.fetch([nearest.id], vectors=True)
        others = ids != nearest.id
        if item is None or item.vector is None or not others.any():
            return None
        cosine = rule.threshold(ScoreStatistics.measure(sample @ vector, (sample @ item.vector)[others]))
        return Threshold(source.find_threshold(cosine) if isinstance(source, HybridCandidates) else cosine, kind)

    def _read_sample(self, metadata: IndexMetadata, store: Store) -> tuple[np.ndarray, np.ndarray]:
        """(n,) ids of the sampled items that are still there, and their (n, dim) vectors."""
        if self._sample is None or self._sample[0] != metadata.build:
            records = store.fetch(metadata.sample, vectors=True) if metadata.sample else []
            known = {record.id: record.vector for record in records if record is not None and record.vector is not None}
            vectors = np.empty((0, metadata.dim), np.float32)
            if known:
                vectors = np.stack(list(known.values())).astype(np.float32)
            self._sample = (metadata.build, np.array(list(known), object), vectors)
        return self._sample[1], self._sample[2]
