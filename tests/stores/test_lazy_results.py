"""Results whose ids are read once somebody looks at them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from likewise import checksums
from likewise.errors import UserError
from likewise.stores.faiss import segment
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema

VECTORS = np.eye(8, dtype=np.float32)
ITEMS = pl.DataFrame({"id": [f"größe {row}" for row in range(8)]})


@pytest.fixture
def store(tmp_path: Path):
    uri = f"faiss://{tmp_path}/store"
    with replace_store(uri, Schema.of(ITEMS, 8)) as loader:
        loader.upsert(ITEMS, VECTORS)
    return open_store(uri)


@pytest.mark.parametrize("written", [False, True])
def test_results_are_a_sequence(store, written):
    if written:
        store.upsert(pl.DataFrame({"id": ["new"]}), VECTORS[:1] + 0.1)
    hits = store.search(VECTORS[:5], 2)
    assert len(hits) == 5
    every = [found.ids for found in hits]
    assert [found.ids for found in hits] == every, "they can be looked at twice"
    assert [hits[number].ids for number in range(5)] == every
    assert hits[-1].ids == every[-1]
    assert [found.ids for found in hits[1:3]] == every[1:3]
    assert every[3][0] == "größe 3"
    assert hits[3].scores.shape == (2,)
    with pytest.raises(IndexError):
        hits[5]


def test_they_show_the_store_as_it_was(store):
    hits = store.search(VECTORS, 1)
    store.delete(ITEMS["id"].to_list())
    store.upsert(pl.DataFrame({"id": ["other"]}), VECTORS[:1])
    store.optimise()
    assert [found.ids for found in hits] == [[id] for id in ITEMS["id"]]
    assert [found.ids for found in store.search(VECTORS[:1], 1)] == [["other"]]


def test_what_was_found_is_what_is_read_even_after_writes(store):
    found = [one.ids[0] for one in store.search(VECTORS, 1)]
    store.delete(found[:1])
    store.upsert(pl.DataFrame({"id": [found[1]]}), -VECTORS[1:2])
    read = store.fetch([*found, "none"], vectors=True)
    assert [None if record is None else record.id for record in read] == [None, *found[1:], None]
    assert read[1].vector.tolist() == (-VECTORS[1]).tolist()
    assert read[2].vector.tolist() == VECTORS[2].tolist()


def test_ids_with_the_same_hash_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(segment, "hash_ids", lambda ids: np.array([len(id) % 2 for id in ids], np.uint64))
    items = pl.DataFrame({"id": ["1", "22", "333", "4444", "55555"]})
    with replace_store(f"faiss://{tmp_path}/store", Schema.of(items, 8)) as loader:
        loader.upsert(items, VECTORS[:5])
    asked = ["4444", "55555", "1", "666666", "22", "7"]
    read = open_store(f"faiss://{tmp_path}/store").fetch(asked)
    assert [None if record is None else record.id for record in read] == ["4444", "55555", "1", None, "22", None]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38])
def test_vectors_without_a_length_are_one_sentence_and_no_warning(store, number):
    with pytest.raises(UserError, match="NaN, infinity or numbers too large"):
        store.search(np.full((1, 8), number), 1)


def test_damaged_ids_are_one_sentence(store, tmp_path):
    (file,) = (tmp_path / "store").glob("*/ids.text")
    file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(UserError, match=r"store is missing or damaged: build it again \(.*ids.text is damaged\)"):
        open_store(f"faiss://{tmp_path}/store")


def test_damaged_ids_of_a_large_store_are_one_sentence_once_they_are_read(store, tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "AT_OPENING", 0)
    (file,) = (tmp_path / "store").glob("*/ids.text")
    file.write_bytes(b"\xff" * file.stat().st_size)
    hits = open_store(f"faiss://{tmp_path}/store").search(VECTORS, 1)
    with pytest.raises(UserError, match="store is missing or damaged: build it again"):
        list(hits)
    with pytest.raises(UserError, match="store is missing or damaged: build it again"):
        hits[0]
