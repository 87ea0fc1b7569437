"""How well a ranking finds what it should: recall@k, MRR, nDCG@10 and mAP for every query, in plain NumPy.

Ties are neutral. A system that gives many candidates the same score (BM25 does, for every text without a shared word)
has not ordered them, so each metric is the exact mean over all orders of the tied candidates, in closed form: a score
vector of zeros gets chance level, wherever in the table the answers stand.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

METRICS = ("recall@1", "recall@5", "recall@10", "mrr", "ndcg@10", "map")
Scores = Callable[[slice], np.ndarray] | np.ndarray

_NDCG_DEPTH = 10
_FEW_ANSWERS = 2  # a query: counting what scores higher than each is faster than sorting all
_CHUNK_ELEMENTS = 16_000_000  # scores held at a time: 64 MB in float32, and as much again for their sorted copy


def cosine_scores(queries: np.ndarray, items: np.ndarray) -> Callable[[slice], np.ndarray]:
    """Cosine similarity of every query with every item, a slice of queries at a time.

    Args:
        queries: (q, d), of any length; a NaN row gives NaN scores, a zero row zeros.
        items: (n, d), likewise.

    Returns:
        A function from a slice of the queries to (rows, n) float32 scores; the (q, n) matrix never exists.
    """
    if queries.shape[1:] != items.shape[1:]:
        raise ValueError(f"queries are {queries.shape[1]} wide and items {items.shape[1]}")
    queries, items = unit_rows(queries), unit_rows(items)
    return lambda rows: queries[rows] @ items.T


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """(n, d) float32 copy of `vectors` with rows of length one; zero rows stay zero, NaN rows stay NaN."""
    vectors = np.array(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths != 0)
    return vectors


def per_query_metrics(
    scores: Scores,
    relevant: Sequence[ArrayLike],
    gains: Sequence[ArrayLike] | None = None,
    *,
    exclude: Sequence[ArrayLike] | None = None,
) -> dict[str, np.ndarray]:
    """Score the ranking of every query.

    Args:
        scores: (q, n), higher is better, or a function that gives the rows of a slice; NaN ranks last.
        relevant: for every query the positions (0 to n-1) of the candidates that answer it.
        gains: graded relevance of the same shape as `relevant`; a gain of zero or less means "not relevant". nDCG uses
            the gain itself (as trec_eval does), the others only whether it is positive. Without it every gain is 1.
        exclude: for every query the positions that are left out of its ranking, such as the query item itself.

    Returns:
        A (q,) float64 array for each of `METRICS`, in [0, 1]: recall@k is the share of a query's answers that are among
        its first k (with one answer, recall@1 is accuracy), mrr the reciprocal rank of the first answer, map the
        average precision over the whole ranking. NaN for a query without an answer.

    Raises:
        ValueError: lengths that do not match, or a position outside of the candidates.
    """
    answers = _collect_answers(relevant, gains, exclude)
    above, tied, candidates = _locate(scores, answers)
    return _metrics(answers, above, tied, candidates)


@dataclass(frozen=True)
class _Pairs:
    """(query, candidate) pairs, sorted by query, each once."""

    queries: int
    query: np.ndarray  # (pairs,) int64
    position: np.ndarray  # (pairs,) int64
    gain: np.ndarray  # (pairs,) float64

    @property
    def counts(self) -> np.ndarray:
        """(queries,) pairs of every query."""
        return np.bincount(self.query, minlength=self.queries)

    def bounds(self) -> np.ndarray:
        """(queries + 1,) where the pairs of each query begin and end."""
        return np.concatenate(([0], np.cumsum(self.counts)))


@dataclass(frozen=True)
class _Answers(_Pairs):
    excluded: _Pairs


def _flatten(positions: Sequence[ArrayLike], gains: Sequence[ArrayLike] | None) -> _Pairs:
    arrays = [np.asarray(row, dtype=np.int64).ravel() for row in positions]
    lengths = [len(row) for row in arrays]
    position = np.concatenate(arrays) if arrays else np.empty(0, np.int64)
    query = np.repeat(np.arange(len(arrays)), lengths)
    gain = np.ones(len(position))
    if gains is not None:
        if [np.size(row) for row in gains] != lengths:
            raise ValueError("gains must have one value for each relevant position")
        gain = np.concatenate([np.asarray(row, dtype=np.float64).ravel() for row in gains]) if arrays else gain
    if len(position) and position.min() < 0:
        raise ValueError("positions of candidates start at 0")
    # A pair that is named twice counts once, with its best gain.
    order = np.lexsort((-gain, position, query))
    query, position, gain = query[order], position[order], gain[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(query) != 0) | (np.diff(position) != 0)
    return _Pairs(len(arrays), query[first], position[first], gain[first])


def _collect_answers(
    relevant: Sequence[ArrayLike], gains: Sequence[ArrayLike] | None, exclude: Sequence[ArrayLike] | None
) -> _Answers:
    if exclude is not None and len(exclude) != len(relevant):
        raise ValueError(f"{len(relevant)} queries but {len(exclude)} lists of excluded positions")
    if gains is not None and len(gains) != len(relevant):
        raise ValueError(f"{len(relevant)} queries but {len(gains)} lists of gains")
    pairs = _flatten(relevant, gains)
    excluded = _flatten(exclude if exclude is not None else [()] * len(relevant), None)
    width = max(pairs.position.max(initial=0), excluded.position.max(initial=0)) + 1
    keep = (pairs.gain > 0) & ~np.isin(pairs.query * width + pairs.position, excluded.query * width + excluded.position)
    return _Answers(pairs.queries, pairs.query[keep], pairs.position[keep], pairs.gain[keep], excluded)


def score_chunks(scores: Scores, queries: int) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, chunk of scores) pairs; a first small chunk shows how wide the rows are."""
    if isinstance(scores, np.ndarray) and len(scores) != queries:
        raise ValueError(f"{queries} queries but {len(scores)} rows of scores")
    start, rows = 0, 8
    while start < queries:
        part = slice(start, min(start + rows, queries))
        chunk = scores[part] if isinstance(scores, np.ndarray) else np.asarray(scores(part))
        if chunk.ndim != 2 or len(chunk) != part.stop - part.start:
            raise ValueError(f"{part.stop - part.start} queries but scores of shape {chunk.shape}")
        yield start, chunk if chunk.dtype.kind == "f" else chunk.astype(np.float64)
        start = part.stop
        rows = max(1, _CHUNK_ELEMENTS // max(chunk.shape[1], 1))


def _locate(scores: Scores, answers: _Answers) -> tuple[np.ndarray, np.ndarray, int]:
    """For every answer how many candidates score higher, how many the same (itself included); and all candidates."""
    above, tied = np.zeros((2, len(answers.query)), dtype=np.int64)
    bounds, excluded_bounds = answers.bounds(), answers.excluded.bounds()
    candidates = 0
    for start, chunk in score_chunks(scores, answers.queries):
        candidates = chunk.shape[1]
        chunk = np.where(np.isnan(chunk), -np.inf, chunk)
        pairs = slice(bounds[start], bounds[start + len(chunk)])
        none_out = excluded_bounds[start] == excluded_bounds[start + len(chunk)]
        if none_out and pairs.stop - pairs.start <= _FEW_ANSWERS * len(chunk):
            above[pairs], tied[pairs] = _count(chunk, answers.query[pairs], answers.position[pairs], start)
            continue
        for row, values in enumerate(chunk, start):
            mine = slice(bounds[row], bounds[row + 1])
            out = answers.excluded.position[excluded_bounds[row] : excluded_bounds[row + 1]]
            positions = answers.position[mine]
            if max(positions.max(initial=-1), out.max(initial=-1)) >= candidates:
                raise ValueError(f"query {row} names a candidate past the last of {candidates}")
            if not len(positions):
                continue
            own = values[positions]
            values[out] = -np.inf
            values.sort()
            up_to = np.searchsorted(values, own, side="right")
            above[mine] = candidates - up_to
            tied[mine] = up_to - np.searchsorted(values, own, side="left") - np.where(np.isneginf(own), len(out), 0)
    return above, tied, candidates


def _count(chunk: np.ndarray, queries: np.ndarray, positions: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """As `_locate`, for the queries of a chunk that begins at `start`, without sorting: few answers, none excluded."""
    beyond = queries[positions >= chunk.shape[1]]
    if len(beyond):
        raise ValueError(f"query {beyond[0]} names a candidate past the last of {chunk.shape[1]}")
    rows = chunk[queries - start]
    own = rows[np.arange(len(rows)), positions][:, None]
    return np.count_nonzero(rows > own, axis=1), np.count_nonzero(rows == own, axis=1)


def _metrics(answers: _Answers, above: np.ndarray, tied: np.ndarray, candidates: int) -> dict[str, np.ndarray]:
    """Expected values over all orders of the tied, from groups of answers that have the same score.

    A group holds `r` answers among `t` candidates of equal score, behind `a` better ones of which `c` are answers.
    """
    order = np.lexsort((above, answers.query))
    query, above, tied, gain = answers.query[order], above[order], tied[order], answers.gain[order]
    new = np.ones(len(query), dtype=bool)
    new[1:] = (np.diff(query) != 0) | (np.diff(above) != 0)
    starts = np.flatnonzero(new)
    if not len(starts):
        return {name: np.full(answers.queries, np.nan) for name in METRICS}
    owner, a, t = query[starts], above[starts], tied[starts]
    r = np.diff(np.append(starts, len(query)))
    bounds = answers.bounds()
    c = starts - bounds[owner]

    def per_query(of_groups: np.ndarray) -> np.ndarray:
        return np.bincount(owner, weights=of_groups, minlength=answers.queries)

    counts = answers.counts
    share = 1.0 / np.where(counts, counts, np.nan)  # NaN where a query has no answer
    metrics = {f"recall@{k}": per_query(r * np.clip(k - a, 0, t) / t) * share for k in (1, 5, 10)}

    first = c == 0
    metrics["mrr"] = np.full(answers.queries, np.nan)
    metrics["mrr"][owner[first]] = _expected_reciprocal_rank(a[first], t[first], r[first])

    discounts = np.concatenate(([0.0], np.cumsum(1.0 / np.log2(np.arange(2, _NDCG_DEPTH + 2)))))
    reached = discounts[np.minimum(a + t, _NDCG_DEPTH)] - discounts[np.minimum(a, _NDCG_DEPTH)]
    metrics["ndcg@10"] = per_query(np.add.reduceat(gain, starts) / t * reached) / _ideal_gain(answers, discounts)

    harmonic = np.concatenate(([0.0], np.cumsum(1.0 / np.arange(1, candidates + 1))))
    inverse_ranks = harmonic[a + t] - harmonic[a]
    others = (r - 1) / np.maximum(t - 1, 1)
    precision = r / t * ((c + 1) * inverse_ranks + others * (t - (a + 1) * inverse_ranks))
    metrics["map"] = per_query(precision) * share
    return {name: metrics[name] for name in METRICS}


def _ideal_gain(answers: _Answers, discounts: np.ndarray) -> np.ndarray:
    """(queries,) the discounted gain of the best possible order; NaN for a query without an answer."""
    order = np.lexsort((-answers.gain, answers.query))
    query, gain = answers.query[order], answers.gain[order]
    rank = np.arange(len(query)) - answers.bounds()[query]
    weights = gain * np.append(np.diff(discounts), 0.0)[np.minimum(rank, _NDCG_DEPTH)]
    ideal = np.bincount(query, weights=weights, minlength=answers.queries)
    return np.where(ideal > 0, ideal, np.nan)


def _expected_reciprocal_rank(a: np.ndarray, t: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Mean of 1 / (a + J), where J is the first of `r` places drawn from `t` without replacement."""
    values = 1.0 / (a + 1.0)
    open_cases = np.flatnonzero(r < t)
    cases, inverse = np.unique(np.stack((a, t, r))[:, open_cases], axis=1, return_inverse=True)
    expected = np.empty(cases.shape[1])
    for index, (better, size, hits) in enumerate(cases.T):
        # Chance that none of the first j places is a hit, for j = 0 .. size - hits.
        missed = np.concatenate(([1.0], np.cumprod(1.0 - hits / (size - np.arange(size - hits)))))
        drawn = missed - np.append(missed[1:], 0.0)
        expected[index] = drawn @ (1.0 / (better + 1.0 + np.arange(size - hits + 1)))
    values[open_cases] = expected[inverse]
    return values
