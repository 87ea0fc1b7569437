"""From a query to its hits: candidates by the block, boosted, put in order, thinned out, cut into pages.

What reorders candidates works on blocks of them, 200 at first. So the effort does not depend on the size of the
catalogue, and the pages of one query fit together however long they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, cast

import numpy as np

from likewise.catalog.filters import Condition
from likewise.retrieval.candidates import Candidate, HybridCandidates, Source, every, vector_candidates, without
from likewise.retrieval.diversity import NearDuplicateFilter, rerank_by_mmr
from likewise.retrieval.explanation import explain_hits
from likewise.retrieval.groups import Groups, check_facets, count_facets
from likewise.retrieval.items import BookkeepingColumns, Explanation, Hit, Hits
from likewise.retrieval.lexical.bm25 import BM25Index
from likewise.retrieval.lexical.synonyms import NO_SYNONYMS
from likewise.retrieval.query import Query
from likewise.retrieval.query_threshold import QueryThresholds
from likewise.retrieval.query_vector import QueryModel, QueryParts, fetch_liked_vectors
from likewise.retrieval.word_shares import explain_words
from likewise.stores.base import Record, Store
from likewise.stores.conditions import normal_form
from likewise.stores.schema import Schema

BLOCK = 200  # candidates that are put in order together
COUNTED = 1_000  # candidates whose values are counted
_MOST_TIES = 10_000  # equals that are all looked at, so that chance decides nothing between them


@dataclass(frozen=True)
class _Loaded:
    """A candidate with what the store says of it, if that was asked for."""

    id: str
    score: float
    record: Record | None = None

    @property
    def fields(self) -> dict[str, Any]:
        return self.record.fields if self.record is not None else {}

    @property
    def vector(self) -> np.ndarray:
        return cast(np.ndarray, cast(Record, self.record).vector)


def answer(
    query: Query,
    model: QueryModel,
    store: Store,
    bookkeeping: BookkeepingColumns,
    words: Callable[[], BM25Index],
    fusion: object = None,
    thresholds: QueryThresholds | None = None,
) -> Hits:
    """The hits of a query.

    Args:
        fusion: the model of the index, which explains hits.
        bookkeeping: the columns that users do not see.
        words: called for a hybrid search only.
        thresholds: the calibrated ones of the index, for a query that asks for them.

    Raises:
        UserError: the query does not fit the store's columns, or names items that are not there.
        PictureError: a picture of the query cannot be read.
    """
    check_columns(query, bookkeeping.user_schema(store.schema))
    began = perf_counter()
    parts = QueryParts.encode(query, model, store)
    vector = parts.mix(query)
    encoded = perf_counter()
    source: Source = vector_candidates(store, vector)
    if query.hybrid is not None:
        matches = words().match(
            [(term.value, term.weight) for term in query.texts] + [(term.value, -term.weight) for term in query.minus],
            query.hybrid.synonyms or NO_SYNONYMS,
        )
        source = HybridCandidates(store, vector, matches, query.hybrid)
    search = _Search(query, store, source)
    page = search.page()
    found = perf_counter()
    records = _records(store, page)
    items = {id: bookkeeping.build_item(record) for id, record in records.items()}
    explained: dict[str, Explanation] = {}
    if query.explain:
        explained = explain_hits(query, vector, fusion, store, source, [(one.id, one.score) for one in page])
        if query.explain == "words":
            explained = explain_words(query, parts, vector[0], fusion, store, explained)
    threshold = None
    if query.auto_threshold and thresholds is not None:
        threshold = thresholds.find(query, vector[0], store, source, search.best)
    hits = [
        Hit(
            one.id,
            one.score,
            items[one.id].fields,
            items[one.id].picture,
            explained.get(one.id),
            likely=None if threshold is None else one.score >= threshold.score,
            recordings=items[one.id].recordings,
        )
        for one in page
        if one.id in items
    ]
    facets = _facets(query, store, source) if query.facets else None
    took = {"encode": encoded - began, "search": found - encoded, "fetch": perf_counter() - found}
    answered = Hits(hits, facets, took)
    answered.threshold = threshold
    return answered


def check_columns(query: Query, schema: Schema) -> None:
    """See that the store has the columns that a query names, and that they are of the kinds that it needs.

    Raises:
        UserError: one is missing or of another kind; the message says which.
    """
    if query.where is not None:
        normal_form(query.where, schema)
    if query.group_by is not None:
        Groups(schema.column(query.group_by))
    if query.boost is not None:
        query.boost.check(schema)
    check_facets([schema.column(name) for name in query.facets])


class _Search:
    """One query on its way through the candidates."""

    def __init__(self, query: Query, store: Store, source: Source) -> None:
        self._query = query
        self._store = store
        self._source = source
        self._liked = {term.value for term in query.likes}
        self._groups = Groups(store.schema.column(query.group_by)) if query.group_by else None
        self._distinct: NearDuplicateFilter | None = None
        if query.duplicate_threshold is not None:
            self._distinct = NearDuplicateFilter(query.duplicate_threshold, fetch_liked_vectors(query, store))
        self.best: Candidate | None = None  # the first of all candidates, once the page is there
        self._ordered: list[np.ndarray] = []  # vectors of what has been put in order, for those that come after

    def page(self) -> list[_Loaded]:
        """The hits from `offset` on."""
        first, wanted = self._query.offset, self._query.offset + self._query.k
        kept: list[_Loaded] = []
        for block in self._blocks():
            good = _good_enough(self._query, _boost(self._query, self._load(block)))
            for candidate in self._diversify(good):
                if self._is_shown(candidate):
                    kept.append(candidate)
                if len(kept) == wanted:
                    return kept[first:]
            if self._query.min_score is not None and not good:
                break  # what comes after is further away still
        return kept[first:]

    def _blocks(self) -> Iterator[list[Candidate]]:
        query = self._query
        plain = not (self._groups or self._distinct or query.boost or query.diversity or query.hybrid)
        size = query.offset + query.k + 1 if plain else BLOCK
        seen = set(self._liked)
        while True:
            asked = size + len(seen)
            found = self._source(asked, self._condition())
            exhausted = len(found) < asked
            fresh = without(found if exhausted or asked > _MOST_TIES else _without_last_ties(found), seen)
            if fresh:
                self.best = self.best or fresh[0]
                yield fresh
            if exhausted:
                return
            seen.update(candidate.id for candidate in fresh)
            size = max(size, len(seen)) if fresh else 2 * size

    def _condition(self) -> Condition | None:
        """Groups that have had their hit need not be looked at any more."""
        return every(self._query.where, self._groups.others() if self._groups else None)

    def _load(self, block: list[Candidate]) -> list[_Loaded]:
        vectors = self._distinct is not None or self._query.diversity > 0
        if not (vectors or self._groups or self._query.boost):
            return [_Loaded(candidate.id, candidate.score) for candidate in block]
        records = self._store.fetch([candidate.id for candidate in block], vectors=vectors)
        return [
            _Loaded(candidate.id, candidate.score, record)
            for candidate, record in zip(block, records, strict=True)
            if record is not None  # deleted this very moment
        ]

    def _diversify(self, block: list[_Loaded]) -> Iterator[_Loaded]:
        if not self._query.diversity or not block:
            yield from block
            return
        vectors = np.stack([candidate.vector for candidate in block])
        scores = np.array([candidate.score for candidate in block], np.float32)
        before = np.stack(self._ordered) if self._ordered else np.empty((0, vectors.shape[1]), np.float32)
        for place in rerank_by_mmr(scores, vectors, before, self._query.diversity):
            self._ordered.append(vectors[place])
            yield block[place]

    def _is_shown(self, candidate: _Loaded) -> bool:
        if self._groups is not None and not self._groups.admits(candidate.fields):
            return False
        if self._distinct is not None and not self._distinct.admits(candidate.vector):
            return False
        if self._groups is not None:
            self._groups.add(candidate.fields)
        return True


def _without_last_ties(found: list[Candidate]) -> list[Candidate]:
    """All but the last score and its ties: more of these may follow, so they all wait for the next page."""
    return [candidate for candidate in found if candidate.score > found[-1].score]


def _boost(query: Query, block: list[_Loaded]) -> list[_Loaded]:
    if query.boost is None:
        return block
    boosts = query.boost.values([candidate.fields for candidate in block])
    raised = [replace(one, score=one.score + float(boost)) for one, boost in zip(block, boosts, strict=True)]
    return sorted(raised, key=lambda candidate: -candidate.score)


def _good_enough(query: Query, block: list[_Loaded]) -> list[_Loaded]:
    least = query.min_score
    return block if least is None else [candidate for candidate in block if candidate.score >= least]


def _facets(query: Query, store: Store, source: Source) -> dict[str, dict[Any, int]]:
    """Value counts of the best candidates, the same for every page."""
    liked = {term.value for term in query.likes}
    best = without(source(COUNTED + len(liked), query.where), liked)[:COUNTED]
    records = _records(store, [_Loaded(candidate.id, candidate.score) for candidate in best])
    loaded = [_Loaded(one.id, one.score, records[one.id]) for one in best if one.id in records]
    counted = [one.fields for one in _good_enough(query, _boost(query, loaded))]
    return {column: count_facets(counted, column) for column in query.facets}


def _records(store: Store, candidates: list[_Loaded]) -> dict[str, Record]:
    known = {one.id: one.record for one in candidates if one.record is not None}
    missing = [one.id for one in candidates if one.record is None]
    if missing:
        known |= {record.id: record for record in store.fetch(missing) if record is not None}
    return known
