"""Cells as people left them become clean texts and numbers."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.catalog.report import Report
from likewise.catalog.rows import clean_cells, clean_text, infer_column_type


def cleaned(*texts: str | None) -> tuple[list[str | None], Report]:
    report = Report()
    numbers = pl.Series(range(1, len(texts) + 1), dtype=pl.Int64)
    return clean_text(pl.Series("title", texts, pl.String), numbers, report).to_list(), report


def test_blank_cells_are_null_and_control_characters_go() -> None:
    report = Report()
    table = pl.DataFrame({"a": [" x\0y ", "\u3000 \n", ""], "b": [1, 2, 3]})
    assert clean_cells(table, pl.Series([1, 2, 3]), report)["a"].to_list() == ["xy", None, None]
    assert report.problems["control-characters"].examples == [1]


def test_null_words_are_blank_but_real_titles_stay() -> None:
    texts, report = cleaned("nan", "null", "None", "NA", "NaN", "N/A", None)
    assert texts == [None, None, "None", "NA", "NaN", "N/A", None]
    assert report.problems["null-word"].count == 2


def test_html_becomes_plain_text() -> None:
    texts, report = cleaned(
        "Ben &amp; Jerry&#39;s",
        "<p>Soft<br/>and <b class='x'>warm</b></p><script>alert('<b>')</script><ul><li>one</li></ul>",
        "<style>p {color: red}</style><p>&nbsp;</p>",
        "size < 5 and > 3, i <3 you, AT&T, <unknown>",
        "plain",
    )
    assert texts == [
        "Ben & Jerry's",
        "Soft and warm one",
        None,
        "size < 5 and > 3, i <3 you, AT&T, <unknown>",
        "plain",
    ]
    assert report.problems["html-removed"].examples == [1, 2, 3]


def test_hostile_html_takes_no_time() -> None:
    texts, _ = cleaned("<script>" * 20_000, "<p " * 30_000, "&" * 100_000)
    assert len(texts) == 3


@settings(max_examples=30)
@given(st.lists(st.none() | st.text(min_size=1, max_size=30), min_size=1, max_size=5))
def test_cleaned_text_is_never_empty_or_padded(raw: list[str | None]) -> None:
    rows = pl.Series(range(len(raw)), dtype=pl.Int64)
    table = clean_cells(pl.DataFrame({"title": pl.Series(raw, dtype=pl.String)}), rows, Report())
    for text in clean_text(table["title"], rows, Report()):
        assert text is None or (text and text == text.strip(" \n\t"))


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-20", None], [1, -20, None]),
        (["1", "2.50", "3e2"], [1.0, 2.5, 300.0]),
        (["true", "FALSE", None], [True, False, None]),
        (["1", "nan", "3"], [1, None, 3]),
        (["007", "12"], ["007", "12"]),
        (["+", "1.5"], ["+", "1.5"]),
        (["e5", "-.5e3"], ["e5", "-.5e3"]),
        (["$1,299.00", "5"], ["$1,299.00", "5"]),
        (["1", "2", "many"], ["1", "2", "many"]),
        (["99999999999999999999"], ["99999999999999999999"]),
        ([None, None], [None, None]),
    ],
)
def test_whole_columns_of_numbers_are_numbers(cells: list[str | None], values: list[object]) -> None:
    assert infer_column_type(pl.Series("price", cells, pl.String)).to_list() == values
