"""Texts in a file, read by number without touching the others."""

import mmap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from likewise.checksums import Blocks
from likewise.stores.faiss.mmap import map_array, map_bytes


class TextWriter:
    """Appends texts to `NAME.text` and where each ends to `NAME.ends`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._text = (folder / f"{name}.text").open("wb")
        self._ends = (folder / f"{name}.ends").open("wb")
        self._size = 0

    def append(self, texts: Iterable[str]) -> None:
        """Add texts after those that are there."""
        encoded = [text.encode() for text in texts]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._ends.write((np.cumsum(lengths) + self._size).astype("<i8").data)
        self._text.write(b"".join(encoded))
        self._size += int(lengths.sum())

    def close(self) -> None:
        """Finish both files."""
        self._text.close()
        self._ends.close()


class Texts:
    """The texts of a `TextWriter`, mapped into memory.

    Args:
        blocks: what verifies the rows of a file by its name, where that has not been done.

    Raises:
        OSError, ValueError: a file is missing or does not hold `count` texts.
    """

    def __init__(
        self, folder: Path, name: str, count: int, blocks: Callable[[str, Any], Blocks | None] = lambda name, data: None
    ) -> None:
        self._ends = map_array(folder / f"{name}.ends", np.dtype("<i8"), (count,))
        self._text: mmap.mmap | bytes = map_bytes(folder / f"{name}.text", int(self._ends[-1]) if count else 0)
        self._end_blocks = blocks(f"{name}.ends", self._ends.view(np.uint8))
        self._text_blocks = blocks(f"{name}.text", self._text)
        self._lazily = self._end_blocks is not None or self._text_blocks is not None
        self._verified = np.zeros(count if self._lazily else 0, bool)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: int) -> str:
        if self._lazily and not self._verified[row]:
            self._check(np.array([row]))
        start = self._ends.item(row - 1) if row else 0
        return self._text[start : self._ends.item(row)].decode()

    def many(self, rows: np.ndarray) -> list[str]:
        """The texts of some rows."""
        if self._lazily and not self._verified[rows].all():
            self._check(rows)
        ends = self._ends[rows].tolist()
        starts = self._starts(rows).tolist()
        text = self._text
        return [text[start:end].decode() for start, end in zip(starts, ends, strict=True)]

    def _starts(self, rows: np.ndarray) -> np.ndarray:
        return np.where(rows == 0, 0, self._ends[rows - 1]) if len(self._ends) else np.empty(0, np.int64)

    def _check(self, rows: np.ndarray) -> None:
        if self._end_blocks is not None:
            self._end_blocks.check(np.maximum(rows - 1, 0) * 8, (rows + 1) * 8)
        if self._text_blocks is not None:
            self._text_blocks.check(self._starts(rows), self._ends[rows])
        self._verified[rows] = True
