"""What the cells of an image column name."""

import polars as pl
import pytest

from likewise.catalog.image_cells import image_sources, split_sources
from likewise.catalog.report import Report


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
    sources = image_sources(cells, pl.Series(range(1, 7)), report)
    assert sources.to_list() == [["a.jpg"], [], [], ["[x"], [], ["b.jpg"]]
    assert report.problems["broken-image-list"].examples == [5]
