"""What is LanceDB's own: its index, and what its folder can hold instead of a store."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from likewise.catalog.filters import Compare
from likewise.errors import UserError
from likewise.stores.lancedb import collection as lancedb
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema

DIM, COUNT = 32, 3_000


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, np.ndarray]:
    monkeypatch.setattr(lancedb, "INDEX_FROM", 1_000)
    random = np.random.default_rng(0)
    centres = random.standard_normal((60, DIM))
    vectors = centres[random.integers(0, 60, COUNT)] + 0.5 * random.standard_normal((COUNT, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    items = pl.DataFrame({"id": [str(row) for row in range(COUNT)], "group": [row % 200 for row in range(COUNT)]})
    place = f"lancedb://{tmp_path}/store"
    with replace_store(place, Schema.of(items, DIM)) as store:
        store.upsert(items, vectors)
    return place, vectors


def test_the_index_finds_the_neighbours_with_their_exact_scores(indexed: tuple[str, np.ndarray]) -> None:
    place, vectors = indexed
    store = open_store(place)
    queries = vectors[::60] + 0.05
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    right = 0
    for query, found in zip(queries, store.search(queries, 10), strict=True):
        rows = np.array(found.ids, dtype=int)
        np.testing.assert_allclose(found.scores, vectors[rows] @ query, atol=1e-5)
        right += len(set(rows.tolist()) & set(np.argsort(-(vectors @ query))[:10].tolist()))
    assert right >= 0.95 * 10 * len(queries)


def test_with_the_index_a_rare_match_is_found_from_anywhere(indexed: tuple[str, np.ndarray]) -> None:
    place, vectors = indexed
    store = open_store(place)
    for found in store.search(vectors[:100], 15, Compare("group", "==", 42)):
        assert sorted(found.ids, key=int) == [str(row) for row in range(42, COUNT, 200)]
    (everything,) = store.search(vectors[:1], COUNT)
    assert len(everything.ids) == COUNT


def test_items_written_after_the_index_are_found_and_deleted_ones_are_not(indexed: tuple[str, np.ndarray]) -> None:
    place, vectors = indexed
    store = open_store(place)
    store.upsert(pl.DataFrame({"id": ["new", "7"]}), -vectors[:2])
    store.delete(["8"])
    for _ in range(2):
        assert [found.ids for found in store.search(-vectors[:2], 1)] == [["new"], ["7"]]
        assert "8" not in store.search(vectors[8:9], COUNT)[0].ids
        store.optimise()


def test_a_damaged_store_says_so(tmp_path: Path) -> None:
    place = f"lancedb://{tmp_path}/store"
    with replace_store(place, Schema(DIM)):
        pass
    for manifest in tmp_path.glob("store/*/items.lance/_versions/*"):
        manifest.unlink()
    with pytest.raises(UserError, match="damaged: build it again"):
        open_store(place)


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    with (
        pytest.raises(UserError, match=r"cannot write an index into .*store"),
        replace_store(f"lancedb://{tmp_path}/store", Schema(DIM)),
    ):
        pass
    with pytest.raises(UserError, match="no store"):
        open_store(f"lancedb://{tmp_path}/store")
