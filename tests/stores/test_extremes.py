"""What engines find hard: long and strange ids and texts, long filters, numbers at the edge, many queries at once."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from stores.engines import ENGINES

from likewise.catalog.filters import Compare, OneOf, Or, parse_filter
from likewise.catalog.filters_polars import match_rows
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema
from likewise.testing.stores import Engine

pytestmark = pytest.mark.parametrize("engine", ENGINES, ids=[engine.name for engine in ENGINES])

DIM = 8
STRANGE = [
    "\x00",
    "a\x00b",
    "a\x01b",
    " ",
    "\n\r\t",
    "'",
    '"',
    "\\",
    "%_*?",
    "$1",
    "{}",
    "null",
    "0",
    "👩‍👩‍👧",
    "e\u0301",
    "\u00e9",
    "A" * 300,
    "ü" * 3_000,
    "../../x",
    "ID",
    "id",
]


def vectors_of(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_strange_texts_are_ids_and_cells_like_any_other(engine: Engine, tmp_path: Path) -> None:
    place = engine.new_place(tmp_path)
    items = pl.DataFrame({"id": STRANGE, "text": STRANGE[::-1], "number": list(range(len(STRANGE)))})
    vectors = vectors_of(len(items))
    with replace_store(place, Schema.of(items, DIM)) as store:
        store.upsert(items, vectors)
    store = open_store(place)
    store.upsert(items, vectors)
    assert store.count() == len(STRANGE)
    assert [found.ids for found in store.search(vectors, 1)] == [[id] for id in STRANGE]
    assert [record.fields for record in store.fetch(STRANGE)] == items.rows(named=True)
    for id, text in zip(STRANGE, STRANGE[::-1], strict=True):
        (found,) = store.search(vectors[:1], 5, Compare("text", "==", text))
        assert found.ids == [id]
        assert store.count(Compare("id", "==", id)) == 1
    for text in STRANGE:
        expected = match_rows(items, Compare("text", "<=", text)).sum()
        assert store.count(Compare("text", "<=", text)) == expected, f"code points decide the order, near {text!r:.20}"
    assert store.count(OneOf("text", tuple(STRANGE))) == len(STRANGE)
    assert store.delete(STRANGE[::2]) == len(STRANGE[::2])
    assert sorted(id for batch in store.iterate() for id in batch.ids) == sorted(STRANGE[1::2])
    store.close()


def test_a_description_of_many_pages_is_kept_whole(engine: Engine, tmp_path: Path) -> None:
    place = engine.new_place(tmp_path)
    pages = "Ein schöner, langer Text über Schuhe. " * 8_000
    items = pl.DataFrame({"id": ["long", "longer", "short"], "text": [pages, pages + "Ende", "Schuhe"]})
    with replace_store(place, Schema.of(items, DIM)) as store:
        store.upsert(items, vectors_of(3))
    store = open_store(place)
    assert [record.fields["text"] for record in store.fetch(items["id"].to_list())] == items["text"].to_list()
    assert store.count(Compare("text", "==", pages)) == 1
    assert store.count(Compare("text", "<", "Schuhe")) == 2
    store.close()


def test_filters_as_long_as_they_may_be(engine: Engine, tmp_path: Path) -> None:
    place = engine.new_place(tmp_path)
    items = pl.DataFrame({"id": [str(row) for row in range(600)], "number": list(range(600))})
    with replace_store(place, Schema.of(items, DIM)) as store:
        store.upsert(items, vectors_of(600))
    store = open_store(place)
    anyone = " or ".join(f"number == {row}" for row in range(0, 600, 2))
    nested = "not (" * 24 + "number < 100" + ")" * 24
    for text in (anyone, nested, f"number in [{', '.join(map(str, range(0, 1600, 2)))}]"):
        condition = parse_filter(text)
        expected = items.filter(match_rows(items, condition))["id"].to_list()
        assert sorted(store.search(vectors_of(1), 600, condition)[0].ids) == sorted(expected)
        assert store.count(condition) == len(expected)
    assert isinstance(parse_filter(anyone), Or)
    store.close()


def test_numbers_at_the_edge_compare_exactly(engine: Engine, tmp_path: Path) -> None:
    place = engine.new_place(tmp_path)
    integers = [2**53, 2**53 + 1, -(2**62), 2**63 - 1, -(2**63), 0, None]
    numbers = [0.1 + 0.2, 0.3, 1e-300, -1.7e308, 5e-324, -0.0, None]
    items = pl.DataFrame({"id": list("abcdefg"), "integer": integers, "number": numbers})
    with replace_store(place, Schema.of(items, DIM)) as store:
        store.upsert(items, vectors_of(7))
    store = open_store(place)
    for column, values in (("integer", integers[:4]), ("number", numbers[:-1])):
        for value in values:
            for operator in ("==", "<=", ">"):
                condition = Compare(column, operator, value)
                expected = items.filter(match_rows(items, condition))["id"].to_list()
                assert sorted(store.search(vectors_of(1), 9, condition)[0].ids) == expected, str(condition)
    assert [record.fields["integer"] for record in store.fetch(list("abcdefg"))] == integers
    store.close()


def test_many_queries_at_once_and_ids_by_the_thousand(engine: Engine, tmp_path: Path) -> None:
    place = engine.new_place(tmp_path)
    count = 2_500
    items = pl.DataFrame({"id": [f"item {row}" for row in range(count)]})
    vectors = vectors_of(count)
    with replace_store(place, Schema.of(items, DIM)) as store:
        store.upsert(items, vectors)
    store = open_store(place)
    assert [found.ids[0] for found in store.search(vectors[:300], 2)] == items["id"][:300].to_list()
    ids = items["id"].to_list()[::-1]
    assert [record.id for record in store.fetch(ids)] == ids
    assert store.delete(ids[:2_000]) == 2_000
    assert store.count() == 500
    store.close()


def test_items_without_a_direction_are_like_nothing(engine: Engine, tmp_path: Path) -> None:
    place = engine.new_place(tmp_path)
    items = pl.DataFrame({"id": ["nothing", "along", "against"]})
    vectors = np.zeros((3, DIM), np.float32)
    vectors[1, 0], vectors[2, 0] = 1, -1
    with replace_store(place, Schema.of(items, DIM)) as store:
        store.upsert(items, vectors)
    store = open_store(place)
    (found,) = store.search(vectors[1:2], 3)
    assert found.ids == ["along", "nothing", "against"]
    np.testing.assert_allclose(found.scores, [1, 0, -1], atol=1e-6)
    assert (store.fetch(["nothing"], vectors=True)[0].vector == 0).all()
    store.close()
