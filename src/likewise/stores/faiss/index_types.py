"""The approximate indexes that a segment can have, and how FAISS builds them.

All of them only propose rows, by codes that take less memory than the vectors; which of those are the nearest is then
decided by exact cosines (see approximate.py). The vectors lie on the disk, and are read in parts to build an index.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from likewise.progress import Bar
from likewise.stores.faiss.faiss_calls import call_in_one_thread

_faiss: Any = faiss  # its type stubs lack a part of what is used here

_LINKS = 32  # of a node of the graph, on its lowest level twice as many
_CARE = 80  # rows that the graph looks at before it links a new one
_POINTS = 48  # that k-means sees of each list
_FEWEST_POINTS = 39  # FAISS warns below
_ROUNDS = 6  # of k-means; ten take half as long again, and their lists are no better to search
_SAMPLE = 512 * 2**20  # bytes of vectors that k-means may have in memory
_PIECE_SAMPLE = 10_240  # rows, an eighth at most, that the codes of a product quantiser are learned from
_BLOCK = 32_768  # rows that are added at a time
_FINE = (10, 11, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 33, 36, 40, 45, 50)  # candidates for codes nearly exact
_COARSE = (*_FINE[4:], 55, 60, 70, 80, 100, 120, 150, 200, 300, 500, 1000, 2000)  # for codes that are far from it


@dataclass(frozen=True)
class Kind:
    """A kind of index.

    Attributes:
        lists: rows are in lists, of which a search reads some; otherwise they are nodes of a graph.
        depths: how many candidates for ten hits are worth with_parameters; coarse codes need more.
        code_size: bytes of a row's code, given the dimensions.
    """

    name: str
    lists: bool
    depths: tuple[int, ...]
    code_size: Callable[[int], int]

    def size(self, count: int, dim: int) -> int:
        """The estimated bytes of an index."""
        if self.lists:
            return count * (self.code_size(dim) + 8) + choose_list_count(count) * dim * 4 + 1024 * dim
        return int(1.01 * count * (self.code_size(dim) + 8 * _LINKS + 8 + 4 + 4 * _LINKS / (_LINKS - 1)))

    def scopes(self, count: int) -> list[int]:
        """Ascending numbers of lists to read, or of rows to keep in view, that are worth with_parameters."""
        most = choose_list_count(count) if self.lists else min(count, 2048)
        steps = [1, 2, 3, 4, 5, 6, 7] if self.lists else [16, 20, 24, 28]
        while steps[-1] < most:
            steps.append(steps[-4] * 2)
        return [*(step for step in steps if step < most), most]


def _pieces(dim: int) -> int:
    """Into how many pieces of a byte each a product quantiser cuts a vector."""
    wanted = dim // 4 if dim <= 256 else dim // 8
    return next(pieces for pieces in range(max(wanted, 1), 0, -1) if dim % pieces == 0)


APPROXIMATE = {
    kind.name: kind
    for kind in (
        Kind("hnsw-sq8", False, _FINE, lambda dim: dim),
        Kind("ivf-sq8", True, _FINE, lambda dim: dim),
        Kind("ivf-pq", True, _COARSE, _pieces),
        Kind("rabitq", True, _COARSE, lambda dim: math.ceil(dim / 8) + 8),
    )
}


def choose_list_count(count: int) -> int:
    """Into how many lists so many rows go.

    Every query is compared with the centre of every list, exactly, so that more lists do not pay: 2 √n made searches
    for the same recall slower with 10,000 and 100,000 rows and no faster with a million, and building twice as long.
    """
    return max(1, min(round(math.sqrt(count)), count // _FEWEST_POINTS))


def build_quantiser(dim: int) -> Any:
    """What tells lists apart, before it has learned anything."""
    return _faiss.IndexFlatIP(dim)


def train_index(kind: Kind, vectors: np.ndarray, coarse: Any = None) -> Any:
    """A FAISS index without rows that has learned from some of the vectors.

    Args:
        vectors: (n, dim) float32, mapped or in memory; at least one.
        coarse: what `build_quantiser` has made; several kinds of lists over the same vectors share the work on it.
    """
    count, dim = vectors.shape
    if not kind.lists:
        index = _faiss.IndexHNSWSQ(dim, _faiss.ScalarQuantizer.QT_8bit, _LINKS, _faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _CARE
        index.train(_sample(vectors, 65_536))
        return index
    lists = choose_list_count(count)
    quantiser = coarse if coarse is not None else build_quantiser(dim)
    index = _of_lists(kind.name, quantiser, dim, lists, count)
    index.cp.niter, index.cp.spherical, index.cp.max_points_per_centroid = _ROUNDS, True, _POINTS
    points = max(256, min(_POINTS * lists, _SAMPLE // (4 * dim)))
    sample = _sample(vectors, 65_536 if quantiser.ntotal else max(points, 20_000))
    if kind.name != "ivf-pq":
        index.train(sample)
        return index
    if not quantiser.ntotal:
        index.train_q1(len(sample), _faiss.swig_ptr(sample), False, _faiss.METRIC_INNER_PRODUCT)
    learned_from = min(_PIECE_SAMPLE, max(256, len(sample) // 8))
    # The pieces are so small that threads would only wait for each other.
    call_in_one_thread(index.train, sample[:: max(1, len(sample) // learned_from)])
    return index


def fill_index(index: Any, vectors: np.ndarray, bar: Bar | None = None) -> None:
    """Add rows to a trained index."""
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        index.add(block)
        if bar is not None:
            bar.advance(len(block))


def _of_lists(name: str, quantiser: Any, dim: int, lists: int, count: int) -> Any:
    metric = _faiss.METRIC_INNER_PRODUCT
    if name == "ivf-sq8":
        return _faiss.IndexIVFScalarQuantizer(quantiser, dim, lists, _faiss.ScalarQuantizer.QT_8bit, metric)
    if name == "ivf-pq":
        bits = 8 if count >= 256 else max(1, int(math.log2(max(count, 2))))
        index = _faiss.IndexIVFPQ(quantiser, dim, lists, _pieces(dim), bits, metric)
        index.pq.cp.niter, index.pq.cp.min_points_per_centroid = 8, 1
        return index
    index = _faiss.IndexIVFRaBitQ(quantiser, dim, lists, metric)
    index.qb = 4  # bits of a query's numbers; more find no more
    return index


def _sample(vectors: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, from all over them."""
    if len(vectors) <= most:
        return np.ascontiguousarray(vectors)
    rows = np.random.default_rng(0).choice(len(vectors), most, replace=False)
    return vectors[np.sort(rows)]
