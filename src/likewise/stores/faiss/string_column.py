"""Columns of texts or blobs in files, read by row number without touching other rows.

NAME.text or NAME.bytes   all rows, one after the other
NAME.ends                 (count,) int64, where each row ends
"""

import mmap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from likewise.checksums import Blocks
from likewise.stores.faiss.mmap import map_array, map_bytes

TEXT, BYTES = "text", "bytes"  # the endings of the files


class ColumnWriter:
    """Appends rows to a column.

    Args:
        ending: `TEXT` or `BYTES`.
    """

    def __init__(self, folder: Path, name: str, ending: str) -> None:
        self._data = (folder / f"{name}.{ending}").open("wb")
        self._ends = (folder / f"{name}.ends").open("wb")
        self._size = 0

    def append(self, rows: Iterable[str] | Iterable[bytes]) -> None:
        """Add rows after those that are there."""
        encoded = [row.encode() if isinstance(row, str) else row for row in rows]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._ends.write((np.cumsum(lengths) + self._size).astype("<i8").data)
        self._data.write(b"".join(encoded))
        self._size += int(lengths.sum())

    def close(self) -> None:
        """Finish both files."""
        self._data.close()
        self._ends.close()


class _Column:
    """The rows of a `ColumnWriter`, mapped into memory.

    Args:
        blocks: what verifies the rows of a file by its name, where that has not been done.

    Raises:
        OSError, ValueError: a file is missing or does not hold `count` rows.
    """

    ending: str

    def __init__(
        self, folder: Path, name: str, count: int, blocks: Callable[[str, Any], Blocks | None] = lambda name, data: None
    ) -> None:
        self._ends = map_array(folder / f"{name}.ends", np.dtype("<i8"), (count,))
        file = f"{name}.{self.ending}"
        self._data: mmap.mmap | bytes = map_bytes(folder / file, int(self._ends[-1]) if count else 0)
        self._end_blocks = blocks(f"{name}.ends", self._ends.view(np.uint8))
        self._data_blocks = blocks(file, self._data)
        self._lazily = self._end_blocks is not None or self._data_blocks is not None
        self._verified = np.zeros(count if self._lazily else 0, bool)

    def __len__(self) -> int:
        return len(self._ends)

    def _range(self, row: int) -> slice:
        if self._lazily and not self._verified[row]:
            self._check(np.array([row]))
        return slice(self._ends.item(row - 1) if row else 0, self._ends.item(row))

    def _ranges(self, rows: np.ndarray) -> Iterator[tuple[int, int]]:
        if self._lazily and not self._verified[rows].all():
            self._check(rows)
        return zip(self._starts(rows).tolist(), self._ends[rows].tolist(), strict=True)

    def _starts(self, rows: np.ndarray) -> np.ndarray:
        return np.where(rows == 0, 0, self._ends[rows - 1]) if len(self._ends) else np.empty(0, np.int64)

    def _check(self, rows: np.ndarray) -> None:
        if self._end_blocks is not None:
            self._end_blocks.check(np.maximum(rows - 1, 0) * 8, (rows + 1) * 8)
        if self._data_blocks is not None:
            self._data_blocks.check(self._starts(rows), self._ends[rows])
        self._verified[rows] = True


class StringColumn(_Column):
    """Texts."""

    ending = TEXT

    def __getitem__(self, row: int) -> str:
        return self._data[self._range(row)].decode()

    def many(self, rows: np.ndarray) -> list[str]:
        """The texts of some rows."""
        data = self._data
        return [data[start:end].decode() for start, end in self._ranges(rows)]


class BytesColumn(_Column):
    """Blobs."""

    ending = BYTES

    def __getitem__(self, row: int) -> bytes:
        return self._data[self._range(row)]

    def many(self, rows: np.ndarray) -> list[bytes]:
        """The blobs of some rows."""
        data = self._data
        return [data[start:end] for start, end in self._ranges(rows)]
