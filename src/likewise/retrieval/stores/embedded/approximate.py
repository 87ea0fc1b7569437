"""Searches through an approximate index whose proposals are decided by exact cosines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from likewise.retrieval.stores.embedded.exact import best_of, nearest
from likewise.retrieval.stores.embedded.kinds import APPROXIMATE, Kind
from likewise.retrieval.stores.embedded.masks import Selection

_faiss: Any = faiss  # its type stubs lack a part of what is used here

INDEX = "index.faiss"
_TUNED_FOR = 10  # hits
_WIDER = 4  # times as hard a search tries again where too few rows were met
_WIDEST = 64  # times as hard as tuned, after which the rows are visited one by one


@dataclass(frozen=True)
class Effort:
    """How hard a search for ten hits tries.

    Attributes:
        scope: lists that are read, or rows that a walk through the graph keeps in view.
        depth: candidates that are compared exactly.
        worth: how many rows could be visited one by one in the time of such a search.
    """

    scope: int
    depth: int
    worth: int = 1000


class Approximate:
    """An index of a segment's vectors; safe to use from several threads.

    Args:
        index: FAISS's, of these very vectors.
        vectors: (n, dim) float32, contiguous.
    """

    def __init__(self, index: Any, kind: Kind, vectors: np.ndarray, effort: Effort) -> None:
        self._index = index
        self._kind = kind
        self._vectors = vectors
        self._effort = effort
        self._most = index.nlist if kind.lists else len(vectors)
        self._usual: dict[int, Any] = {}

    def trying(self, effort: Effort) -> "Approximate":
        """The same with another effort."""
        return Approximate(self._index, self._kind, self._vectors, effort)

    def search(self, queries: np.ndarray, k: int, among: Selection | None) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of each query, all of them or those of a selection; as many as there are, up to k.

        Returns:
            Exact scores, descending, and row numbers; both (q, at most k).
        """
        count = len(self._vectors) if among is None else among.count
        k = min(k, count)
        scope, depth, price = self._planned(k, count)
        if depth * 2 >= count or count <= min(self._effort.worth * price, len(self._vectors) // 2):
            return nearest(self._vectors, queries, k, None if among is None else among.rows)
        selector = None if among is None else among.selector
        rows = self.candidates(queries, depth, scope, selector)
        if rows[:, -1].min(initial=0) < 0:
            rows = self._wider(queries, rows, scope, selector)
            missing = np.flatnonzero(rows[:, k - 1] < 0)
            if len(missing):
                return self._completed(queries, rows, k, among, missing)
        return best_of(self._vectors, queries, k, rows)

    def candidates(self, queries: np.ndarray, depth: int, scope: int, selector: Any = None) -> np.ndarray:
        """(q, depth) int64, the rows that the index finds nearest; −1 where it finds no more."""
        parameters = self._usual.get(scope) if selector is None else None
        if parameters is None:
            parameters = self._parameters(scope, selector)
            if selector is None and len(self._usual) < 64:
                self._usual[scope] = parameters
        rows = np.empty((len(queries), depth), np.int64)
        scores = np.empty((len(queries), depth), np.float32)
        swig = _faiss.swig_ptr
        self._index.search_c(len(queries), swig(queries), depth, swig(scores), swig(rows), parameters)
        return rows

    def _planned(self, k: int, count: int) -> tuple[int, int, float]:
        """Scope and depth for k hits among so many rows, and how much longer that takes than what was tuned."""
        effort, total = self._effort, len(self._vectors)
        if k <= _TUNED_FOR and count == total:
            return effort.scope, effort.depth, 1.0
        more = max(1.0, k / _TUNED_FOR)
        rarer = total / max(count, 1)
        depth = min(max(int(effort.depth * more**0.5), 2 * k), count)
        # A list still holds its share of rare rows; a walk through the graph has to pass by all the others.
        wider = (more * rarer) ** 0.25 if self._kind.lists else more**0.25 * rarer
        return min(int(effort.scope * wider) + 1, self._most), depth, more**0.5 * wider

    def _parameters(self, scope: int, selector: Any) -> Any:
        if self._kind.name == "rabitq":
            return _faiss.IVFRaBitQSearchParameters(nprobe=scope, sel=selector, qb=self._index.qb)
        if self._kind.lists:
            return _faiss.SearchParametersIVF(nprobe=scope, sel=selector)
        return _faiss.SearchParametersHNSW(efSearch=scope, sel=selector)

    def _wider(self, queries: np.ndarray, rows: np.ndarray, scope: int, selector: Any) -> np.ndarray:
        """Search again, for those queries around which there were too few rows that count."""
        rows, most = rows.copy(), min(self._most, scope * _WIDEST)
        while scope < most:
            few = np.flatnonzero(rows[:, -1] < 0)
            if not len(few):
                break
            scope = min(scope * _WIDER, most)
            rows[few] = self.candidates(np.ascontiguousarray(queries[few]), rows.shape[1], scope, selector)
        return rows

    def _completed(
        self, queries: np.ndarray, rows: np.ndarray, k: int, among: Selection | None, missing: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The results where some queries did not meet k rows, and look at all of them instead."""
        scores, found = best_of(self._vectors, queries, k, rows)
        every = None if among is None else among.rows
        scores[missing], found[missing] = nearest(self._vectors, np.ascontiguousarray(queries[missing]), k, every)
        return scores, found


def open_index(folder: Path, kind: str, effort: Effort, size: int, vectors: np.ndarray) -> Approximate:
    """The index in a segment's folder, mapped into memory.

    Args:
        size: of its file, in bytes.

    Raises:
        OSError, ValueError, KeyError: it is missing, damaged, or not the index of these vectors.
    """
    file = folder / INDEX
    if file.stat().st_size != size:
        raise ValueError(f"{file} is not whole")
    try:
        index = _faiss.read_index(str(file), _faiss.IO_FLAG_MMAP_IFC | _faiss.IO_FLAG_READ_ONLY)
    except RuntimeError as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    if (index.ntotal, index.d) != vectors.shape:
        raise ValueError(f"{file} is the index of other vectors")
    return Approximate(index, APPROXIMATE[kind], vectors, effort)
