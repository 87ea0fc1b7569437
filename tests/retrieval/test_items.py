"""Items come back as they went in, few of them quickly out of many."""

import datetime
import time
from pathlib import Path
from statistics import median

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.catalog.pictures import Picture
from likewise.errors import UserError
from likewise.retrieval.items import ItemTable

_VALUES = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_VALUES, _VALUES, st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))), max_size=12))
def test_any_text_and_number_comes_back(rows: list[tuple]) -> None:
    frame = pl.DataFrame(
        [(f"id{number}", *row) for number, row in enumerate(rows)],
        schema={"id": pl.String, "title": pl.String, "na'me\"; --": pl.String, "stock": pl.Int64},
        orient="row",
    )
    table = ItemTable.create(None, frame, [None] * len(frame))
    assert len(table) == len(rows)
    order = list(reversed(range(len(rows))))
    assert [item.fields for item in table.fetch(order)] == [frame.row(row, named=True) for row in order]
    assert all(table.row_of(f"id{row}") == row for row in order)
    assert table.row_of("absent") is None


def test_columns_of_other_kinds_become_what_json_can_hold(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "id": ["a"],
            "image": [["x.jpg", "y.jpg"]],
            "price": [float("nan")],
            "since": [datetime.date(2024, 5, 1)],
            "sold": [True],
        }
    )
    picture = Picture(key="f" * 64, path=tmp_path / "ü x.jpg")
    ItemTable.create(tmp_path / "items.sqlite", frame, [picture]).close()
    item = ItemTable.open(tmp_path / "items.sqlite").fetch([0])[0]
    assert item.fields == {
        "id": "a",
        "image": ["x.jpg", "y.jpg"],
        "price": None,
        "since": "2024-05-01",
        "sold": True,
    }
    assert item.picture == picture


@pytest.mark.parametrize("content", [None, b"", b"SQLite format 3\0 and then rubbish" * 50])
def test_a_missing_or_damaged_table_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "items.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="missing or damaged"):
        ItemTable.open(path)


def test_example_titles_are_short_different_and_from_everywhere() -> None:
    titles = [f"title {row // 10}" if row % 3 else "x" * 300 if row % 2 else None for row in range(1000)]
    table = ItemTable.create(
        None, pl.DataFrame({"id": [str(row) for row in range(1000)], "title": titles}), [None] * 1000
    )
    found = table.titles(6, longest=40)
    assert len(found) == len(set(found)) == 6
    assert set(found) <= set(titles)
    numbers = [int(title.split()[1]) for title in found]
    assert min(numbers) < 30
    assert max(numbers) > 60
    small = ItemTable.create(None, pl.DataFrame({"id": ["a", "b"], "title": [" Tea ", None]}), [None, None])
    assert small.titles(6, longest=40) == ["Tea"]


def test_ten_items_out_of_100_000_take_less_than_5_ms(tmp_path: Path) -> None:
    count = 100_000
    frame = pl.DataFrame({"id": [str(row) for row in range(count)], "title": ["some title " * 8] * count})
    ItemTable.create(tmp_path / "items.sqlite", frame, [None] * count).close()
    table = ItemTable.open(tmp_path / "items.sqlite")
    times = []
    for start in range(20):
        began = time.perf_counter()
        items = table.fetch([(start * 7919 + step * 9973) % count for step in range(10)])
        times.append(time.perf_counter() - began)
        assert len(items) == 10
    assert median(times) < 0.005
    began = time.perf_counter()
    assert table.row_of("99999") == 99_999
    assert time.perf_counter() - began < 0.005
