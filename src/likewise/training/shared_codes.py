"""Which vectors of two sides share an identity: pairs found by a sorted join, tile by tile, never a mask of all pairs.

Almost all pairs of a batch share nothing. So a tile of the similarity matrix needs no mask, only the list of its few
exceptions: where one identity code or another is equal. Sorting the columns' codes once makes that list cost
O((rows + columns) log columns + pairs) a tile, where comparing all codes costs O(rows · columns) for every kind.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_NOTHING = -1  # a code that shares with nothing
_NEITHER = -2  # what it becomes on one side, so that equality alone decides


@dataclass(frozen=True)
class Exceptions:
    """The pairs of a tile that are not plain negatives, each once.

    Attributes:
        row, column: (pairs,) places within the tile.
        same: (pairs,) bool: the column answers the row; otherwise the two are neither an answer nor a fair negative.
    """

    row: Tensor
    column: Tensor
    same: Tensor


class SharedCodes:
    """Finds the exceptions of any tile of rows × columns.

    A row and a column are *the same* if they share a code of any kind in `same`, else *related* if they share one of
    any kind in `related`, else fair negatives.

    Args:
        rows: the codes (rows, kinds) int64 of the rows: same, and related.
        columns: those of the columns, with the same kinds.
        tile: columns per tile.
    """

    def __init__(self, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], tile: int) -> None:
        self._same_kinds = rows[0].shape[1]
        self._rows = torch.cat(rows, dim=1).T.contiguous()
        self._rows[self._rows == _NOTHING] = _NEITHER
        self._columns = torch.cat(columns, dim=1).T.contiguous()
        self._tile = tile
        self._sorted = [part.sort(dim=1, stable=True) for part in self._columns.split(tile, dim=1)]

    def of(self, rows: slice, columns: slice) -> Exceptions:
        """The exceptions of one tile; `columns` must be one that the given tile size makes."""
        asked = self._rows[:, rows].contiguous()
        held = self._columns[:, columns]
        in_order, place = self._sorted[columns.start // self._tile]
        first = torch.searchsorted(in_order, asked)
        counts = torch.searchsorted(in_order, asked, right=True) - first
        found_rows, found_columns, found_same = [], [], []
        for kind in counts.any(dim=1).nonzero()[:, 0].tolist():
            row = torch.arange(asked.shape[1], device=asked.device).repeat_interleave(counts[kind])
            before = counts[kind].cumsum(0) - counts[kind]
            within = torch.arange(len(row), device=row.device) - before[row]
            column = place[kind][first[kind][row] + within]
            for earlier in range(kind):  # a pair counts at the first kind that it shares
                new = asked[earlier][row] != held[earlier][column]
                row, column = row[new], column[new]
            found_rows.append(row)
            found_columns.append(column)
            found_same.append(torch.full_like(row, kind < self._same_kinds, dtype=torch.bool))
        if not found_rows:
            none = torch.empty(0, dtype=torch.long, device=asked.device)
            return Exceptions(none, none, none.bool())
        return Exceptions(torch.cat(found_rows), torch.cat(found_columns), torch.cat(found_same))
