"""Tolerant reader of CSV and similar formats: every record is used, repaired or counted, and none stops the reading.

One strict parser reads all files. Where it stumbles over a quotation mark, only that line is repaired or given up, and
reading goes on with the next: an unclosed quote never swallows the rest of the file.
"""

import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from likewise.catalog.charset import decode_lines
from likewise.catalog.columns import check_width
from likewise.catalog.report import Report
from likewise.errors import UserError

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_EXCEL_HINT = re.compile(r"sep=([^\"\r\n])\s*", re.IGNORECASE)
_LINES_PER_RECORD = 10_000
_READ_AGAIN, _READ_AGAIN_AT_LEAST = 10, 1_000_000  # characters: times those of the file so far
_MOST_SEPARATORS = 1_000_000  # of a line; each may become an object
_CELLS_PER_CHUNK = 1_000_000
_MOST_ROWS_PER_CHUNK = 20_000
_CELLS_PER_BYTE, _CELLS_OF_ANY_FILE = 4, 10_000_000  # most of which are blank
_LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True)
class RawTable:
    """The cells of a file as text; null where a row has none.

    Attributes:
        cells: one String column for each column of the file (Parquet keeps numbers and booleans typed).
        row_numbers: (rows,) Int64; 1 is the first row under the header, unreadable rows are counted too.
        embedded: column → (rows,) Binary, or List(Binary), the files that stand in its cells, whose names or paths are
            in `cells`.
    """

    cells: pl.DataFrame
    row_numbers: pl.Series
    embedded: dict[str, pl.Series] = field(default_factory=dict)


class _Lines(Iterator[str]):
    """Line iterator for a csv reader that can push back the lines of the current record.

    Where marks are left open again and again, so that lines are pushed back more often than any honest file needs, a
    record has to end with the line that it began in; so the time is linear.
    """

    def __init__(self, lines: Iterator[str], separator: str) -> None:
        self._lines, self._separator = lines, separator
        self._returned: deque[str] = deque()
        self._credit = _READ_AGAIN_AT_LEAST
        self.record: list[str] = []

    def __next__(self) -> str:
        if self._returned:
            line = self._returned.popleft()
            self._credit -= len(line) if self.record else 0
        else:
            line = next(self._lines)
            self._credit += _READ_AGAIN * len(line)
        self.record.append(line)
        if len(self.record) > _LINES_PER_RECORD or self._credit < 0:
            self._credit = max(self._credit, 0)
            raise csv.Error("a quotation mark is not closed")
        if line.count(self._separator) > _MOST_SEPARATORS:
            raise csv.Error("there are too many cells")
        return line

    def take_back_all_but_first(self) -> str:
        """Return the first line of the record, and push back the others."""
        self._returned.extendleft(reversed(self.record[1:]))
        return self.record[0]


def read_delimited(data: bytes, *, encoding: str, name: str, default_separator: str, report: Report) -> RawTable:
    """Read comma-, semicolon-, tab- or bar-separated text.

    Args:
        data: the whole file.
        encoding: its codec, as `detect_encoding` names it.
        name: the file's name, for messages.
        default_separator: taken where the header has a single column.
        report: `rows` is set, problems are counted by row number.

    Raises:
        UserError: there is no header, or nothing below it, or far too many columns.
    """
    csv.field_size_limit(_LONGEST_CELL)  # the library's own limit of 131,072 characters would refuse honest cells
    lines = decode_lines(data, encoding)
    opening = list(itertools.islice(lines, 200))
    separator = default_separator
    hint = _EXCEL_HINT.fullmatch(opening[0]) if opening else None
    if hint:
        separator = hint[1]
        opening = opening[1:]
    else:
        separator = _guess_separator(opening, default_separator)
    if separator != default_separator:
        report.note(f"columns are separated by {_SEPARATORS.get(separator, separator)}")

    table = _read_sound(data, encoding, separator, name, report) if not hint else None
    if table is None:
        records = _iterate_records(_Lines(itertools.chain(opening, lines), separator), separator)
        table = _read_tolerantly(records, len(data), separator, name, report)
        report.count("undecodable-bytes", count=lines.repaired)
    if report.rows == 0:
        raise UserError(f"{name} has a header but no rows: a catalogue needs at least one item")
    return table


def check_cells(rows: int, columns: int, size: int, name: str) -> None:
    """See that a file of `size` bytes does not stand for a table that is nearly all blank.

    Raises:
        UserError: it does.
    """
    if rows * columns > _CELLS_OF_ANY_FILE + _CELLS_PER_BYTE * size:
        raise UserError(
            f"{name} has {columns:,} columns, most of which are blank in most of its rows: it is not a table of items"
        )


def rows_per_chunk(columns: int) -> int:
    """How many rows become a part of a table at a time."""
    return max(1, min(_MOST_ROWS_PER_CHUNK, _CELLS_PER_CHUNK // max(columns, 1)))


def _read_sound(data: bytes, encoding: str, separator: str, name: str, report: Report) -> RawTable | None:
    """Read a well-formed file, three times as fast as `_read_tolerantly`; None at the first error."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="")
    reader = csv.reader(text, delimiter=separator, strict=True)
    frames: list[pl.DataFrame] = []
    count = 0
    try:
        header = next(reader)
        check_width(len(header), name)
        while rows := list(itertools.islice(reader, rows_per_chunk(len(header)))):
            if set(map(len, rows)) != {len(header)}:
                return None
            frames.append(_build_frame(map(str, range(len(header))), rows))
            count += len(rows)
    except (csv.Error, UnicodeDecodeError, StopIteration):
        return None
    if not frames or not any(map(str.strip, header)):
        return None
    table = pl.concat(frames)
    table.columns = _make_names_unique(header, report)
    report.rows = count
    return RawTable(table, pl.int_range(1, count + 1, eager=True).alias("row"))


def _read_tolerantly(
    records: Iterator[list[str] | str], size: int, separator: str, name: str, report: Report
) -> RawTable:
    header = next((cells for cells in records if not isinstance(cells, str) and any(map(str.strip, cells))), None)
    if header is None:
        raise UserError(f"{name} is empty: a catalogue needs a header and at least one row")
    check_width(len(header), name)
    names = _make_names_unique(header, report)
    frames: list[pl.DataFrame] = [pl.DataFrame(schema=dict.fromkeys(names, pl.String))]
    numbers: list[int] = []
    rows = _check_rows(records, separator, len(names), report)
    while chunk := list(itertools.islice(rows, rows_per_chunk(len(names)))):
        check_cells(report.rows, len(names), size, name)
        numbers.extend(number for number, _ in chunk)
        frames.append(_build_frame(names, [cells for _, cells in chunk]))
    return RawTable(pl.concat(frames), pl.Series("row", numbers, pl.Int64))


def _build_frame(names: Iterable[str], rows: Sequence[Sequence[str | None]]) -> pl.DataFrame:
    columns = zip(*rows, strict=True)
    return pl.DataFrame([pl.Series(name, cells, pl.String) for name, cells in zip(names, columns, strict=True)])


def _iterate_records(lines: _Lines, separator: str) -> Iterator[list[str] | str]:
    """Yield the cells of each record (none for a blank line), or the bare line if its quotes are unbalanced."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.record.clear()
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield lines.take_back_all_but_first()


def _check_rows(
    records: Iterator[list[str] | str], separator: str, width: int, report: Report
) -> Iterator[tuple[int, list[str | None]]]:
    """Yield (row number, exactly `width` cells) for every record that can be used; count the others."""
    for number, record in enumerate(records, start=1):
        report.rows = number
        if isinstance(record, str):
            repaired = _repair_quotes(record, separator, width)
            report.count("repaired-quotes" if repaired else "malformed-row", number)
            if repaired:
                yield number, list(repaired)
            continue
        cells: list[str | None] = list(record)
        if len(cells) > width and not any(cell and cell.strip() for cell in cells[width:]):
            cells = cells[:width]  # separators at the end of the line, as spreadsheets write them
        if len(cells) > width:
            report.count("long-row", number)
            continue
        if cells and len(cells) < width:
            report.count("short-row", number)
        yield number, cells + [None] * (width - len(cells))


def _repair_quotes(line: str, separator: str, width: int) -> list[str] | None:
    """Read one line with unbalanced quotation marks; None if no reading gives `width` cells."""
    if line.count(separator) == width - 1:
        return [cell.strip().strip('"').replace('""', '"') for cell in line.split(separator)]
    if line.count(separator) > _MOST_SEPARATORS:
        return None
    lenient = next(csv.reader([line], delimiter=separator), [])
    return lenient if len(lenient) == width and "\n" not in lenient[-1] else None


def _guess_separator(opening: list[str], default: str) -> str:
    best, best_score = default, (0.0, 1)
    for separator in sorted(_SEPARATORS, key=lambda candidate: candidate != default):
        records = (cells for cells in _iterate_records(_Lines(iter(opening), separator), separator) if cells)
        header = next(records, "")
        if isinstance(header, str):  # it does not fit this separator
            continue
        widths = [len(header), *(len(cells) for cells in records if not isinstance(cells, str))]
        if widths[0] > 1:
            score = (round(widths.count(widths[0]) / len(widths), 1), widths[0])
            if score > best_score:
                best, best_score = separator, score
    return best


def _make_names_unique(header: list[str], report: Report) -> list[str]:
    names: dict[str, None] = {}
    copies: dict[str, int] = {}
    for position, cell in enumerate(header, start=1):
        base = cell.replace("\0", "").strip().strip("\ufeff") or f"column {position}"
        name = base
        while name in names:
            copies[base] = copies.get(base, 1) + 1
            name = f"{base} ({copies[base]})"
        if name != base:
            report.note(f'the column name "{base}" occurs more than once: a later one is called "{name}"')
        names[name] = None
    return list(names)
