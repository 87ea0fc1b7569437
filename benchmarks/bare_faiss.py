"""FAISS without likewise: its indexes with plain rescoring, and a sweep over kinds and parameters."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from clustered import DIM

_faiss: Any = faiss  # its type stubs lack a part of what is used here

_BLOCK = 65_536  # vectors that are added at a time
_BREADTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)  # lists visited, or efSearch of a graph
_LAST_WORD = (None, 20)  # numbers of candidates to rescore for codes that are nearly exact; None: no rescoring
_COARSE = (20, 40, 80, 160, 320)  # the same for codes that are not
_PER_LIST = 64  # vectors that k-means looks at
_ROUNDS_OF_MEANS = 10
_TRAINED = 16_384  # vectors that codes are trained on
_TRIED = 20_000  # vectors of a graph from whose time that of the whole graph is told


class BareIndex:
    """An index of FAISS with its parameters, and if wanted with the plainest rescoring by whole vectors.

    Args:
        breadth: lists visited, or efSearch of a graph; no matter for a flat index.
        candidates: hits of the index that are rescored for each query; None: the index has the last word.
        vectors: (n, 512) float32 that rescoring reads.
    """

    def __init__(self, index: Any, breadth: int, candidates: int | None, vectors: np.ndarray) -> None:
        self._index = index
        self._candidates = candidates
        self._vectors = vectors
        lists = _faiss.try_extract_index_ivf(index)
        if lists is not None:
            lists.nprobe = breadth
        elif hasattr(index, "hnsw"):
            index.hnsw.efSearch = breadth

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores, descending, and rows; both (q, k)."""
        if self._candidates is None:
            return self._index.search(queries, k)
        rows = self._index.search(queries, self._candidates)[1]
        return rescored(self._vectors, queries, rows, k)


def rescored(vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each query's candidate rows by their whole vectors; a row below 0 is a gap."""
    return _best(_cosines(vectors, queries, rows), rows, k)


def _cosines(vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    scores, rows = np.empty(rows.shape, np.float32), np.ascontiguousarray(rows)
    pointers = [_faiss.swig_ptr(array) for array in (scores, queries, vectors, rows)]
    _faiss.fvec_inner_products_by_idx(*pointers, DIM, *rows.shape)  # faster than copying rows for a matrix product
    scores[rows < 0] = -np.inf
    return scores


def _best(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    best = np.argpartition(scores, -k, axis=1)[:, -k:]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    best = np.take_along_axis(best, order, axis=1)
    return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)


def opened(file: Path) -> Any:
    """An index from its file."""
    return _faiss.read_index(str(file))


def exact(vectors: np.ndarray, queries: np.ndarray, k: int, among: np.ndarray | None = None) -> np.ndarray:
    """(q, k) the rows of the nearest vectors, all of them or those where `among`, (n,) bool, is true."""
    best = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        if among is not None:
            rows = rows[among[rows]]
        products = queries @ vectors[rows].T
        kept = np.argpartition(products, -k, axis=1)[:, -k:] if len(rows) > k else np.arange(len(rows))[None]
        kept = np.broadcast_to(kept, (len(queries), kept.shape[1]))
        scores = np.concatenate([scores, np.take_along_axis(products, kept, axis=1)], axis=1)
        best = np.concatenate([best, rows[kept]], axis=1)
        order = np.argsort(-scores, axis=1)[:, :k]
        scores, best = np.take_along_axis(scores, order, axis=1), np.take_along_axis(best, order, axis=1)
    return best


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """The mean share of the true neighbours, (q, k) rows, that are among those found."""
    return float((found[:, :, None] == truth[:, None, :]).any(axis=1).mean())


@dataclass(frozen=True)
class Choice:
    """An index of the sweep with the parameters that reach a recall.

    Attributes:
        candidates: rescored from the whole vectors; None: no rescoring.
        size: bytes of the file, which is what the index takes in memory.
        built: seconds of training, adding and writing.
        rate: queries a second in batches of 64.
        latency: milliseconds of a single query, the median.
    """

    kind: str
    file: Path
    breadth: int
    candidates: int | None
    recall: float
    size: int
    built: float
    rate: float
    latency: float


@dataclass(frozen=True)
class Built:
    """An index of the sweep in its file.

    Attributes:
        candidates: how many to rescore that are worth trying, ascending.
    """

    kind: str
    file: Path
    seconds: float
    candidates: tuple[int | None, ...]


def built(vectors: np.ndarray, folder: Path, longest: float, say: Callable[[str], None]) -> Iterator[Built]:
    """Build one index of each kind, all that could be fastest in some memory.

    Args:
        longest: seconds that one index may take; a graph that would need more is left out, and `say` hears of it.
    """
    rows = len(vectors)
    for lists in _numbers_of_lists(rows):
        started = time.perf_counter()
        coarse = _means(vectors, lists)
        means = time.perf_counter() - started
        for kind, index, candidates in _inverted(coarse, lists):
            seconds = means + _filled(index, vectors, folder / f"{kind}.faiss")
            yield Built(kind, folder / f"{kind}.faiss", seconds, candidates)
    for links in (16, 32):
        kind = f"HNSW{links},SQ8"
        expected = _expected(links, vectors)
        if expected > longest:
            say(
                f"{kind} is left out: it would take about {expected / 60:.0f} minutes, and --longest-build allows fewer"
            )
            continue
        seconds = _filled(_graph(links), vectors, folder / f"{kind}.faiss")
        yield Built(kind, folder / f"{kind}.faiss", seconds, _LAST_WORD)


def choices(
    index: Built, vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray, recalls: Sequence[float]
) -> dict[float, list[Choice]]:
    """The searches of an index that could be the fastest to reach each of some recalls, measured one by one."""
    bare = opened(index.file)
    k = truth.shape[1]
    narrowest: dict[float, dict[int | None, tuple[int, float]]] = {wanted: {} for wanted in recalls}
    for breadth in _BREADTHS:
        search = BareIndex(bare, breadth, None, vectors).search
        rows = search(queries, index.candidates[-1] or k)[1]
        scores = _cosines(vectors, queries, rows)
        for count in index.candidates:
            hits = search(queries, k)[1] if count is None else _best(scores[:, :count], rows[:, :count], k)[1]
            reached = recall(hits, truth)
            for wanted in recalls:
                if reached >= wanted:
                    narrowest[wanted].setdefault(count, (breadth, reached))
        if all(_settled(narrowest[wanted], index.candidates, breadth) for wanted in recalls):
            break
    return {
        wanted: [
            _timed(index, bare, breadth, reached, count, vectors, queries)
            for count, (breadth, reached) in _undominated(found)
        ]
        for wanted, found in narrowest.items()
    }


def _settled(found: dict[int | None, tuple[int, float]], counts: Sequence[int | None], breadth: int) -> bool:
    """Whether every number of candidates reaches the recall, or would need a search too broad to be the fastest."""
    return len(found) == len(counts) or (bool(found) and breadth >= 4 * min(narrow for narrow, _ in found.values()))


def _undominated(found: dict[int | None, tuple[int, float]]) -> Iterator[tuple[int | None, tuple[int, float]]]:
    """Those for which no other search is as narrow with fewer candidates."""
    narrowest = _BREADTHS[-1] + 1
    for count in sorted(found, key=lambda count: count or 0):
        if found[count][0] < narrowest:
            narrowest = found[count][0]
            yield count, found[count]


def _timed(
    index: Built, bare: Any, breadth: int, reached: float, count: int | None, vectors: np.ndarray, queries: np.ndarray
) -> Choice:
    search = BareIndex(bare, breadth, count, vectors).search
    search(queries[:64], 10)
    batches = _seconds(lambda some: search(some, 10), queries, 64)
    singles = _seconds(lambda some: search(some, 10), queries[:200], 1)
    rate, latency = 64 / float(np.median(batches)), 1e3 * float(np.median(singles))
    size = index.file.stat().st_size
    return Choice(index.kind, index.file, breadth, count, reached, size, index.seconds, rate, latency)


def _seconds(search: Callable[[np.ndarray], object], queries: np.ndarray, size: int) -> list[float]:
    times = []
    for start in range(0, len(queries) - size + 1, size):
        started = time.perf_counter()
        search(queries[start : start + size])
        times.append(time.perf_counter() - started)
    return times


def _numbers_of_lists(rows: int) -> tuple[int, int]:
    """About 4 √n, but with enough vectors for k-means, and half of that."""
    most = 2 ** int(np.log2(min(4.5 * rows**0.5, rows / 39)))
    return most, most // 2


def _means(vectors: np.ndarray, lists: int) -> Any:
    """A coarse quantizer; all kinds with as many lists share it, and each one's time includes it."""
    means = _faiss.Kmeans(DIM, lists, niter=_ROUNDS_OF_MEANS, spherical=True, seed=1)
    means.train(_sample(vectors, _PER_LIST * lists))
    coarse = _faiss.IndexFlatIP(DIM)
    coarse.add(means.centroids)
    return coarse


def _inverted(coarse: Any, lists: int) -> Iterator[tuple[str, Any, tuple[int | None, ...]]]:
    """Indexes over lists, and how many of their hits to rescore."""
    product = _faiss.METRIC_INNER_PRODUCT
    byte = _faiss.ScalarQuantizer.QT_8bit
    yield f"IVF{lists},SQ8", _faiss.IndexIVFScalarQuantizer(coarse, DIM, lists, byte, product), _LAST_WORD
    fast = _faiss.IndexIVFPQFastScan(coarse, DIM, lists, DIM // 4, 4, product)
    fast.by_residual = False
    yield f"IVF{lists},PQ{DIM // 4}x4fs", fast, _COARSE
    yield f"IVF{lists},RaBitQ", _faiss.IndexIVFRaBitQ(coarse, DIM, lists, product), _COARSE
    yield f"IVF{lists},RaBitQfs", _faiss.IndexIVFRaBitQFastScan(coarse, DIM, lists, product), _COARSE


def _graph(links: int) -> Any:
    return _faiss.IndexHNSWSQ(DIM, _faiss.ScalarQuantizer.QT_8bit, links, _faiss.METRIC_INNER_PRODUCT)


def _expected(links: int, vectors: np.ndarray) -> float:
    """Seconds that a graph of all vectors would take; an insertion costs more the more there are, by logarithm."""
    tried = _sample(vectors, _TRIED)
    graph = _graph(links)
    started = time.perf_counter()
    graph.train(tried)
    graph.add(tried)
    seconds = time.perf_counter() - started
    return seconds * len(vectors) / len(tried) * np.log(len(vectors)) / np.log(len(tried))


def _filled(index: Any, vectors: np.ndarray, file: Path) -> float:
    """Seconds to train an index, add all vectors and write it."""
    started = time.perf_counter()
    index.train(_sample(vectors, _TRAINED))
    for start, end in pairwise([*range(0, len(vectors), _BLOCK), len(vectors)]):
        index.add(vectors[start:end])
    _faiss.write_index(index, str(file))
    return time.perf_counter() - started


def _sample(vectors: np.ndarray, count: int) -> np.ndarray:
    rows = np.random.default_rng(5).permutation(len(vectors))[:count]
    return vectors[np.sort(rows)]
