"""From a file to items: what is kept, what is left out, and that it is counted."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.catalog.report import Report
from likewise.catalog.rows import read_items, sample_rows
from likewise.errors import UserError


def read(folder: Path, text: str, columns: dict[str, str] | None = None) -> tuple[pl.DataFrame, Report]:
    path = folder / "items.csv"
    path.write_text(text, encoding="utf-8")
    report = Report()
    return read_items(path, columns, report).table, report


def test_a_messy_file(tmp_path: Path) -> None:
    table, report = read(
        tmp_path,
        "id,title,description,image_url,price\n"
        "a,Red shoes,<b>soft</b>,x.jpg,$5\n"
        "a,Blue shoes,,,6\n"  # duplicate id
        ",Green shoes,,,7\n"  # blank id
        ",,,,\n"  # empty
        "e,,,,9\n"  # nothing to encode
        "f,,,y.jpg|z.jpg,10\n"  # a picture only
        "nan,  ,words,N/A,\n",
    )
    assert table.select("id", "title", "description", "image", "price").rows() == [
        ("a", "Red shoes", "soft", ["x.jpg"], "$5"),
        ("3", "Green shoes", None, [], "7"),
        ("f", None, None, ["y.jpg", "z.jpg"], "10"),
        ("7", None, "words", [], None),
    ]
    assert {cause: problem.count for cause, problem in report.problems.items()} == {
        "html-removed": 1,
        "null-word": 1,
        "empty-row": 1,
        "no-content": 1,
        "blank-id": 2,
        "duplicate-id": 1,
        "blank-title": 2,
        "blank-description": 2,
        "blank-image": 2,
    }
    assert (report.rows, report.usable) == (7, 4)


def test_row_numbers_never_collide_with_ids(tmp_path: Path) -> None:
    table, _ = read(tmp_path, "id,title\n2,a\n,b\n,c\n")
    assert table["id"].to_list() == ["2", "row-2", "3"]


def test_ids_stay_text(tmp_path: Path) -> None:
    table, _ = read(tmp_path, "id,title\n007,a\n7,b\n")
    assert table["id"].to_list() == ["007", "7"]


def test_a_guessed_id_that_repeats_is_no_id(tmp_path: Path) -> None:
    table, report = read(tmp_path, "code,title\n" + "".join(f"{row % 3},t{row}\n" for row in range(12)))
    assert table["id"].to_list() == [str(row) for row in range(1, 13)]
    assert any("repeats its values" in note for note in report.notes)
    assert "duplicate-id" not in report.problems


def test_own_columns_keep_their_names(tmp_path: Path) -> None:
    table, report = read(
        tmp_path, "title,product_name,image,photo,price\nMr,Red shoes,yes,x.jpg,5\nMs,Blue hat,no,y.jpg,6\n",
        {"title": "product_name", "image_url": "photo"},
    )  # fmt: skip
    assert table["title"].to_list() == ["Red shoes", "Blue hat"]
    assert table["image"].to_list() == [["x.jpg"], ["y.jpg"]]
    assert table["product_name"].to_list() == ["Red shoes", "Blue hat"]
    assert table["original_title"].to_list() == ["Mr", "Ms"]
    assert table["original_image"].to_list() == ["yes", "no"]
    assert table["price"].to_list() == [5, 6]
    assert sum("original_" in note for note in report.notes) == 2


CELLS = st.text(alphabet='a1 ,"\n<>&;|[]{}é\0', max_size=6)


@settings(max_examples=50)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=10))
def test_rows_are_used_or_counted(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    folder = tmp_path_factory.mktemp("items")
    lines = "\n".join(",".join(row) for row in rows)
    table, report = read(folder, f"id,title,description,image_url\nlast,item,,\n{lines}")
    left_out = ("malformed-row", "long-row", "empty-row", "no-content", "duplicate-id")
    lost = sum(report.problems[cause].count for cause in left_out if cause in report.problems)
    assert report.usable == len(table) == report.rows - lost
    assert table["id"].n_unique() == len(table)
    assert table["id"].null_count() == 0


def test_samples_are_spread_over_titles() -> None:
    table = pl.DataFrame({"id": [str(row) for row in range(1000)], "title": ["common"] * 900 + list("abcdefghij") * 10})
    sample = sample_rows(table, 30, seed=0)
    assert sample["title"].value_counts()["count"].max() == 3
    assert sample["title"].n_unique() == 11
    assert sample["id"].cast(pl.Int64).is_sorted()
    assert sample_rows(table, 30, seed=0).equals(sample)
    assert not sample_rows(table, 30, seed=1).equals(sample)
    assert sample_rows(table, 5000, seed=0).equals(table)


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_name_is_not_the_current_folder(blank: str) -> None:
    with pytest.raises(UserError, match="the name of the catalogue is blank"):
        read_items(blank, None, Report())


@pytest.mark.parametrize("source", [Path("s3://shop/x.csv"), "s3:/shop/x.csv"])
def test_an_address_that_lost_a_slash_is_named(source: Path | str) -> None:
    with pytest.raises(UserError, match=r"an address has two slashes, s3://shop/x\.csv, of which a Path keeps one"):
        read_items(source, None, Report())
