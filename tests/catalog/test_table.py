"""Files of every kind become tables, and everything else one sentence."""

import gzip
import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from likewise.catalog.report import Report
from likewise.catalog.table import read_table
from likewise.errors import UserError


def rows_of(path: Path) -> list[dict[str, object]]:
    return read_table(path, Report()).cells.to_dicts()


def test_the_contents_decide_not_the_name(tmp_path: Path) -> None:
    table = pl.DataFrame({"title": ["a", "b"]})
    table.write_parquet(tmp_path / "really_parquet.csv")
    (tmp_path / "items.csv.gz").write_bytes(gzip.compress(b"title\na\nb\n"))
    (tmp_path / "no_suffix").write_text('{"title": "a"}\n{"title": "b"}\n')
    (tmp_path / "items.tsv").write_text("title\na\nb\n")
    for name in ("really_parquet.csv", "items.csv.gz", "no_suffix", "items.tsv"):
        assert rows_of(tmp_path / name) == [{"title": "a"}, {"title": "b"}], name


def test_json_lines_of_all_shapes(tmp_path: Path) -> None:
    lines = [
        '{"title": "a", "price": 3, "tags": ["x", "é"]}',
        "not json",
        "[1, 2]",
        "",
        '{"title": null, "new": 1.5, "flag": true, "nothing": NaN}',
        '{"title": "\\ud83d half", "price": ' + "9" * 5000 + "}",
        "[" * 100_000,
        '{"title": "half \\ud83d surrogate"}',
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(lines), encoding="utf-8")
    report = Report()
    table = read_table(tmp_path / "items.jsonl", report)
    assert table.cells["title"].to_list() == ["a", None, "half \ufffd surrogate"]
    assert table.cells["tags"][0] == '["x", "é"]'
    assert table.cells.row(1, named=True) | {"title": ""} == {
        "title": "", "price": None, "tags": None, "new": "1.5", "flag": "true", "nothing": None
    }  # fmt: skip
    assert report.rows == 7
    assert report.problems["malformed-row"].examples == [2, 3, 5, 6]
    assert table.row_numbers.to_list() == [1, 4, 7]


def test_a_list_of_objects(tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text(json.dumps([{"title": "a"}, {"title": "b"}], indent=2))
    assert rows_of(tmp_path / "items.json") == [{"title": "a"}, {"title": "b"}]


def test_parquet_types(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "title": ["a"],
            "price": [1.5],
            "stock": [3],
            "images": [["x.jpg", "y.jpg"]],
            "picture": [{"path": "x.jpg", "bytes": b"123"}],
            "day": [date(2024, 5, 1)],
            "raw": [b"bytes"],
        }
    ).write_parquet(tmp_path / "items.parquet")
    raw = read_table(tmp_path / "items.parquet", Report())
    assert raw.cells.row(0, named=True) == {
        "title": "a",
        "price": 1.5,
        "stock": 3,
        "images": '["x.jpg", "y.jpg"]',
        "picture": "x.jpg",
        "day": "2024-05-01",
        "raw": None,
    }
    assert {name: files.to_list() for name, files in raw.embedded.items()} == {"picture": [b"123"], "raw": [b"bytes"]}


HOSTILE = {
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b" \r\n\0\n", "is empty"),
    "mark.csv": (b"\xef\xbb\xbf", "is empty"),
    "header.csv": (b"title,price\n", "no rows"),
    "excel.csv": (b"PK\x03\x04" + b"\0" * 50, "Excel"),
    "page.csv": (b"\n<!DOCTYPE html><html>404</html>", "web page"),
    "picture.csv": (b"\x89PNG\r\n\x1a\n123", "a picture"),
    "random.csv": (bytes(range(256)) * 20, "is not a text file"),
    "text.parquet": (b"title\na\n", "not a Parquet file"),
    "cut.parquet": (b"PAR1" + b"\x15\x04" * 100, "damaged"),
    "cut.csv.gz": (gzip.compress(b"title\n" + b"a\n" * 5000)[:-20], "damaged"),
    "words.jsonl": (b"hello\nworld\n", "no JSON objects"),
    "list.json": (b'[{"title": "a"', "cannot be read"),
    "deep.json": (b"[" * 200_000, "nested more than 50 levels"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_table_is_one_sentence(tmp_path: Path, name: str) -> None:
    data, words = HOSTILE[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=words) as error:
        read_table(tmp_path / name, Report())
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("title\na\n")
    with pytest.raises(UserError, match=r"did you mean .*products\.csv"):
        read_table(tmp_path / "product.csv", Report())
    with pytest.raises(UserError, match="is a folder"):
        read_table(tmp_path, Report())
    with pytest.raises(UserError, match="no file"):
        read_table(tmp_path / "nowhere" / "x.csv", Report())
    with pytest.raises(UserError, match="cannot read"):
        read_table(Path("a\0b.csv"), Report())
