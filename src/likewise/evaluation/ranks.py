"""Rankings of all queries: the first right answer, the best wrong one, and what ranks first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.evaluation.metrics import Scores, score_chunks

RANK_EDGES = (1, 2, 3, 5, 10, 20, 50, 100, 1000)  # the last rank of each bin of a histogram; one more bin lies behind


@dataclass(frozen=True)
class Rankings:
    """The rankings of q queries.

    Attributes:
        right: (q,) float32 the highest score of a right answer; NaN where a query has none.
        wrong: (q,) float32 the highest score of any other candidate; NaN where there is none.
        rank: (q,) float64 the rank of the first right answer, from 1; NaN where a query has none.
        best: (q,) int64 the position of that answer; −1 where a query has none.
        first: (q, k) int64 the positions in the first k places.
    """

    right: NDArray[np.float32]
    wrong: NDArray[np.float32]
    rank: NDArray[np.float64]
    best: NDArray[np.int64]
    first: NDArray[np.int64]


def rank_candidates(
    scores: Scores, relevant: Sequence[ArrayLike], exclude: Sequence[ArrayLike] | None = None, *, places: int = 4
) -> Rankings:
    """Rank the candidates of all queries, a slice of the queries at a time.

    Args:
        scores: (q, n), or a function of a slice; NaN ranks last.
        relevant: for every query the positions of the candidates that answer it.
        exclude: for every query the positions that its ranking omits, as in `per_query_metrics`.
        places: k, how many of the first places are kept; at most n.

    A right answer that ties with others stands in the middle of them.
    """
    queries = len(relevant)
    right, wrong = np.full((2, queries), np.nan, np.float32)
    rank, best = np.full(queries, np.nan), np.full(queries, -1, np.int64)
    first = np.empty((queries, 0), np.int64)
    for start, chunk in score_chunks(scores, queries):
        chunk = np.where(np.isnan(chunk), -np.inf, chunk)
        if not first.shape[1]:
            first = np.empty((queries, min(places, chunk.shape[1])), np.int64)
        for row, values in enumerate(chunk, start):
            if exclude is not None:
                values[np.asarray(exclude[row], dtype=np.int64)] = -np.inf
            top = np.argpartition(-values, first.shape[1] - 1)[: first.shape[1]] if first.shape[1] else first[row]
            first[row] = top[np.argsort(-values[top], kind="stable")]
            answers = np.unique(np.asarray(relevant[row], dtype=np.int64))
            out = answers if exclude is None else np.union1d(answers, np.asarray(exclude[row], dtype=np.int64))
            if len(answers):
                best[row] = answers[values[answers].argmax()]
                score = values[best[row]]
                others = np.delete(values, out)
                rank[row] = 1 + (others > score).sum() + (others == score).sum() / 2
                right[row] = score
            else:
                others = np.delete(values, out)
            if len(others):
                wrong[row] = others.max()
    right[np.isneginf(right)], wrong[np.isneginf(wrong)] = np.nan, np.nan
    return Rankings(right, wrong, rank, best, first)


def rank_histogram(reciprocal_ranks: np.ndarray) -> list[int]:
    """How many queries have their first right answer within each bin of `RANK_EDGES`, and behind the last.

    Args:
        reciprocal_ranks: (q,) as the metric mrr has them; NaN is left out. Where scores tie it is a mean over orders,
            and so is the rank.
    """
    known = reciprocal_ranks[~np.isnan(reciprocal_ranks)]
    ranks = np.round(1.0 / np.maximum(known, 1e-12))
    bins = np.searchsorted(RANK_EDGES, ranks, side="left")
    return [int(count) for count in np.bincount(bins, minlength=len(RANK_EDGES) + 1)]


def rank_labels() -> list[str]:
    """The bins in words: "1", "2", "3", "4–5", "6–10" … "over 1,000"."""
    lows = [1, *(edge + 1 for edge in RANK_EDGES[:-1])]
    labels = [f"{low:,}" if low == high else f"{low:,}–{high:,}" for low, high in zip(lows, RANK_EDGES, strict=True)]
    return [*labels, f"over {RANK_EDGES[-1]:,}"]
