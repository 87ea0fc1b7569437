"""Columns read as numbers, categories, tags, dates or truth values; unusable cells are counted by cause.

What a cell means is decided for its column where the cell alone does not say: decimal marks, units, the order of day
and month, the separator of tags.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import Any, Literal, get_args

import polars as pl

from likewise.catalog.amounts import read_amounts
from likewise.catalog.dates import read_dates
from likewise.catalog.image_cells import read_list, split_sources
from likewise.catalog.json_lines import format_cell
from likewise.catalog.numbers import LONGEST_NUMBER
from likewise.catalog.text import CONTROL, NOTHING_WORDS

FieldKind = Literal["text", "image", "number", "category", "tags", "date", "boolean", "audio"]
FIELD_KINDS: tuple[FieldKind, ...] = get_args(FieldKind)
TypedValue = float | str | tuple[str, ...] | datetime | bool

MOST_TAGS = 256  # of one cell
LONGEST_CATEGORY = 1_000  # characters of a category or a tag
LONGEST_TEXT = 100_000  # characters
NOT_FINITE = "NaN or infinity"
TOO_LARGE = "too large for a number"
FOREIGN_DIGITS = "superscripts or digits other than 0 to 9"
NO_NUMBER = "not a number"
NO_TRUTH_VALUE = "neither true nor false"
BROKEN_LIST = "looks like a list, but is none"
NESTED_LIST = "a list of other things than texts and numbers"
CONTROL_CHARACTERS = "control characters, which were removed"
TOO_MANY_TAGS = f"more than {MOST_TAGS} tags, of which the first were taken"
TOO_LONG_TAG = f"a tag of more than {LONGEST_CATEGORY:,} characters, which was left out"

_NOTHING = NOTHING_WORDS | {"", "–", "—"}
_NO_CATEGORY = _NOTHING - {"none", "na"}  # which may be names of something
_NAN = r"(?i)^[+-]?(?:nan|inf|infinity|∞)$"
_TOO_LARGE = r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,20})?$"  # where such a cell could not be read
_TRUE = frozenset({"true", "yes", "y", "t", "on", "1", "1.0", "ja", "oui", "si", "sí"})
_FALSE = frozenset({"false", "no", "n", "f", "off", "0", "0.0", "nein", "non"})
_SEPARATORS = ("|", ";", ",")
_LEAST_SEPARATED = 0.02  # share of filled cells in which a separator has to occur to be the column's


@dataclass(frozen=True)
class TypedColumn:
    """A column's values as its kind has them.

    Attributes:
        values: one for each cell: float (number), str (category and text), tuple of str (tags, and the sources of
            images and recordings), datetime without zone (date) or bool (boolean); None where the cell is blank or
            cannot be used.
        unusable: cause in words → number of cells; for cells of which a part is used, the cause says so.
        unit: the currency or unit of the numbers, "" where they have none.
    """

    kind: FieldKind
    values: list[Any]
    unusable: dict[str, int] = field(default_factory=dict)
    unit: str = ""


def read_typed_column(cells: pl.Series, kind: FieldKind) -> TypedColumn:
    """Read the cells of a column as values of a kind.

    Args:
        cells: (rows,) of any type.

    Raises:
        ValueError: there is no such kind.

    Example:
        >>> import polars as pl
        >>> from likewise.catalog.typed_values import read_typed_column
        >>> read_typed_column(pl.Series(["12,50 €", "1.299 €", "free", None]), "number")
        TypedColumn(kind='number', values=[12.5, 1299.0, None, None], unusable={'not a number': 1}, unit='€')
    """
    readers: dict[FieldKind, Callable[[pl.Series], TypedColumn]] = {
        "number": _read_number_column,
        "date": _read_date_column,
        "boolean": _read_boolean_column,
        "category": _read_category_column,
        "text": _read_text_column,
        "tags": _read_tag_column,
        "image": partial(_read_source_column, kind="image"),
        "audio": partial(_read_source_column, kind="audio"),
    }
    if kind not in readers:
        raise ValueError(f"there is no kind of field {kind!r}; there are {', '.join(FIELD_KINDS)}")
    return readers[kind](cells)


def _read_number_column(cells: pl.Series) -> TypedColumn:
    if cells.dtype.is_numeric():
        numbers = cells.cast(pl.Float64)
        finite = numbers.is_finite().fill_null(False)
        causes = Counter({NOT_FINITE: int((~finite & numbers.is_not_null()).sum())})
        kept = numbers.to_frame("n").select(pl.when(finite).then("n")).to_series()
        return TypedColumn("number", kept.to_list(), _by_count(causes))
    texts, causes = _clean_texts(cells, _NOTHING)
    text = pl.col("text")
    short = texts.to_frame("text").select(pl.when(text.str.len_chars() <= LONGEST_NUMBER).then("text")).to_series()
    amounts = read_amounts(short)
    frame = pl.DataFrame({"text": texts, "short": short, "number": amounts.numbers, "foreign": amounts.foreign})
    cause = (
        pl.when(pl.col("short").is_null())
        .then(pl.lit(f"longer than {LONGEST_NUMBER} characters"))
        .when("foreign")
        .then(pl.lit(f'in a unit other than "{amounts.unit}"'))
        .when(text.str.contains(_NAN))
        .then(pl.lit(NOT_FINITE))
        .when(text.str.contains(_TOO_LARGE))
        .then(pl.lit(TOO_LARGE))
        .when(text.str.contains(r"[\p{N}--[0-9]]"))
        .then(pl.lit(FOREIGN_DIGITS))
        .otherwise(pl.lit(NO_NUMBER))
    )
    unread = frame.filter(pl.col("number").is_null() & text.is_not_null())
    causes.update(unread.select(cause.alias("cause"))["cause"].to_list())
    return TypedColumn("number", amounts.numbers.to_list(), _by_count(causes), amounts.unit)


def _read_date_column(cells: pl.Series) -> TypedColumn:
    if cells.dtype == pl.Boolean:
        return _refuse_all(cells, "date", "true or false, not a date")
    if cells.dtype.is_float():  # years and epochs of a column with blank cells
        cells = pl.Series(
            [int(cell) if cell is not None and cell.is_integer() else cell for cell in cells.to_list()],
            dtype=pl.String,
            strict=False,
        )
    if cells.dtype.is_temporal():
        cells = pl.Series([cell.isoformat() if isinstance(cell, date) else None for cell in cells.to_list()])
    texts, causes = _clean_texts(cells, _NOTHING)
    dates, unusable = read_dates(texts.to_list())
    return TypedColumn("date", dates, _by_count(causes + unusable))


def _read_boolean_column(cells: pl.Series) -> TypedColumn:
    if cells.dtype == pl.Boolean:
        return TypedColumn("boolean", cells.to_list())
    texts, causes = _clean_texts(cells, _NOTHING)
    values: list[bool | None] = []
    for text in texts.to_list():
        word = text.lower() if text is not None and len(text) < 10 else text
        values.append(True if word in _TRUE else False if word in _FALSE else None)
        causes[NO_TRUTH_VALUE] += text is not None and values[-1] is None
    return TypedColumn("boolean", values, _by_count(causes))


def _read_category_column(cells: pl.Series) -> TypedColumn:
    if cells.dtype.is_nested():
        return _refuse_all(cells, "category", "a list, not one value")
    texts, causes = _clean_texts(cells, _NO_CATEGORY)
    values: list[str | None] = []
    for text in texts.to_list():
        if text is not None and len(text) > LONGEST_CATEGORY:
            causes[f"longer than {LONGEST_CATEGORY:,} characters"] += 1
            text = None
        values.append(text)
    return TypedColumn("category", values, _by_count(causes))


def _read_text_column(cells: pl.Series) -> TypedColumn:
    texts, causes = _clean_texts(cells, frozenset({""}))
    long = int((texts.str.len_chars() > LONGEST_TEXT).sum())
    if long:
        causes[f"longer than {LONGEST_TEXT:,} characters, of which the first were taken"] += long
        texts = texts.str.slice(0, LONGEST_TEXT)
    return TypedColumn("text", texts.to_list(), _by_count(causes))


def _read_tag_column(cells: pl.Series) -> TypedColumn:
    causes: Counter[str] = Counter()
    if isinstance(cells.dtype, pl.List | pl.Array):
        rows = [None if row is None else _clean_tags(row, causes) for row in cells.to_list()]
        return TypedColumn("tags", rows, _by_count(causes))
    texts, causes = _clean_texts(cells, _NO_CATEGORY)
    separator = find_separator(texts)
    values: list[tuple[str, ...] | None] = []
    for text in texts.to_list():
        if text is None:
            values.append(None)
        elif text[:1] in ("[", "{") and text[-1:] in ("]", "}"):
            parts = read_list(text)
            if parts is None:
                causes[BROKEN_LIST] += 1
            values.append(None if parts is None else _clean_tags(parts, causes))
        else:
            parts = [text] if separator is None else text.split(separator, MOST_TAGS + 1)
            values.append(_clean_tags(parts, causes))
    return TypedColumn("tags", values, _by_count(causes))


def find_separator(texts: pl.Series) -> str | None:
    """Find what separates the tags of a column: the first of "|", ";" and "," that enough cells have; None: nothing."""
    listed = texts.str.contains(r"^\s*\[").fill_null(False)
    filled = texts.filter(texts.is_not_null() & ~listed)
    for separator in _SEPARATORS:
        count = int(filled.str.contains(separator, literal=True).sum())
        if count and count >= _LEAST_SEPARATED * len(filled):
            return separator
    return None


def _clean_tags(parts: Any, causes: Counter[str]) -> tuple[str, ...] | None:
    """The tags of a cell, without repetitions; None where there is none."""
    if not isinstance(parts, list | tuple):
        causes[NESTED_LIST] += 1
        return None
    causes[TOO_MANY_TAGS] += len(parts) > MOST_TAGS
    tags: dict[str, None] = {}
    nested = long = False
    for part in parts[:MOST_TAGS]:
        if isinstance(part, dict | list | tuple | set):
            nested = True
            continue
        tag = re.sub(CONTROL, "", format_cell(part) or "").strip().strip("\"'").strip()
        if len(tag) > LONGEST_CATEGORY:
            long = True
        elif tag.lower() not in _NO_CATEGORY:
            tags[tag] = None
    causes[NESTED_LIST] += nested
    causes[TOO_LONG_TAG] += long
    return tuple(tags) or None


def _read_source_column(cells: pl.Series, kind: FieldKind) -> TypedColumn:
    """The sources of images and recordings, not opened."""
    if isinstance(cells.dtype, pl.List):
        return TypedColumn(kind, [tuple(row) or None if row is not None else None for row in cells.to_list()])
    texts, causes = _clean_texts(cells, _NOTHING)
    values: list[tuple[str, ...] | None] = []
    for text in texts.to_list():
        sources = split_sources(text) if text is not None else []
        causes[BROKEN_LIST] += sources is None
        values.append(tuple(sources) if sources else None)
    return TypedColumn(kind, values, _by_count(causes))


def _clean_texts(cells: pl.Series, nothing: frozenset[str]) -> tuple[pl.Series, Counter[str]]:
    """Cells as stripped texts, null where blank or a word for nothing; control characters are removed and counted."""
    causes: Counter[str] = Counter()
    if cells.dtype.is_nested() or cells.dtype in (pl.Object, pl.Binary, pl.Null):
        cells = pl.Series(cells.name, [format_cell(value) for value in _plain(cells.to_list())], pl.String)
    texts = cells.cast(pl.String)
    dirty = texts.str.contains(CONTROL).fill_null(False)
    if dirty.any():
        causes[CONTROL_CHARACTERS] = int(dirty.sum())
        texts = texts.str.replace_all(CONTROL, "")
    texts = texts.str.strip_chars().alias("text")
    word = pl.when(pl.col("text").str.len_bytes() <= max(map(len, nothing)) * 4).then(pl.col("text").str.to_lowercase())
    blank = word.is_in(list(nothing)).fill_null(False)
    return texts.to_frame().select(pl.when(~blank).then("text").alias(cells.name)).to_series(), causes


def _plain(values: Sequence[Any]) -> list[Any]:
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]


def _refuse_all(cells: pl.Series, kind: FieldKind, cause: str) -> TypedColumn:
    return TypedColumn(kind, [None] * len(cells), _by_count(Counter({cause: len(cells) - cells.null_count()})))


def _by_count(causes: Counter[str]) -> dict[str, int]:
    return {cause: count for cause, count in causes.most_common() if count > 0}
