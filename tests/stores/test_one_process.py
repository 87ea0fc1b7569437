"""Stores in a folder that one process may open at a time: Milvus Lite."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from likewise.errors import UserError
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema

DIM = 8
ITEMS = pl.DataFrame({"id": ["a", "b", "c"], "tag": ["x", "y", None]})
VECTORS = np.eye(3, DIM, dtype=np.float32)

_PREPARED = """
import sys, time, os, signal
import numpy as np, polars as pl
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema
place = sys.argv[1]
def say(word): print(word, flush=True)
"""


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"milvus://{tmp_path}/store.db"


def fill(place: str, count: int = 3) -> None:
    with replace_store(place, Schema.of(ITEMS, DIM)) as store:
        store.upsert(ITEMS[:count], VECTORS[:count])


class Other:
    """Another process."""

    def __init__(self, place: str, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PREPARED + code, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def words(self) -> Iterator[str]:
        return (line.rstrip("\n") for line in self.process.stdout)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> tuple[str, str]:
        return self.process.communicate(input="\n", timeout=60)


def test_a_store_that_another_process_has_open_is_one_sentence_until_it_is_closed(place: str) -> None:
    fill(place)
    other = Other(place, "store = open_store(place); say('open'); sys.stdin.readline(); store.close(); say('closed')")
    assert next(other.words()) == "open"
    with pytest.raises(UserError, match=r"open in another process.* run a Milvus server"):
        open_store(place)
    with (
        pytest.raises(UserError, match="open in another process"),
        replace_store(place, Schema.of(ITEMS, DIM)),
    ):
        pass
    assert other.end() == ("closed\n", ""), "nothing but what it was asked to say"
    store = open_store(place)
    assert store.count() == 3
    store.close()


def test_closing_all_handles_lets_another_process_in(place: str) -> None:
    fill(place)
    stores = [open_store(place), open_store(place)]
    stores[0].close()
    assert stores[1].count() == 3, "closing one handle does not close the others"
    stores[1].close()
    assert Other(place, "say(open_store(place).count())").end() == ("3\n", "")


def test_what_was_acknowledged_survives_the_end_of_its_process(place: str) -> None:
    fill(place)
    writing = """
store = open_store(place)
for turn in range(1000):
    store.upsert(pl.DataFrame({"id": [f"new {turn}", "last"], "tag": ["z", str(turn)]}), np.eye(2, 8))
    if turn == 2: store.delete(["b"])
    say(turn)
"""
    other = Other(place, writing)
    for word in other.words():
        if word == "8":
            break
    other.kill()
    store = open_store(place)
    ids = [f"new {turn}" for turn in range(9)]
    assert [record and record.id for record in store.fetch([*ids, "a", "b"])] == [*ids, "a", None]
    assert int(store.fetch(["last"])[0].fields["tag"]) >= 8
    store.close()


def test_a_killed_build_leaves_the_old_store_and_the_next_one_clears_up(place: str, tmp_path: Path) -> None:
    fill(place)
    building = """
with replace_store(place, Schema(8)) as store:
    store.upsert(pl.DataFrame({"id": [str(row) for row in range(50)]}), np.ones((50, 8)))
    say("half way")
    sys.stdin.readline()
"""
    other = Other(place, building)
    assert next(other.words()) == "half way"
    other.kill()
    store = open_store(place)
    assert store.count() == 3
    store.close()
    assert len(_contents(tmp_path)) == 2
    fill(place, count=2)
    store = open_store(place)
    assert store.count() == 2
    store.close()
    assert len(_contents(tmp_path)) == 1, "neither what was replaced nor what was left half-way stays"


def _contents(folder: Path) -> list[Path]:
    return [*folder.glob("store.db/collection*/likewise_*")]


def test_two_builds_at_once_do_not_touch_each_other(place: str) -> None:
    with replace_store(place, Schema.of(ITEMS, DIM)) as first:
        first.upsert(ITEMS[:1], VECTORS[:1])
        with replace_store(place, Schema.of(ITEMS, DIM)) as second:
            second.upsert(ITEMS[:2], VECTORS[:2])
        store = open_store(place)
        assert store.count() == 2
        assert first.count() == 1
    assert store.count() == 1, "the one that ends last stays"
    store.close()


def test_stores_of_several_names_share_a_folder(place: str) -> None:
    fill(place)
    fill(f"{place}?collection=other", count=1)
    fill(f"{place}?collection=other", count=2)
    assert open_store(place).count() == 3
    assert open_store(f"{place}?collection=other").count() == 2
    with pytest.raises(UserError, match=r"no store at .*collection=third.*likewise index"):
        open_store(f"{place}?collection=third")


def test_a_walk_goes_on_beside_other_handles_and_ends_with_a_sentence_when_its_store_is_replaced(place: str) -> None:
    fill(place)
    store = open_store(place)
    walk = store.iterate(batch=1)
    assert len(next(walk).ids) == 1
    assert store.count() == 3
    fill(place, count=1)
    with pytest.raises(UserError, match="cannot be read"):
        list(walk)
    assert [batch.ids for batch in store.iterate()] == [["a"]]
    store.close()


def test_what_is_no_such_store_is_one_sentence_and_is_left_alone(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "store.db"
    with pytest.raises(UserError, match="no store at"):
        open_store(place)
    assert not folder.exists(), "opening makes nothing"
    folder.write_text("a file")
    for use in (open_store, lambda place: fill(place)):
        with pytest.raises(UserError, match=r"is a file, but .* folder"):
            use(place)
    folder.unlink()
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="folder with other things"):
        fill(place)
    with pytest.raises(UserError, match="no store at"):
        open_store(place)
    assert [file.name for file in folder.iterdir()] == ["letter.txt"]
    with pytest.raises(UserError, match="40 ASCII letters"):
        open_store(f"{place}?collection=a/b")


def test_a_missing_library_is_named_with_its_extra(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(UserError, match=r"pip install 'likewise\[milvus\]'"):
        open_store(place)
