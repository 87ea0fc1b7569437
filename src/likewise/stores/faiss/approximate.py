"""Searches through an approximate index whose proposals are decided by exact cosines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from likewise.stores.faiss.exact import find_nearest, rank_candidates
from likewise.stores.faiss.faiss_calls import search_index
from likewise.stores.faiss.filters import Selection
from likewise.stores.faiss.index_types import APPROXIMATE, Kind
from likewise.stores.faiss.inverted_lists import InvertedLists

_faiss: Any = faiss  # its type stubs lack a part of what is used here

INDEX = "index.faiss"
_TUNED_FOR = 10  # hits
_RARE = 0.03  # of the rows; where fewer count, those in the lists around a query are compared at once
_BROAD = 0.3  # of the rows; where more count, a search first looks at all of them
_SOME, _LEAST = 3, 4  # so many candidates for each of many hits, as for few hits, but within these bounds
_ROOM = 4  # times as many rows that count have to be in the lists that are read
_SPARE = 1.25  # times as many candidates as count on the average
_SPREAD = 0.75  # the lists that are read grow by this power of how rare the rows are; their neighbours are further away
_CHECKED = 0.03  # of the time that a row in a list takes, where it only is looked up whether it counts
_WIDER = 4  # times as hard a search tries again where too few rows were met
_SMALL = 256 * 2**20  # bytes of an index; its pages are found faster if it is not mapped
_MAPPED = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY
_WIDEST = 64  # times as hard as tuned, after which the rows are visited one by one


@dataclass(frozen=True)
class SearchParameters:
    """Parameters of a search for ten hits.

    Attributes:
        probes: nprobe of an inverted-list index, ef_search of a graph.
        reranked: candidates that are compared exactly.
        equivalent_rows: how many rows a scan visits in the time of such a search.
    """

    probes: int
    reranked: int
    equivalent_rows: int = 1000


class Approximate:
    """An index of a segment's vectors; safe to use from several threads.

    Args:
        index: FAISS's, of these very vectors.
        vectors: (n, dim) float32, contiguous.
    """

    def __init__(self, index: Any, kind: Kind, vectors: np.ndarray, parameters: SearchParameters) -> None:
        self._index = index
        self._kind = kind
        self._vectors = vectors
        self._parameters = parameters
        self._most = index.nlist if kind.lists else len(vectors)
        self._lists = InvertedLists(index) if kind.lists else None
        self._usual: dict[int, Any] = {}

    def with_parameters(self, parameters: SearchParameters) -> "Approximate":
        """The same with another parameters."""
        return Approximate(self._index, self._kind, self._vectors, parameters)

    def search(self, queries: np.ndarray, k: int, among: Selection | None) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of each query, all of them or those of a selection; as many as there are, up to k.

        Returns:
            Exact scores, descending, and row numbers; both (q, at most k).
        """
        total = len(self._vectors)
        count = total if among is None else among.count
        k = min(k, count)
        scope, depth = self._scale_parameters(k, 1.0)
        if depth * 2 >= count or (among is not None and count <= self._exact_until(scope, count)):
            return find_nearest(self._vectors, queries, k, None if among is None else among.rows)
        if among is None:
            rows = self._with_wider(queries, self.candidates(queries, depth, scope), scope, None)
        elif count >= _BROAD * total:
            rows = self._around(queries, scope, depth, among)
        else:
            scope, depth = self._scale_parameters(k, count / total)
            if self._lists is not None and count <= _RARE * total:
                rows = self._lists.around(queries, scope, among, k)
            else:
                rows = self.candidates(queries, depth, scope, among.selector)
                rows = self._with_wider(queries, rows, scope, among.selector)
        if rows.min(initial=0) < 0:
            missing = np.flatnonzero((rows >= 0).sum(axis=1) < k)
            if len(missing):
                return self._complete(queries, rows, k, among, missing)
        return rank_candidates(self._vectors, queries, k, rows)

    def candidates(self, queries: np.ndarray, depth: int, scope: int, selector: Any = None) -> np.ndarray:
        """(q, depth) int64, the rows that the index finds nearest; −1 where it finds no more."""
        parameters = self._usual.get(scope) if selector is None else None
        if parameters is None:
            parameters = self._build_faiss_parameters(scope, selector)
            if selector is None and len(self._usual) < 64:
                self._usual[scope] = parameters
        return search_index(self._index, queries, depth, parameters)

    def _scale_parameters(self, k: int, share: float) -> tuple[int, int]:
        """Scope and depth for k hits where only a share of the rows around a query counts."""
        parameters = self._parameters
        if k <= _TUNED_FOR and share == 1.0:
            return parameters.probes, min(parameters.reranked, len(self._vectors))
        more = max(1.0, k / _TUNED_FOR) ** 0.5
        least = k * min(max(parameters.reranked / _TUNED_FOR, _SOME), _LEAST)
        depth = min(int(max(parameters.reranked * more, least)), len(self._vectors))
        return self._scope(parameters.probes * more, depth, share), depth

    def _scope(self, usual: float, depth: int, share: float) -> int:
        """A scope for so many candidates where a share of the rows around a query counts: others are passed by."""
        scope = usual / share
        if self._kind.lists:
            scope = max(usual / share**_SPREAD, _ROOM * depth / (share * len(self._vectors) / self._most))
        return min(int(scope) + 1, self._most)

    def _exact_until(self, scope: int, count: int) -> float:
        """So many rows are visited one by one in the time of a search for those of them that are nearest."""
        wider = len(self._vectors) / max(count, 1)
        slower = 1 + _CHECKED * (wider - 1) if self._kind.lists else wider
        return min(self._parameters.equivalent_rows * slower * scope / self._parameters.probes, len(self._vectors) // 2)

    def _build_faiss_parameters(self, scope: int, selector: Any) -> Any:
        if self._kind.name == "rabitq":
            return _faiss.IVFRaBitQSearchParameters(nprobe=scope, sel=selector, qb=self._index.qb)
        if self._kind.lists:
            return _faiss.SearchParametersIVF(nprobe=scope, sel=selector)
        return _faiss.SearchParametersHNSW(efSearch=scope, sel=selector)

    def _around(self, queries: np.ndarray, scope: int, depth: int, among: Selection) -> np.ndarray:
        """Candidates where nearly all rows count, but perhaps none of those around a query.

        Whether that is so is seen from what a search among all rows finds; then it is done again, as much wider and
        deeper as rows that count are rarer there: those further away differ less in their distance.
        """
        total = len(self._vectors)
        wanted = min(int(_SPARE * depth * total / among.count) + 1, total)
        rows = self.candidates(queries, wanted, self._scope(scope, wanted, among.count / total))
        rows = np.where(among.mask[rows], rows, -1)
        kept = (rows >= 0).sum(axis=1)
        crowded = np.flatnonzero(kept < depth)
        if len(crowded):
            shares = np.maximum(kept[crowded], 0.5) / wanted
            shares = np.exp2(np.floor(np.log2(shares)))  # queries with about the same go together
            for share in np.unique(shares).tolist():
                few = crowded[shares == share]
                wide, deep = self._scope(scope, depth, share), min(int(wanted * share**-0.5), total)
                some = np.ascontiguousarray(queries[few])
                found = self.candidates(some, deep, wide, among.selector)
                rows = np.pad(rows, ((0, 0), (0, max(0, deep - rows.shape[1]))), constant_values=-1)
                rows[few, :deep] = self._with_wider(some, found, wide, among.selector)
        return rows

    def _with_wider(self, queries: np.ndarray, rows: np.ndarray, scope: int, selector: Any) -> np.ndarray:
        """Candidates, searched for again where there were too few rows that count around a query."""
        if rows[:, -1].min(initial=0) >= 0:
            return rows
        rows, most = rows.copy(), min(self._most, self._parameters.probes * _WIDEST)
        while scope < most:
            few = np.flatnonzero(rows[:, -1] < 0)
            if not len(few):
                break
            scope = min(scope * _WIDER, most)
            rows[few] = self.candidates(np.ascontiguousarray(queries[few]), rows.shape[1], scope, selector)
        return rows

    def _complete(
        self, queries: np.ndarray, rows: np.ndarray, k: int, among: Selection | None, missing: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The results where some queries did not meet k rows, and look at all of them instead."""
        scores, found = rank_candidates(self._vectors, queries, k, rows)
        every = None if among is None else among.rows
        scores[missing], found[missing] = find_nearest(self._vectors, np.ascontiguousarray(queries[missing]), k, every)
        return scores, found


def open_index(folder: Path, kind: str, parameters: SearchParameters, size: int, vectors: np.ndarray) -> Approximate:
    """The index in a segment's folder: a small one in memory, a large one mapped, as processes share it then.

    Args:
        size: of its file, in bytes.

    Raises:
        OSError, ValueError, KeyError: it is missing, damaged, or not the index of these vectors.
    """
    file = folder / INDEX
    if file.stat().st_size != size:
        raise ValueError(f"{file} is not whole")
    try:
        index = _faiss.read_index(str(file), _MAPPED if size > _SMALL else _faiss.IO_FLAG_READ_ONLY)
    except RuntimeError as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    if (index.ntotal, index.d) != vectors.shape:
        raise ValueError(f"{file} is the index of other vectors")
    return Approximate(index, APPROXIMATE[kind], vectors, parameters)
