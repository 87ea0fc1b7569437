"""Parser of image cells: one source, a JSON list of sources, or several separated ones."""

import ast
import json
import re
from typing import Any

import polars as pl

from likewise.catalog.report import Report
from likewise.catalog.text import NOTHING_WORDS

_NOTHING = NOTHING_WORDS | {"nan", "[]", "{}"}
_ADDRESS = r"(?:https?:|data:|file:)"
_STARTS_WITH_ADDRESS = re.compile(_ADDRESS, re.IGNORECASE)
_BETWEEN_ADDRESSES = re.compile(rf"[|,;\s](?={_ADDRESS})", re.IGNORECASE)  # blanks around it are stripped later
_NEEDS_READING = r"[\[\]{}|\s,;\"']"  # any other cell is one source as it stands
_BETWEEN_PATHS = re.compile(r"[|\r\n]")
_URL_KEYS = ("url", "src", "href", "path", "file", "link", "image", "image_url", "large", "hi_res", "original", "thumb")
_LONGEST_PYTHON_LIST = 100_000
_LONGEST_NOTHING = max(map(len, _NOTHING))
_MOST_SOURCES = 1_000  # of one cell; what it names beyond them is not looked at
_MOST_LIST_PARTS = 100 * _MOST_SOURCES  # quotes, commas and brackets: each may become an object of a hundred bytes


def parse_image_cells(cells: pl.Series, row_numbers: pl.Series, report: Report) -> pl.Series:
    """Read a column of image cells.

    Args:
        cells: (rows,) String, stripped, null where blank.
        row_numbers: (rows,) for the report, which counts "broken-image-list".

    Returns:
        (rows,) List(String): the sources in their order, without repetitions; empty where there is none.
    """
    short = cells.str.len_bytes() <= _LONGEST_NOTHING
    words = cells.to_frame("cell").select(pl.when(short).then("cell").str.to_lowercase()).to_series()
    blank = cells.is_null() | words.is_in(list(_NOTHING)).fill_null(False)
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


def blank_long_cells(cells: pl.Series, longest: int, row_numbers: pl.Series, report: Report) -> pl.Series:
    """Blank image cells that no picture within the limits needs, before anything reads them; counted as "too-large".

    Args:
        cells: (rows,) raw cells of an image column.
        longest: bytes that a cell may have.
        row_numbers: (rows,) for the report.
    """
    if cells.dtype != pl.String:
        return cells
    long = (cells.str.len_bytes() > longest).fill_null(False)
    if not long.any():
        return cells
    report.count_rows("too-large", row_numbers.filter(long).to_list())
    return cells.to_frame("cell").select(pl.when(~long).then("cell")).to_series().alias(cells.name)


def split_sources(cell: str) -> list[str] | None:
    """The sources that a cell names; None if it looks like a list but is none.

    A list is JSON (of strings, or of objects with a key such as "url") or Python's way to write one. Addresses may
    stand one after the other, separated by blanks, commas, semicolons or bars; paths by bars or line breaks only, since
    file names may hold the others. At most 1,000 sources are taken.
    """
    cell = cell.strip()
    if cell[:1] in ("[", "{") and cell[-1:] in ("]", "}"):
        value = read_list(cell)
        return None if value is None else _deduplicate(_find_sources(value))
    if cell[:1] in "\"'" and cell[-1:] == cell[:1]:
        cell = cell[1:-1]
    if _STARTS_WITH_ADDRESS.match(cell):
        return _deduplicate(_split(_BETWEEN_ADDRESSES, cell))
    return _deduplicate(_split(_BETWEEN_PATHS, cell))


def _split(separator: re.Pattern[str], cell: str) -> list[str]:
    *first, last = separator.split(cell, _MOST_SOURCES)
    first = [part.rstrip("|,; \t\r\n") for part in first]  # "a.jpg; b.jpg" is separated twice
    return first if len(first) == _MOST_SOURCES else [*first, last]


def read_list(cell: str) -> Any:
    """A list as JSON or as Python writes it; None where a cell is neither, or has too many parts."""
    if sum(map(cell.count, "\"',:[{")) > _MOST_LIST_PARTS:
        return None
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


def _find_sources(value: Any, depth: int = 0) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple) and depth < 3:
        return [source for part in value for source in _find_sources(part, depth + 1)]
    if isinstance(value, dict):
        by_key = {str(key).lower(): part for key, part in value.items()}
        return next((_find_sources(by_key[key], depth + 1) for key in _URL_KEYS if by_key.get(key) and depth < 3), [])
    return []


def _deduplicate(sources: list[str]) -> list[str]:
    stripped = (source.strip().strip("\"'").strip() for source in sources[:_MOST_SOURCES])
    return list(dict.fromkeys(source for source in stripped if source and not _is_nothing(source)))


def _is_nothing(source: str) -> bool:
    return len(source) <= _LONGEST_NOTHING and source.lower() in _NOTHING
