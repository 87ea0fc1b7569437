"""What is LanceDB's own: its index, and what its folder can hold instead of a store."""

from pathlib import Path

import numpy as np
import pytest
from stores.clustered import COUNT, DIM, check_later_writes, check_neighbours, check_rare_matches, fill_clustered

from likewise.errors import UserError
from likewise.stores.lancedb import collection as lancedb
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, np.ndarray]:
    monkeypatch.setattr(lancedb, "INDEX_FROM", 1_000)
    place = f"lancedb://{tmp_path}/store"
    return place, fill_clustered(place)


def test_the_index_finds_the_neighbours_with_their_exact_scores(indexed: tuple[str, np.ndarray]) -> None:
    place, vectors = indexed
    store = open_store(place)
    check_neighbours(store, vectors)


def test_with_the_index_a_rare_match_is_found_from_anywhere(indexed: tuple[str, np.ndarray]) -> None:
    place, vectors = indexed
    store = open_store(place)
    check_rare_matches(store, vectors[:100])
    (everything,) = store.search(vectors[:1], COUNT)
    assert len(everything.ids) == COUNT


def test_items_written_after_the_index_are_found_and_deleted_ones_are_not(indexed: tuple[str, np.ndarray]) -> None:
    place, vectors = indexed
    store = open_store(place)
    check_later_writes(store, vectors)


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
