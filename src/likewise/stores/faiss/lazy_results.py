"""What queries found, as scores and rows; ids are read from the disk once somebody looks at them."""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from likewise.stores.base import SearchResult
from likewise.stores.faiss.delta import Delta
from likewise.stores.faiss.mmap import explain_damage_in
from likewise.stores.faiss.segment import Segment


class LazyResults(Sequence[SearchResult]):
    """The results of several queries in one moment of a store, whatever is written to it later.

    Looking at them raises UserError where the ids on the disk are damaged.

    Args:
        scores: (q, k) float32, descending.
        rows: (q, k) int64, of the segment first, then of the delta; numbers below 0 are gaps.
    """

    def __init__(self, segment: Segment, delta: Delta, scores: np.ndarray, rows: np.ndarray) -> None:
        self._segment = segment
        self._delta = delta
        self._scores = scores
        self._rows = rows

    def __len__(self) -> int:
        return len(self._scores)

    @overload
    def __getitem__(self, number: int) -> SearchResult: ...

    @overload
    def __getitem__(self, number: slice) -> list[SearchResult]: ...

    def __getitem__(self, number: int | slice) -> SearchResult | list[SearchResult]:
        if isinstance(number, slice):
            return list(self._read(self._scores[number], self._rows[number]))
        place = range(len(self))[number]
        return next(self._read(self._scores[place : place + 1], self._rows[place : place + 1]))

    def __iter__(self) -> Iterator[SearchResult]:
        return self._read(self._scores, self._rows)

    def _read(self, scores: np.ndarray, rows: np.ndarray) -> Iterator[SearchResult]:
        with explain_damage_in(self._segment.folder.parent):
            if len(self._delta):
                return iter([self._among_new(*one) for one in zip(scores, rows, strict=True)])
            ids = self._segment.gather_ids(rows.ravel())
        width = rows.shape[1]
        return (SearchResult(ids[number * width : (number + 1) * width], one) for number, one in enumerate(scores))

    def _among_new(self, scores: np.ndarray, rows: np.ndarray) -> SearchResult:
        kept = rows >= 0
        old, segment, delta = self._segment.count, self._segment, self._delta
        ids = [segment.ids[row] if row < old else delta.id(row - old) for row in rows[kept].tolist()]
        return SearchResult(ids, scores[kept])
