"""What the cells of an image column name."""

import time
import tracemalloc
from pathlib import Path

import polars as pl
import pytest

from likewise.catalog.catalog import Catalog
from likewise.catalog.doctor import check_catalog
from likewise.catalog.image_cells import parse_image_cells, split_sources
from likewise.catalog.report import Report
from likewise.config import ImageSettings


@pytest.mark.parametrize(
    ("cell", "sources"),
    [
        ("a.jpg", ["a.jpg"]),
        ("my photos/a, b; c.jpg", ["my photos/a, b; c.jpg"]),
        ("C:\\pictures\\a.jpg", ["C:\\pictures\\a.jpg"]),
        ('["a.jpg", "b.jpg", "a.jpg"]', ["a.jpg", "b.jpg"]),
        ("['a.jpg', 'b.jpg']", ["a.jpg", "b.jpg"]),
        ('[{"url": "https://e.com/a"}, {"src": "b.jpg"}]', ["https://e.com/a", "b.jpg"]),
        ('{"large": ["a.jpg"], "thumb": ["t.jpg"]}', ["a.jpg"]),
        ("[]", []),
        ("[null, 3]", []),
        ("a.jpg|b.jpg", ["a.jpg", "b.jpg"]),
        ("a.jpg\nb.jpg", ["a.jpg", "b.jpg"]),
        ("https://e.com/a.jpg https://e.com/b.jpg", ["https://e.com/a.jpg", "https://e.com/b.jpg"]),
        ("https://e.com/a,b.jpg, https://e.com/c;d.jpg", ["https://e.com/a,b.jpg", "https://e.com/c;d.jpg"]),
        ("https://e.com/a|b.jpg|https://e.com/c.jpg", ["https://e.com/a|b.jpg", "https://e.com/c.jpg"]),
        ("data:image/png;base64,AAAA", ["data:image/png;base64,AAAA"]),
        ("https://e.com/a.jpg,", ["https://e.com/a.jpg,"]),
        (
            "https://e.com/a.jpg ; https://e.com/b.jpg |\n https://e.com/c.jpg",
            [f"https://e.com/{name}.jpg" for name in "abc"],
        ),
        ('"a.jpg"', ["a.jpg"]),
        ("[1] front.jpg", ["[1] front.jpg"]),
    ],
)
def test_sources_of_a_cell(cell: str, sources: list[str]) -> None:
    assert split_sources(cell) == sources


@pytest.mark.parametrize("cell", ["[broken, list]", "[" * 5000 + "]" * 5000, "{'a': }"])
def test_a_broken_list_is_told_apart(cell: str) -> None:
    assert split_sources(cell) is None


def test_a_column_of_cells() -> None:
    cells = pl.Series(["a.jpg", None, "N/A", "[x", "[x]", '["b.jpg"]'], dtype=pl.String)
    report = Report()
    sources = parse_image_cells(cells, pl.Series(range(1, 7)), report)
    assert sources.to_list() == [["a.jpg"], [], [], ["[x"], [], ["b.jpg"]]
    assert report.problems["broken-image-list"].examples == [5]


@pytest.mark.parametrize(
    "cell",
    [
        "data:," + " " * 20_000 + "x",
        "data:" + " ;" * 30_000,
        "|".join(f"{n}.jpg" for n in range(100_000)),
        "[" + "[]," * 500_000 + "[]]",
    ],
    ids=["blanks", "separators", "paths", "lists"],
)
def test_a_hostile_cell_is_read_at_once(cell: str) -> None:
    started = time.perf_counter()
    tracemalloc.start()
    try:
        assert len(split_sources(cell) or []) <= 1000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < 5


def test_a_cell_too_long_for_any_picture_is_counted_and_never_read(tmp_path: Path) -> None:
    cells = ["data:image/png;base64," + "A" * 40_000, '["a.jpg", "' + "b" * 40_000 + '"]', "a.jpg"]
    table = pl.DataFrame({"title": ["one", "two", "three"], "image_url": cells})
    table.write_parquet(tmp_path / "shop.parquet")
    table.write_ndjson(tmp_path / "shop.jsonl")
    for file in ("shop.parquet", "shop.jsonl"):
        images = ImageSettings(max_bytes=10_000)
        for report, kept in (
            ((catalog := Catalog.read(tmp_path / file, images=images)).report, catalog.table),
            (check_catalog(tmp_path / file, images=images, cache=tmp_path / "cache"), None),
        ):
            assert report.problems["too-large"].count == 2
            assert report.problems["too-large"].examples == [1, 2]
            if kept is not None:
                assert kept["image"].to_list() == [[], [], ["a.jpg"]]
                assert kept["image_url"].to_list() == [None, None, "a.jpg"]
