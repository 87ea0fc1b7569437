"""Reader of JSON Lines, or of one JSON list of objects: every object is a row."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from likewise.catalog.charset import decode_lines
from likewise.catalog.columns import check_width
from likewise.catalog.delimited import RawTable, check_cells, rows_per_chunk
from likewise.catalog.report import Report
from likewise.errors import UserError
from likewise.parsing import parse_json

_SURROGATE = re.compile("[\ud800-\udfff]")


def read_json_lines(data: bytes, *, encoding: str, name: str, report: Report) -> RawTable:
    """Read objects, one per line or all in one list; lines that are not objects are counted.

    Raises:
        UserError: there is no object at all, or there are thousands of different keys.
    """
    lines = decode_lines(data, encoding)
    opening = next((line for line in lines if line.strip()), "")
    values: Iterable[Any]
    if opening.lstrip("\ufeff \t").startswith("["):
        values = _parse_list("".join([opening, *lines]), name)
    else:
        values = (_parse(line) for line in itertools.chain([opening], lines) if line.strip())
    frames: list[pl.DataFrame] = []
    numbers: list[int] = []
    names: dict[str, None] = {}
    rows = _collect_names(_iterate_objects(values, report), names, len(data), name)
    while chunk := list(itertools.islice(rows, rows_per_chunk(len(names)))):
        numbers.extend(number for number, _ in chunk)
        frames.append(
            pl.DataFrame([pl.Series(key, [format_cell(row.get(key)) for _, row in chunk], pl.String) for key in names])
        )
    report.count("undecodable-bytes", count=lines.repaired)
    if not numbers:
        raise UserError(f'{name} holds no JSON objects: write one object a line, such as {{"title": "red shoes"}}')
    return RawTable(pl.concat(frames, how="diagonal"), pl.Series("row", numbers, pl.Int64))


def _collect_names(
    rows: Iterable[tuple[int, dict[str, Any]]], names: dict[str, None], size: int, name: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Pass rows on, and add their keys to `names` while there are not too many."""
    for count, (number, row) in enumerate(rows, start=1):
        check_width(len(row), name, "different keys")
        names.update(dict.fromkeys(row))
        check_width(len(names), name, "different keys")
        check_cells(count, len(names), size, name)
        yield number, row


def format_cell(value: Any) -> str | None:
    """Format a JSON value as the text of a cell: lists and objects stay JSON, null and NaN are blank."""
    match value:
        case None:
            return None
        case str():
            text = value
        case bool():
            return "true" if value else "false"
        case float() if value != value:
            return None
        case int() | float():
            return repr(value)
        case _:
            text = json.dumps(value, ensure_ascii=False, default=_convert_value)
    return replace_surrogates(text)


def replace_surrogates(text: str) -> str:
    """Text that UTF-8 can hold: JSON may name halves of a character."""
    return _SURROGATE.sub("\ufffd", text) if not text.isascii() else text


def _convert_value(value: object) -> str | None:
    """Convert Parquet values that JSON lacks: dates to text, bytes (embedded pictures) to null."""
    return None if isinstance(value, bytes) else str(value)


def _parse(line: str) -> Any:
    try:
        return parse_json(line.strip("\ufeff\0 \t\r\n"))
    except ValueError:  # also integers of thousands of digits
        return None


def _parse_list(text: str, name: str) -> list[Any]:
    try:
        values = parse_json(text.strip("\ufeff\0 \t\r\n"))
    except ValueError as error:
        raise UserError(f"{name} starts like a JSON list, but cannot be read: {error}") from None
    return values if isinstance(values, list) else [values]


def _iterate_objects(values: Iterable[Any], report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, value in enumerate(values, start=1):
        report.rows = number
        if isinstance(value, dict):
            yield number, {replace_surrogates(key).strip() or "column": cell for key, cell in value.items()}
        else:
            report.count("malformed-row", number)
