"""The nearest rows of a matrix, by looking at every one of them."""

from typing import Any

import faiss
import numpy as np

from likewise.stores.faiss.faiss_calls import all_inner_products, inner_products

_faiss: Any = faiss  # its type stubs lack a part of what is used here

_BLOCK = 16_384  # rows whose scores are in memory at a time
_FEW = 6  # queries: below, rows are cheaper to visit in place than to copy for a matrix product
_NARROW = 256  # columns, which are sorted faster than divided into the best and the rest
_SHARE = 2_048  # rows; fewer are not worth a thread


def find_nearest(
    matrix: np.ndarray, queries: np.ndarray, k: int, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows with the highest inner products.

    Args:
        matrix: (n, dim) float32, contiguous; a mapped file is read where it lies.
        queries: (q, dim) float32, contiguous.
        rows: (m,) int64, the only rows to look at; None: all.

    Returns:
        Scores, descending, and row numbers; both (q, min(k, n or m)).
    """
    size = len(matrix) if rows is None else len(rows)
    k = min(k, size)
    if k == 0 or len(queries) == 0:
        return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    if rows is not None and len(queries) < _FEW:
        return _visit(matrix, queries, k, rows)
    scores = np.empty((len(queries), 0), np.float32)
    places = np.empty((len(queries), 0), np.int64)
    for start in range(0, size, _BLOCK):
        block = matrix[start : start + _BLOCK] if rows is None else matrix[rows[start : start + _BLOCK]]
        products = queries @ block.T if len(queries) > 1 else all_inner_products(block, queries[0])[None]
        if scores.shape[1] == k:
            better, best = _above(products, scores.min(axis=1))
        else:
            best = _best(products, k)
            better = np.take_along_axis(products, best, axis=1)
        scores, places = np.concatenate([scores, better], axis=1), np.concatenate([places, best + start], axis=1)
        best = _best(scores, k)
        scores, places = np.take_along_axis(scores, best, axis=1), np.take_along_axis(places, best, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.take_along_axis(places, order, axis=1)
    return np.take_along_axis(scores, order, axis=1), places if rows is None else rows[places]


def _above(scores: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scores of each line above the line's own threshold, few as a rule, and their places.

    Returns:
        Both (lines, the most of a line); other lines are filled up with minus infinity.
    """
    lines, places = np.nonzero(scores > least[:, None])
    counts = np.bincount(lines, minlength=len(scores))
    column = np.arange(len(lines)) - np.repeat(np.cumsum(counts) - counts, counts)
    better = np.full((len(scores), int(counts.max(initial=0))), -np.inf, np.float32)
    place = np.zeros(better.shape, np.int64)
    better[lines, column], place[lines, column] = scores[lines, places], places
    return better, place


def merge_results(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of two results of the same queries; rows below 0 are gaps and come last."""
    scores, rows = (np.concatenate(pair, axis=1) for pair in zip(first, second, strict=True))
    order = np.argsort(np.where(rows < 0, np.inf, -scores), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """The places of the k highest scores of each line, in any order."""
    width = scores.shape[1]
    if k >= width:
        return np.broadcast_to(np.arange(width), scores.shape)
    return np.argpartition(scores, width - k, axis=1)[:, width - k :]


def rank_candidates(matrix: np.ndarray, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The k best of the rows that were proposed for each query, by inner products without a copy of them.

    Args:
        rows: (q, m) int64, contiguous; numbers below 0 are gaps and come last.

    Returns:
        Scores, descending, and row numbers; both (q, min(k, m)).
    """
    products = inner_products(matrix, queries, rows)
    if rows.shape[1] <= _NARROW:
        best = np.argsort(-products, axis=1)[:, :k]
    else:
        best = _best(products, k)
        order = np.argsort(-np.take_along_axis(products, best, axis=1), axis=1)
        best = np.take_along_axis(best, order, axis=1)
    flat = best + np.arange(len(rows))[:, None] * rows.shape[1]
    return products.reshape(-1)[flat], rows.reshape(-1)[flat]


def _visit(matrix: np.ndarray, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The k best of chosen rows for a few queries; threads share the rows of one query."""
    shares = min(_faiss.omp_get_max_threads(), len(rows) // _SHARE) if len(queries) == 1 else 1
    if shares < 2:
        return rank_candidates(
            matrix, queries, k, np.ascontiguousarray(np.broadcast_to(rows, (len(queries), len(rows))))
        )
    parts = np.full((shares, -(-len(rows) // shares)), -1, np.int64)
    parts.reshape(-1)[: len(rows)] = rows
    scores, found = rank_candidates(matrix, np.repeat(queries, shares, axis=0), k, parts)
    best = np.argsort(-scores, axis=None, kind="stable")[:k]
    return scores.reshape(1, -1)[:, best], found.reshape(1, -1)[:, best]
