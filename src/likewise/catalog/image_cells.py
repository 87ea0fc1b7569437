"""The cell of an image column → the sources that it names: one, a JSON list, or several in a row."""

import ast
import json
import re
from typing import Any

import polars as pl

from likewise.catalog.report import Report

_NOTHING = frozenset({"null", "nan", "none", "na", "n/a", "-", "#n/a", "[]", "{}", "undefined"})
_ADDRESS = r"(?:https?:|data:|file:)"
_STARTS_WITH_ADDRESS = re.compile(_ADDRESS, re.IGNORECASE)
_BETWEEN_ADDRESSES = re.compile(rf"\s*[|,;\s]\s*(?={_ADDRESS})", re.IGNORECASE)
_NEEDS_READING = r"[\[\]{}|\s,;\"']"  # any other cell is one source as it stands
_URL_KEYS = ("url", "src", "href", "path", "file", "link", "image", "image_url", "large", "hi_res", "original", "thumb")
_LONGEST_PYTHON_LIST = 100_000


def image_sources(cells: pl.Series, row_numbers: pl.Series, report: Report) -> pl.Series:
    """Read a column of image cells.

    Args:
        cells: (rows,) String, stripped, null where blank.
        row_numbers: (rows,) for the report, which counts "broken-image-list".

    Returns:
        (rows,) List(String): the sources in their order, without repetitions; empty where there is none.
    """
    blank = cells.is_null() | cells.str.to_lowercase().is_in(list(_NOTHING)).fill_null(True)
    complex_ones = (cells.str.contains(_NEEDS_READING).fill_null(False) & ~blank).arg_true()
    simple = pl.DataFrame({"cell": cells, "blank": blank}).select(
        pl.when("blank").then(pl.lit([], dtype=pl.List(pl.String))).otherwise(pl.concat_list("cell")).alias("image")
    )["image"]
    if complex_ones.is_empty():
        return simple
    read: list[list[str]] = []
    broken: list[int] = []
    for position, cell in zip(complex_ones, cells.gather(complex_ones), strict=True):
        sources = split_sources(cell)
        if sources is None:
            broken.append(row_numbers[position])
        read.append(sources or [])
    report.count_rows("broken-image-list", broken)
    lists = simple.to_list()
    for position, sources in zip(complex_ones, read, strict=True):
        lists[position] = sources
    return pl.Series("image", lists, pl.List(pl.String))


def split_sources(cell: str) -> list[str] | None:
    """The sources that a cell names; None if it looks like a list but is none.

    A list is JSON (of strings, or of objects with a key such as "url") or Python's way to write one. Addresses may
    stand one after the other, separated by blanks, commas, semicolons or bars; paths by bars or line breaks only, since
    file names may hold the others.
    """
    cell = cell.strip()
    if cell[:1] in ("[", "{") and cell[-1:] in ("]", "}"):
        value = _read_list(cell)
        return None if value is None else _distinct(_named_in(value))
    if cell[:1] in "\"'" and cell[-1:] == cell[:1]:
        cell = cell[1:-1]
    if _STARTS_WITH_ADDRESS.match(cell):
        return _distinct(_BETWEEN_ADDRESSES.split(cell))
    return _distinct(re.split(r"[|\r\n]", cell))


def _read_list(cell: str) -> Any:
    try:
        return json.loads(cell)
    except RecursionError:
        return None
    except ValueError:
        pass
    if len(cell) > _LONGEST_PYTHON_LIST:
        return None
    try:
        return ast.literal_eval(cell)  # literals only: "['a.jpg', 'b.jpg']", as pandas writes lists
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _named_in(value: Any, depth: int = 0) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple) and depth < 3:
        return [source for part in value for source in _named_in(part, depth + 1)]
    if isinstance(value, dict):
        by_key = {str(key).lower(): part for key, part in value.items()}
        return next((_named_in(by_key[key], depth + 1) for key in _URL_KEYS if by_key.get(key) and depth < 3), [])
    return []


def _distinct(sources: list[str]) -> list[str]:
    stripped = (source.strip().strip("\"'").strip() for source in sources)
    return list(dict.fromkeys(source for source in stripped if source and source.lower() not in _NOTHING))
