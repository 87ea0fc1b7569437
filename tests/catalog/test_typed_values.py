"""Typed columns: values as their kind has them, and every hostile cell counted by cause."""

import math
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.catalog.dates import NO_DATE, NO_SUCH_DAY, OUT_OF_RANGE
from likewise.catalog.json_lines import format_cell
from likewise.catalog.typed_values import (
    BROKEN_LIST,
    CONTROL_CHARACTERS,
    FIELD_KINDS,
    FOREIGN_DIGITS,
    MOST_TAGS,
    NESTED_LIST,
    NO_NUMBER,
    NO_TRUTH_VALUE,
    NOT_FINITE,
    TOO_LARGE,
    TOO_LONG_TAG,
    TOO_MANY_TAGS,
    FieldKind,
    read_typed_column,
)

MEGABYTE = "x" * 1_000_000
DEEP = "[" * 100_000 + "]" * 100_000

# kind, cell, value, cause
HOSTILE: list[tuple[FieldKind, Any, Any, str]] = [
    ("number", "1e999", None, TOO_LARGE),
    ("number", "9" * 50, None, TOO_LARGE),
    ("number", "-1e31", None, TOO_LARGE),
    ("number", "9" * 400, None, "longer than 64 characters"),
    ("number", MEGABYTE, None, "longer than 64 characters"),
    ("number", "٣", None, FOREIGN_DIGITS),
    ("number", "5²", None, FOREIGN_DIGITS),
    ("number", "½", None, FOREIGN_DIGITS),
    ("number", "\uff15", None, FOREIGN_DIGITS),
    ("number", "NaN", None, NOT_FINITE),
    ("number", "-inf", None, NOT_FINITE),
    ("number", "∞", None, NOT_FINITE),
    ("number", "1.2.3.4", None, NO_NUMBER),
    ("number", "12,50,3", None, NO_NUMBER),
    ("number", "0x1F", None, NO_NUMBER),
    ("number", "10-20", None, NO_NUMBER),
    ("number", "=1+1", None, NO_NUMBER),
    ("number", "true", None, NO_NUMBER),
    ("number", "12\0", 12.0, CONTROL_CHARACTERS),
    ("date", "9999-12-31", None, OUT_OF_RANGE),
    ("date", "0000-00-00", None, OUT_OF_RANGE),
    ("date", "-271821-04-20", None, NO_DATE),
    ("date", "2023-02-29", None, NO_SUCH_DAY),
    ("date", "2024-01-01T24:61:61Z", None, NO_SUCH_DAY),
    ("date", "99999999999999999999", None, "a number that is no year, no day and no epoch"),
    ("date", MEGABYTE, None, "longer than 64 characters"),
    ("boolean", "maybe", None, NO_TRUTH_VALUE),
    ("boolean", "2", None, NO_TRUTH_VALUE),
    ("boolean", MEGABYTE, None, NO_TRUTH_VALUE),
    ("category", MEGABYTE, None, "longer than 1,000 characters"),
    ("category", "re\x1b[31md", "re[31md", CONTROL_CHARACTERS),
    ("text", MEGABYTE, "x" * 100_000, "longer than 100,000 characters, of which the first were taken"),
    ("tags", "|".join(map(str, range(10_000))), tuple(map(str, range(MOST_TAGS))), TOO_MANY_TAGS),
    ("tags", str(list(range(10_000))), tuple(map(str, range(MOST_TAGS))), TOO_MANY_TAGS),
    ("tags", f"red|{MEGABYTE}", ("red",), TOO_LONG_TAG),
    ("tags", DEEP, None, BROKEN_LIST),
    ("tags", '["red", {"a": [1]}]', ("red",), NESTED_LIST),
    ("tags", "[__import__('os').system('x')]", None, BROKEN_LIST),
    ("tags", '{"red": 1}', None, NESTED_LIST),
    ("tags", "a\0|b", ("a", "b"), CONTROL_CHARACTERS),
    ("image", '["a.jpg", ]x]', None, BROKEN_LIST),
    ("audio", DEEP, None, BROKEN_LIST),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "cell", "value", "cause"), HOSTILE)
def test_hostile_cells_are_counted_by_cause(kind: FieldKind, cell: Any, value: Any, cause: str) -> None:
    column = read_typed_column(pl.Series([cell, None, cell]), kind)
    assert column.values == [value, None, value]
    assert column.unusable == {cause: 2}


def test_half_characters_from_json_are_replaced() -> None:
    cell = format_cell("red\ud800|blue\udfff")  # JSON may hold them; a table cannot
    assert read_typed_column(pl.Series([cell]), "tags").values == [("red\ufffd", "blue\ufffd")]


@pytest.mark.parametrize("kind", FIELD_KINDS)
@pytest.mark.parametrize("blank", [None, "", "  ", "n/a", "N/A", "null", "-"])
def test_blank_cells_are_missing_and_not_unusable(kind: FieldKind, blank: str | None) -> None:
    column = read_typed_column(pl.Series([blank], dtype=pl.String), kind)
    assert column.unusable == {}
    assert column.values == [blank if kind == "text" and (blank or "").strip() else None]


@pytest.mark.parametrize("cells", [[], [None, None], [b"12", None], [[1, 2], None], [{"a": 1}, None]])
@pytest.mark.parametrize("kind", FIELD_KINDS)
def test_any_type_of_column_can_be_read(kind: FieldKind, cells: list[Any]) -> None:
    column = read_typed_column(pl.Series("column", cells), kind)
    assert (column.kind, len(column.values)) == (kind, len(cells))


def test_there_is_no_other_kind() -> None:
    with pytest.raises(ValueError, match="there are text, image, number"):
        read_typed_column(pl.Series(["a"]), "video")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cells", "values", "unit"),
    [
        (["12,50 €", "1.299 €", "899 €"], [12.5, 1299.0, 899.0], "€"),
        (["$1,299.00", "$5", "USD 7.5"], [1299.0, 5.0, 7.5], "$"),
        (["1 299 kr", "12,5 kr"], [1299.0, 12.5], "kr"),
        (["3.5 kg", "500 g", "2 kg"], [3.5, 0.5, 2.0], "kg"),
        (["12 inches", "8 inches", "2.54 cm"], [12.0, 8.0, 1.0], "inches"),
        (["20 m²", "7.5 m²"], [20.0, 7.5], "m²"),
        (["5 %", "7"], [5.0, 7.0], "%"),
        (["1e5", "\u22123.25"], [1e5, -3.25], ""),
        (["1.299", "0.5"], [1.299, 0.5], ""),
    ],
)
def test_numbers_with_units(cells: list[str], values: list[float], unit: str) -> None:
    column = read_typed_column(pl.Series(cells), "number")
    assert column.values == pytest.approx(values)
    assert (column.unit, column.unusable) == (unit, {})


def test_numbers_in_another_unit_are_left_out() -> None:
    column = read_typed_column(pl.Series(["5 €", "6 €", "7 $", "8 kg"]), "number")
    assert column.values == [5.0, 6.0, None, None]
    assert column.unusable == {'in a unit other than "€"': 2}


def test_columns_that_are_numbers_already() -> None:
    assert read_typed_column(pl.Series([1.5, math.nan, math.inf, None]), "number").unusable == {NOT_FINITE: 2}
    assert read_typed_column(pl.Series([1, None]), "number").values == [1.0, None]
    assert read_typed_column(pl.Series([1999.0, None]), "date").values == [datetime(1999, 1, 1), None]
    assert read_typed_column(pl.Series([date(2024, 1, 2)]), "date").values == [datetime(2024, 1, 2)]
    assert read_typed_column(pl.Series([True, None]), "boolean").values == [True, None]
    assert read_typed_column(pl.Series([42, 7]), "category").values == ["42", "7"]


def test_truth_values() -> None:
    cells = ["yes", "NO", "1", "0", "True", "f", "on", "nein"]
    assert read_typed_column(pl.Series(cells), "boolean").values == [True, False, True, False, True, False, True, False]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["red|blue", "one, two"], [("red", "blue"), ("one, two",)]),
        (["red; blue", "one, two"], [("red", "blue"), ("one, two",)]),
        (["red,blue,red", "one"], [("red", "blue"), ("one",)]),
        (['["red", "blue"]', "['one']"], [("red", "blue"), ("one",)]),
        ([" | ", "n/a|red"], [None, ("red",)]),
        ([["red", "blue"], []], [("red", "blue"), None]),
    ],
)
def test_the_separator_of_tags_is_the_columns(cells: list[Any], values: list[tuple[str, ...] | None]) -> None:
    assert read_typed_column(pl.Series(cells), "tags").values == values


_TYPES = {"number": float, "date": datetime, "boolean": bool, "category": str, "text": str}


@given(
    st.lists(
        st.none() | st.text(max_size=30) | st.from_regex(r"[0-9.,eE$€ kg|;\[\]\"-]{0,20}", fullmatch=True), max_size=8
    ),
    st.sampled_from(FIELD_KINDS),
)
def test_any_column_can_be_read_as_any_kind(cells: list[str | None], kind: FieldKind) -> None:
    cells = [None if cell is None else cell.encode("utf-8", "replace").decode() for cell in cells]
    column = read_typed_column(pl.Series("column", cells, pl.String), kind)
    assert len(column.values) == len(cells)
    assert all(count > 0 for count in column.unusable.values())
    for value in column.values:
        assert value is None or isinstance(value, _TYPES.get(kind, tuple))
        assert value != () and value != ""
    if kind == "number":
        assert all(math.isfinite(value) for value in column.values if value is not None)
