"""Reader of Parquet files from strangers: the footer says what is in one before any of it is decompressed.

A small file can stand for any number of rows, columns and bytes, and deeply nested columns exhaust the stack.
"""

import io
import struct
from collections.abc import Iterator

import polars as pl

from likewise.catalog.columns import MOST_COLUMNS

MAGIC = b"PAR1"
_MOST_BYTES = 1_000_000_000  # that any file may take in memory
_GREATEST_RATIO = 100  # of memory to the size of a larger file
_BYTES_PER_CELL = 16
_LONGEST_FOOTER = 16_000_000
_MOST_SCHEMA_ELEMENTS = 10 * MOST_COLUMNS  # a column of lists has three
_DEEPEST = 50
_I32, _I64, _LIST = 5, 6, 9  # types of Thrift's compact protocol
_TOO_WIDE = f"it has more than {MOST_COLUMNS:,} columns: it is not a table of items"


def read_parquet(data: bytes) -> pl.DataFrame:
    """Read a whole Parquet file.

    Raises:
        ValueError: it is damaged, has too many columns, or would take too much memory; the message is a clause that
            starts with "it".
    """
    most = max(_MOST_BYTES, _GREATEST_RATIO * len(data))
    try:
        if _Footer.of(data).memory > most:
            raise ValueError(_too_large(most))
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, IndexError, struct.error):
        raise ValueError("it is damaged or not fully copied") from None
    if frame.estimated_size() > most:  # repeated values share their memory until something is done with them
        raise ValueError(_too_large(most))
    return frame


def _too_large(most: int) -> str:
    return f"it would take more than {most / 1e9:,.0f} GB of memory; split it, or write it as CSV"


class _Footer:
    """The footer, a structure in Thrift's compact protocol.

    Attributes:
        memory: bytes that the cells take once they are read, by the footer's own account.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0
        rows = size = columns = 0
        for number, kind in self._fields():
            if (number, kind) == (2, _LIST):
                columns = self._read_schema()
            elif (number, kind) == (4, _LIST):
                for _ in range(self._list_header()[0]):
                    more_bytes, more_rows = self._read_row_group()
                    size, rows = size + more_bytes, rows + more_rows
            else:
                self._skip(kind)
        self.memory = size + rows * columns * _BYTES_PER_CELL

    @classmethod
    def of(cls, data: bytes) -> "_Footer":
        """The footer of a file."""
        (length,) = struct.unpack("<I", data[-8:-4])
        if data[-4:] != MAGIC or length > len(data) - 12:
            raise IndexError
        if length > _LONGEST_FOOTER:
            raise ValueError(f"it has a footer of more than {_LONGEST_FOOTER // 1_000_000} MB")
        return cls(data[-8 - length : -8])

    def _read_schema(self) -> int:
        """The number of columns; nested ones count once."""
        count, _ = self._list_header()
        if count > _MOST_SCHEMA_ELEMENTS:
            raise ValueError(_TOO_WIDE)
        columns = 0
        open_groups: list[int] = []  # how many children each one still has
        for _ in range(count):
            children = 0
            for number, kind in self._fields():
                if (number, kind) == (5, _I32):
                    children = self._zigzag()
                else:
                    self._skip(kind)
            columns += len(open_groups) == 1
            if open_groups:
                open_groups[-1] -= 1
            open_groups.append(children)
            if len(open_groups) > _DEEPEST:
                raise ValueError(f"it has a column that is nested more than {_DEEPEST} levels deep")
            while len(open_groups) > 1 and open_groups[-1] <= 0:
                open_groups.pop()
        if columns > MOST_COLUMNS:
            raise ValueError(_TOO_WIDE)
        return columns

    def _read_row_group(self) -> tuple[int, int]:
        """The bytes of its cells, not compressed, and its rows."""
        found = {2: 0, 3: 0}
        for number, kind in self._fields():
            if number in found and kind == _I64:
                found[number] = max(0, self._zigzag())
            else:
                self._skip(kind)
        return found[2], found[3]

    def _fields(self) -> Iterator[tuple[int, int]]:
        """(number, type) of each field of a structure; whoever asks reads or skips its value before the next."""
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            yield number, head & 15

    def _skip(self, kind: int, depth: int = 0) -> None:
        if depth > _DEEPEST:
            raise IndexError
        match kind:
            case 1 | 2:  # a boolean is its type
                pass
            case 3:
                self._place += 1
            case 4 | 5 | 6:
                self._varint()
            case 7:
                self._place += 8
            case 8:
                length = self._varint()
                self._place += length
            case 9 | 10:
                count, inner = self._list_header()
                for _ in range(count):
                    if inner < 3:
                        self._place += 1
                    else:
                        self._skip(inner, depth + 1)
                    self._check_place()
            case 12:
                for _, inner in self._fields():
                    self._skip(inner, depth + 1)
            case _:
                raise IndexError

    def _list_header(self) -> tuple[int, int]:
        head = self._byte()
        return (head >> 4 if head < 0xF0 else self._varint()), head & 15

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise IndexError

    def _byte(self) -> int:
        byte = self._data[self._place]
        self._place += 1
        return byte

    def _check_place(self) -> None:
        if self._place > len(self._data):
            raise IndexError
