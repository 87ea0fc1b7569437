"""FAISS's functions on arrays as they lie in memory, without the checks and copies of its Python methods."""

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

_faiss: Any = faiss  # its type stubs lack a part of what is used here


def search_index(index: Any, queries: np.ndarray, depth: int, parameters: Any = None) -> np.ndarray:
    """(q, depth) int64, the rows that an index finds nearest to (q, dim) float32 queries; −1 where it finds no more."""
    rows = np.empty((len(queries), depth), np.int64)
    scores = np.empty((len(queries), depth), np.float32)
    swig = _faiss.swig_ptr
    _shared_out(index.search_c, len(queries), len(queries), swig(queries), depth, swig(scores), swig(rows), parameters)
    return rows


def inner_products(matrix: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(q, m) float32, each query's inner products with rows of its own; minus infinity where a number is below 0."""
    products = np.empty(rows.shape, np.float32)
    swig = _faiss.swig_ptr
    arguments = swig(products), swig(queries), swig(matrix), swig(rows), matrix.shape[1], *rows.shape
    _shared_out(_faiss.fvec_inner_products_by_idx, len(rows), *arguments)
    return products


def all_inner_products(matrix: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(n,) float32, a (dim,) query's inner products with all rows of a contiguous (n, dim) matrix, in one thread.

    The threads of a matrix product would wait for each other, many times as long where other programs keep cores busy.
    """
    products = np.empty(len(matrix), np.float32)
    swig = _faiss.swig_ptr
    _faiss.fvec_inner_products_ny(swig(products), swig(query), swig(matrix), matrix.shape[1], len(matrix))
    return products


def call_in_one_thread(call: Callable[..., None], *arguments: Any) -> None:
    """Let FAISS do something that is too small to share: other threads would have nothing to do, but are waited for."""
    threads = _faiss.omp_get_max_threads()
    _faiss.omp_set_num_threads(1)  # holds for the calling thread alone
    try:
        call(*arguments)
    finally:
        _faiss.omp_set_num_threads(threads)


def _shared_out(call: Callable[..., None], queries: int, *arguments: Any) -> None:
    """Queries are shared out over threads; a single one is left to one."""
    if queries > 1:
        call(*arguments)
    else:
        call_in_one_thread(call, *arguments)
