"""Scores of held-out queries over an index with and without their answers, on which thresholds are fitted.

The index holds held-out rows alone: those that trained answer more sharply, and an answer that the model has not seen
would seem worse than others that it has. A query is one of these:

* words: a logged query, or the row's title, which is hidden from all items then;
* a picture: that of the row. Where most rows have others of the same identity, those are its answers, and the row
  itself is left out; otherwise the row itself is, and all pictures are hidden;
* words and picture together, with both hidden in the same way;
* the words in hybrid search.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from likewise.evaluation.calibration import CalibrationScores, fit_rule, measure_hybrid_queries, measure_queries
from likewise.evaluation.task import RetrievalTask, build_log_task, build_title_task
from likewise.model.field_embeddings import FieldEmbeddings
from likewise.retrieval.thresholds import KINDS, QueryKind, Thresholds
from likewise.seeds import Stream, random_stream
from likewise.training.batches import Rows
from likewise.training.context import TrainingContext
from likewise.training.features import Features
from likewise.training.validation import Vectors, embed_queries, embed_rows

CalibrationByKind = dict[QueryKind, CalibrationScores]

_MOST_ITEMS = 20_000
_MOST_QUERIES = 1_000  # of one kind and fold
_MOSTLY = 0.5  # of the pictures have another one of the same identity


@dataclass(frozen=True)
class _Queries:
    """Queries of one kind.

    Attributes:
        vectors: (q, dim).
        relevant: per query the positions of its answers.
        exclude: per query the positions of what is no candidate.
        fields: through which items are seen.
        texts: of the queries, for hybrid search.
    """

    vectors: Vectors
    relevant: Sequence[np.ndarray]
    exclude: Sequence[np.ndarray]
    fields: tuple[str, ...]
    texts: Sequence[str] = ()


def score_calibration_queries(context: TrainingContext, features: Features, held_out: Rows) -> CalibrationByKind:
    """Ask the network, in its present state, for rows that it has not seen.

    Args:
        held_out: these rows; of very many, some are drawn.

    Returns:
        The scores by kind of query; kinds for which the catalogue has no queries are missing.
    """
    rng = random_stream(context.config.seed, Stream.CALIBRATION)
    rows = held_out if len(held_out) <= _MOST_ITEMS else np.sort(rng.choice(held_out, _MOST_ITEMS, replace=False))
    network = context.model.network
    items = embed_rows(network, features, context.data, rows, network.fields)
    builder = _QueryBuilder(context, features, rows, items, rng)
    scores = CalibrationByKind()
    words = builder.words()
    kinds: dict[QueryKind, _Queries | None] = {"words": words, "pictures": builder.pictures(), "mixed": builder.mixed()}
    for kind, queries in kinds.items():
        if queries is not None and len(queries.vectors):
            fused = items.fuse(network, queries.fields)
            scores[kind] = measure_queries(queries.vectors, fused, queries.relevant, queries.exclude, rng)
    if words is not None and len(words.vectors):
        task = replace(builder.task, fields=words.fields)
        documents = task.documents(words.fields)
        if documents is not None:
            fused = items.fuse(network, words.fields)
            scores["hybrid"] = measure_hybrid_queries(words.vectors, words.texts, fused, documents, words.relevant, rng)
    return scores


def join_scores(folds: Iterable[CalibrationByKind]) -> CalibrationByKind:
    """The queries of all folds, by kind."""
    every = list(folds)
    known = [kind for kind in KINDS if any(kind in scores for scores in every)]
    return {kind: CalibrationScores.join([scores[kind] for scores in every if kind in scores]) for kind in known}


def keep_thresholds(context: TrainingContext, scores: CalibrationByKind) -> None:
    """Fit a rule to each kind of query that has enough of them, and keep the rules in the run."""
    rules = {kind: rule for kind, queries in scores.items() if (rule := fit_rule(queries)) is not None}
    Thresholds(context.model.network.dim, rules).write(context.run)


class _QueryBuilder:
    """Builds queries of each kind that some rows answer."""

    def __init__(
        self,
        context: TrainingContext,
        features: Features,
        rows: Rows,
        items: FieldEmbeddings,
        rng: np.random.Generator,
    ) -> None:
        self._context = context
        self._features = features
        self._rows = rows
        self._items = items
        self._rng = rng
        self._things = context.data.things[rows]
        self._seen_by_picture = self._find_siblings() if "image" in items.fields else None
        self._built: RetrievalTask | None = None

    @property
    def task(self) -> RetrievalTask:
        """The words that are asked for: logged queries, or titles."""
        if self._built is None:
            context, rows, fields = self._context, self._rows, self._items.fields
            texts, catalog = context.data.texts, context.catalog.select(rows)
            task = build_log_task(catalog, rows, texts.query_log, texts.texts, fields)
            if task is None:
                shown = tuple(field for field in fields if field != "title")
                task = build_title_task(catalog, context.identity.select(rows), shown)
            self._built = task
        return self._built

    def words(self) -> _Queries | None:
        """Titles or logged queries."""
        task = self.task
        if "title" not in self._items.fields and task.hidden is not None:
            return None
        asked = [place for place, rows in enumerate(task.relevant) if len(rows)]
        asked = self._draw(np.array(asked, np.int64)).tolist()
        texts = [str(task.texts[place]) for place in asked]
        shown = self._shown(task.fields)
        if not shown or not texts:
            return None
        none = np.empty(0, np.int64)
        return _Queries(
            self._embed(texts), [task.relevant[place] for place in asked], [none] * len(asked), shown, texts
        )

    def pictures(self) -> _Queries | None:
        """Pictures of the rows."""
        return self._picture_queries(())

    def mixed(self) -> _Queries | None:
        """Titles and pictures of the rows, together."""
        return self._picture_queries(("title",))

    def _picture_queries(self, hidden: tuple[str, ...]) -> _Queries | None:
        """Queries by pictures, and by the words of the hidden fields as well."""
        if self._seen_by_picture is None:
            return None
        by_picture, places = self._seen_by_picture, self._picture_places
        hide = hidden if by_picture else (*hidden, "image")
        shown = self._shown(field for field in self._items.fields if field not in hide)
        if hidden:
            titles = self._context.data.texts.title[self._rows]
            places = places[titles[places] >= 0]
        places = self._draw(places)
        if not shown or not len(places):
            return None
        vectors = np.asarray(self._items.field("image")[places], np.float32)
        if hidden:
            network = self._context.model.network
            vectors = vectors + embed_queries(network, self._features, titles[places])
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        relevant, exclude, own = [], [], self._context.identity.picture[self._rows]
        for place in places:
            same = np.flatnonzero(self._things == self._things[place]) if self._things[place] >= 0 else place[None]
            copies = np.flatnonzero(own == own[place]) if by_picture else np.empty(0, np.int64)
            relevant.append(np.setdiff1d(same, copies))
            exclude.append(np.setdiff1d(copies, relevant[-1]))
        return _Queries(vectors, relevant, exclude, shown)

    def _find_siblings(self) -> bool:
        """Whether most pictures have another one of the same identity; `_picture_places` are those."""
        own = self._context.identity.picture[self._rows]
        pictured = ~np.isnan(self._items.field("image")[:, 0])
        asked = np.flatnonzero(pictured)
        known = pictured & (self._things >= 0)
        pairs = np.unique(np.stack([self._things[known], own[known]]), axis=1)
        things, pictures = np.unique(pairs[0], return_counts=True)
        several = np.isin(self._things, things[pictures > 1])
        mostly = bool(len(asked)) and several[asked].mean() > _MOSTLY
        self._picture_places = asked[several[asked]] if mostly else asked
        return bool(mostly)

    def _shown(self, fields: Sequence[str] | object) -> tuple[str, ...]:
        """Those of some fields that any item has."""
        return tuple(field for field in fields if self._items.has_any([field]).any())  # type: ignore[attr-defined]

    def _embed(self, texts: Sequence[str]) -> Vectors:
        numbers = self._context.data.texts.numbers
        indices = np.array([numbers[text] for text in texts], np.int64)
        return embed_queries(self._context.model.network, self._features, indices)

    def _draw(self, places: np.ndarray) -> np.ndarray:
        if len(places) <= _MOST_QUERIES:
            return places
        return np.sort(self._rng.choice(places, _MOST_QUERIES, replace=False))
