"""Numbers in cells: marks that their column decides."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.catalog.numbers import DecimalMark, find_decimal_mark, read_numbers


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["12,50 €", "1.299"], ","),
        (["0,125", "3.5"], None),
        (["1.299 €", "899 €"], ","),
        (["1.299 kr"], ","),
        (["$1,299.00", "1,299"], "."),
        (["12.5", "1,299"], "."),
        (["1,299,000"], "."),
        (["1.299.000"], ","),
        (["1,299", "2.345"], None),
        (["red", "٣", ""], None),
    ],
)
def test_the_decimal_mark_is_the_columns(cells: list[str], mark: str | None) -> None:
    assert find_decimal_mark(pl.Series(cells)) == mark


@pytest.mark.parametrize(
    ("cell", "mark", "number"),
    [
        ("1,299", None, 1299),
        ("1,299", ".", 1299),
        ("1,299", ",", 1.299),
        ("1.299", None, 1.299),
        ("1.299", ".", 1.299),
        ("1.299", ",", 1299),
        ("0.125", ",", 0.125),
        ("12,50", ".", 12.5),
        ("12.50", ",", 12.5),
        ("1.299,5", ",", 1299.5),
        ("9" * 400, None, None),
        ("٣", None, None),
    ],
)
def test_cells_that_could_be_read_in_two_ways(cell: str, mark: DecimalMark | None, number: float | None) -> None:
    assert read_numbers(pl.Series([cell], dtype=pl.String), mark).item() == number


@given(
    st.lists(st.floats(0, 1e6).map(lambda number: round(number, 2)), min_size=1, max_size=20),
    st.sampled_from((".", ",")),
)
def test_what_is_written_in_either_way_is_read(numbers: list[float], mark: DecimalMark) -> None:
    written = [f"{number:,.2f}" for number in numbers]
    if mark == ",":
        written = [text.translate(str.maketrans(".,", ",.")) for text in written]
    cells = pl.Series(written)
    assert find_decimal_mark(cells) == mark
    assert read_numbers(cells, mark).to_list() == numbers
