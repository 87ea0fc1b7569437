"""The nearest rows of a matrix, by looking at every one of them."""

from typing import Any

import faiss
import numpy as np

_faiss: Any = faiss  # its type stubs lack a part of what is used here

_BLOCK = 16_384  # rows whose scores are in memory at a time
_FEW = 6  # queries: below, rows are cheaper to visit in place than to copy for a matrix product


def nearest(
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
        return _visited(matrix, queries, k, rows)
    scores: list[np.ndarray] = []
    places: list[np.ndarray] = []
    for start in range(0, size, _BLOCK):
        block = matrix[start : start + _BLOCK] if rows is None else matrix[rows[start : start + _BLOCK]]
        products = queries @ block.T if len(queries) > 1 else (block @ queries[0])[None]
        best = _best(products, k)
        scores.append(np.take_along_axis(products, best, axis=1))
        places.append(best + start)
    joined, place = np.concatenate(scores, axis=1), np.concatenate(places, axis=1)
    best = _best(joined, k)
    joined, place = np.take_along_axis(joined, best, axis=1), np.take_along_axis(place, best, axis=1)
    order = np.argsort(-joined, axis=1, kind="stable")
    place = np.take_along_axis(place, order, axis=1)
    return np.take_along_axis(joined, order, axis=1), place if rows is None else rows[place]


def merged(
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


def _visited(matrix: np.ndarray, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inner products with chosen rows, without a copy of them."""
    products = np.empty((len(queries), len(rows)), np.float32)
    wanted = np.ascontiguousarray(np.broadcast_to(rows, products.shape), dtype=np.int64)
    _faiss.fvec_inner_products_by_idx(
        _faiss.swig_ptr(products),
        _faiss.swig_ptr(queries),
        _faiss.swig_ptr(matrix),
        _faiss.swig_ptr(wanted),
        matrix.shape[1],
        len(queries),
        len(rows),
    )
    best = _best(products, k)
    scores = np.take_along_axis(products, best, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, axis=1), rows[np.take_along_axis(best, order, axis=1)]
