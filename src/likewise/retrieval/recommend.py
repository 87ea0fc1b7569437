"""Similar items for every item, in one walk through the store."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.progress import Bar
from likewise.retrieval.diversity import NearDuplicateFilter
from likewise.stores.base import Batch, SearchResult, Store

_BATCH = 1_000
_COLUMNS = {"id": pl.String, "rank": pl.Int32, "similar_id": pl.String, "score": pl.Float32}


def recommend(store: Store, k: int, where: Condition | None, duplicate_threshold: float | None) -> pl.DataFrame:
    """The k most similar items of every item.

    Args:
        where: what similar items have to meet; every item gets some, whether it meets it or not.
        duplicate_threshold: leave out items whose cosine with the item, or with one before them, is that high.

    Returns:
        "id" and "similar_id" (String), "rank" from 1 (Int32) and "score" (Float32, the cosine), in the order of the
        store and by rank; never the item itself, and fewer than k rows where fewer items qualify.

    Raises:
        UserError: a k below 1, or a filter that does not fit the columns.
    """
    if k < 1:
        raise UserError(f"k must be at least 1, not {k}")
    parts = [pl.DataFrame(schema=_COLUMNS)]
    with Bar("Finding similar items", store.count()) as bar:
        for batch in store.iterate(_BATCH):
            parts.append(_table(batch.ids, _similar(store, batch, k, where, duplicate_threshold)))
            bar.advance(len(batch.ids))
    return pl.concat(parts)


def _similar(
    store: Store, batch: Batch, k: int, where: Condition | None, duplicate_threshold: float | None
) -> list[SearchResult]:
    """What is similar to each item of a batch; asked again, for more, where too little is left."""
    results: dict[int, SearchResult] = {}
    waiting, asked = list(range(len(batch.ids))), k + 1
    while waiting:
        answers = store.search(batch.vectors[waiting], asked, where)
        vectors = _vectors(store, answers) if duplicate_threshold is not None else {}
        for place, found in zip(waiting, answers, strict=True):
            kept = [row for row, id in enumerate(found.ids) if id != batch.ids[place]]
            if duplicate_threshold is not None:
                distinct = NearDuplicateFilter(duplicate_threshold, batch.vectors[place][None])
                kept = [row for row in kept if found.ids[row] in vectors and distinct.admits(vectors[found.ids[row]])]
            if len(kept) >= k or len(found.ids) < asked:
                results[place] = SearchResult([found.ids[row] for row in kept[:k]], found.scores[kept[:k]])
        waiting = [place for place in waiting if place not in results]
        asked *= 2
    return [results[place] for place in range(len(batch.ids))]


def _vectors(store: Store, answers: Sequence[SearchResult]) -> dict[str, np.ndarray]:
    ids = list(dict.fromkeys(id for found in answers for id in found.ids))
    records = store.fetch(ids, vectors=True)
    return {record.id: record.vector for record in records if record is not None and record.vector is not None}


def _table(ids: Sequence[str], similar: Sequence[SearchResult]) -> pl.DataFrame:
    def flat() -> Iterator[tuple[str, int, str, float]]:
        for id, found in zip(ids, similar, strict=True):
            for rank, (other, score) in enumerate(zip(found.ids, found.scores.tolist(), strict=True), start=1):
                yield id, rank, other, score

    return pl.DataFrame(list(flat()), schema=_COLUMNS, orient="row")
