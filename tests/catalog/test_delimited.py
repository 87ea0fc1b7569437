"""CSV files as people and programs write them."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from likewise.catalog.delimited import RawTable, read_delimited
from likewise.catalog.report import Report
from likewise.errors import UserError


def read(text: str, separator: str = ",") -> tuple[RawTable, Report]:
    report = Report()
    table = read_delimited(
        text.encode(), encoding="utf-8", name="items.csv", default_separator=separator, report=report
    )
    return table, report


def rows(text: str) -> list[tuple[str | None, ...]]:
    return read(text)[0].cells.rows()


def test_quoted_newlines_separators_and_quotes() -> None:
    table, report = read('title,description\n"a, b","first line\nsecond ""line"""\nc,d\n')
    assert table.cells.rows() == [("a, b", 'first line\nsecond "line"'), ("c", "d")]
    assert report.rows == 2
    assert not report.problems


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    assert rows(end.join(["title,price", "a,1", "b,2"])) == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_found_and_noted(separator: str) -> None:
    table, report = read(f'title{separator}text\n"a, b{separator} c"{separator}d, e, f\n')
    assert table.cells.rows() == [(f"a, b{separator} c", "d, e, f")]
    assert "separated by" in report.notes[0]


def test_a_single_column_may_hold_commas_in_quotes() -> None:
    assert rows('title\n"red, white"\nblue; green\n') == [("red, white",), ("blue; green",)]


def test_excel_names_its_separator() -> None:
    assert rows("sep=;\ntitle;price\na;1,5\n") == [("a", "1,5")]


def test_a_cell_of_a_million_characters() -> None:
    assert rows(f"title,description\na,{'x' * 1_000_000}\n") == [("a", "x" * 1_000_000)]


def test_ragged_rows_are_counted_by_row_number() -> None:
    table, report = read("title,a,b\none,1\ntwo,1,2\nthree,1,2,3\nfour,1,2,,\n\nsix,1,2\n")
    assert table.cells.rows() == [
        ("one", "1", None), ("two", "1", "2"), ("four", "1", "2"), (None, None, None), ("six", "1", "2")
    ]  # fmt: skip
    assert table.row_numbers.to_list() == [1, 2, 4, 5, 6]
    assert report.rows == 6
    assert {cause: problem.examples for cause, problem in report.problems.items()} == {
        "short-row": [1],
        "long-row": [3],
    }


def test_an_unclosed_quote_costs_its_own_row_at_most() -> None:
    lines = [f"title {number},{number}" for number in range(1000)]
    lines[500] = '"never closed,500'
    table, report = read("\n".join(["title,number", *lines]))
    assert table.cells["number"].to_list() == [str(number) for number in range(1000)]
    assert table.cells["title"][500] == "never closed"
    assert report.problems["repaired-quotes"].examples == [501]


def test_a_quote_within_a_quoted_cell_is_repaired() -> None:
    table, report = read('title,text\n"He said "hi", twice, aloud",x\n"5" nails",y\n"a, "b" c",z\n')
    assert table.cells.rows() == [('5" nails', "y"), ('a, b" c"', "z")]
    assert report.problems["malformed-row"].examples == [1]
    assert report.problems["repaired-quotes"].examples == [2, 3]


def test_repeated_and_missing_column_names() -> None:
    table, report = read("title,,title\na,b,c\n")
    assert table.cells.columns == ["title", "column 2", "title (2)"]
    assert any('"title (2)"' in note for note in report.notes)


@pytest.mark.parametrize(("text", "words"), [("title,price\n", "header but no rows"), ("\n\n  \n", "is empty")])
def test_nothing_to_read_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(text)


CELLS = st.text(alphabet='ab ,;|"\n\r\t|\\é日', max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=12))
@example([("", "\r", ";;;\\")])
def test_what_a_csv_writer_wrote_is_read_back(written: list[tuple[str, str, str]]) -> None:
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerows([("title", "description", "price"), *written])
    table, report = read(file.getvalue())
    assert table.cells.rows() == written
    assert not report.problems


@given(st.lists(st.text(alphabet='ab,"', max_size=10), max_size=30))
def test_every_line_of_a_broken_file_is_used_or_counted(lines: list[str]) -> None:
    try:
        table, report = read("\n".join(["title,text", *lines, "end,end"]))
    except UserError:  # a quote that spans all lines leaves no rows
        return
    lost = sum(report.problems[cause].count for cause in ("malformed-row", "long-row") if cause in report.problems)
    assert table.cells.height + lost == report.rows
    assert table.cells.width == 2
