"""What a picture encoder holds between two of its blocks: shape, size on disk, and how rectangles are cut out of it."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Activation:
    """The activations of one picture before some block.

    Attributes:
        shape: (rows, columns, channels) of a map, (tokens, width) of a sequence.
        grid: (rows, columns) of which a rectangle may stand in for the whole; None where none can.
        extra: tokens before the grid (CLS, registers), which belong to every rectangle; 0 for maps.
        step: rectangles begin at multiples of it and measure multiples of it, since later blocks shrink the grid so
            much.
    """

    shape: tuple[int, ...]
    grid: tuple[int, int] | None = None
    extra: int = 0
    step: int = 1

    @property
    def bytes(self) -> int:
        """Bytes of one picture in half precision."""
        return 2 * prod(self.shape)

    def rectangles(
        self,
        rows: NDArray[np.float16],
        slots: NDArray[np.int64],
        tops: NDArray[np.int64],
        lefts: NDArray[np.int64],
        size: tuple[int, int],
    ) -> NDArray[np.float16]:
        """Copy equally large rectangles out of some rows of a cache, reading no more than these.

        Args:
            rows: (cached, *shape), memory-mapped perhaps.
            slots: (n,) which rows. tops, lefts: (n,) where each rectangle begins on the grid.
            size: (height, width) of all rectangles.

        Returns:
            (n, height, width, channels) of maps, (n, extra + height · width, width) of sequences.
        """
        if self.grid is None:
            raise ValueError("these activations have no grid")
        height, width = size
        extra, depth = self.extra, self.shape[-1]
        cut = np.empty((len(slots), extra + height * width, depth), dtype=rows.dtype)
        for target, slot, top, left in zip(cut, slots, tops, lefts, strict=True):
            row = rows[slot].reshape(-1, depth)
            target[:extra] = row[:extra]
            whole = row[extra:].reshape(*self.grid, depth)
            target[extra:].reshape(height, width, depth)[:] = whole[top : top + height, left : left + width]
        return cut.reshape(len(slots), height, width, depth) if len(self.shape) == 3 else cut
