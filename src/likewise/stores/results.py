"""Search results, made alike for every engine."""

from collections.abc import Sequence

import numpy as np

from likewise.stores.base import SearchResult


def rank_hits(ids: Sequence[str] | np.ndarray, scores: Sequence[float] | np.ndarray, k: int) -> SearchResult:
    """One query's result, best hit first.

    Args:
        ids: in any order.
        scores: (len(ids),), their inner products with the query, which rounding may have moved past 1.
        k: how many to keep.
    """
    cosines = np.clip(np.asarray(scores, dtype=np.float32), -1.0, 1.0)
    order = np.argsort(-cosines, kind="stable")[:k]
    return SearchResult([ids[row] for row in order], cosines[order])


def no_results(queries: int) -> list[SearchResult]:
    """The results of queries where no item can be a hit."""
    return [SearchResult([], np.empty(0, np.float32)) for _ in range(queries)]
