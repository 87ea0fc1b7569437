"""The words of items that were written since: in memory at first, on the disk by and by, for all who have them open."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from retrieval.fakes import FakeModel, catalog_of

from likewise.retrieval import words
from likewise.retrieval.index import Index
from likewise.stores.versions import current_version


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.build(FakeModel(), catalog_of(*(f"thing number{row}" for row in range(50))), tmp_path)


def words_folder(run: Path) -> Path:
    (folder,) = (run / "words").iterdir()
    return folder


def write(index: Index, first: int, last: int) -> None:
    for number in range(first, last):
        index.upsert([{"id": f"n{number}", "title": f"hat xj-{number + 100}"}])


def found(index: Index, text: str) -> list[str]:
    return [hit.id for hit in index.search(text, hybrid=True, k=1)]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _word(number: int) -> str:
    """Letters only: a digit would be found by itself, too."""
    return "word" + "".join(chr(ord("a") + int(digit)) for digit in str(number + 100))


def test_a_write_leaves_the_words_on_the_disk_alone(index: Index, tmp_path: Path) -> None:
    before = current_version(words_folder(tmp_path))
    write(index, 0, 20)
    index.delete(["n0", "0"])
    assert found(index, "xj105") == ["n5"]
    assert current_version(words_folder(tmp_path)) == before
    index.close()
    assert current_version(words_folder(tmp_path)) == before, "so few are read from the store by the next"
    assert found(Index.open(tmp_path, FakeModel()), "xj105") == ["n5"]


def test_many_writes_come_to_the_disk_and_leave_the_memory(index: Index, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(words, "_MANY_RECENT", 10)
    follower = Index.open(tmp_path, FakeModel())
    assert found(follower, "number7") == found(index, "number7") == ["7"]
    base = index._words._base
    write(index, 0, 15)
    wait_for(lambda: index._words._base is not base)
    assert len(index._words._recent) < 10
    index.delete(["n3"])
    write(index, 15, 18)
    time.sleep(0.3)
    for opened in (index, follower, Index.open(tmp_path, FakeModel())):
        for number in (0, 9, 14, 17):
            assert found(opened, f"xj{number + 100}") == [f"n{number}"]
        assert found(opened, "number7") == ["7"]
        assert found(opened, "xj103") != ["n3"]
        assert len(opened._words._recent) < 18, "what the disk has is not kept in memory"


def test_an_item_that_is_written_again_is_found_by_its_new_words_only(index: Index, monkeypatch) -> None:
    monkeypatch.setattr(words, "_MANY_RECENT", 7)
    for turn in range(30):
        word, before = _word(turn), _word(turn - 1)
        index.upsert([{"id": "again", "title": f"hat {word}"}, {"id": "7", "title": f"thing the{word}"}])
        assert found(index, word) == ["again"]
        assert found(index, f"the{word}") == ["7"]
        known = index._words.current(index._handle._current.store, index._bookkeeping, index.metadata.build)
        assert known.count == len(index) == 51
        assert known.match([(f"{before} the{before}", 1.0)]).count == 0


def test_closing_writes_what_is_worth_it(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_WORTH_WRITING", 5)
    before = current_version(words_folder(tmp_path))
    write(index, 0, 6)
    index.delete(["n2", "3"])
    index.close()
    assert current_version(words_folder(tmp_path)) != before
    opened = Index.open(tmp_path, FakeModel())
    assert found(opened, "xj105") == ["n5"]
    assert opened._words._base.count == len(opened) == 54
    assert len(opened._words._recent) == 0


def test_words_that_were_lost_are_read_again(index: Index, tmp_path: Path) -> None:
    write(index, 0, 3)
    shutil.rmtree(words_folder(tmp_path))
    opened = Index.open(tmp_path, FakeModel())
    assert found(opened, "xj102") == ["n2"]
    assert found(opened, "number7") == ["7"]
    assert found(index, "xj101") == ["n1"], "and who has them open keeps them"


def test_very_many_writes_go_to_the_disk_at_once(index: Index, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(words, "_TOO_MANY", 20)
    assert found(index, "number7") == ["7"]
    index.upsert([{"id": f"n{number}", "title": f"hat xj-{number + 100}"} for number in range(40)])
    assert found(index, "xj139") == ["n39"]
    assert index._words._base.count == 90
    assert len(index._words._recent) == 0


def test_items_that_a_store_lacks_words_of_are_noticed(index: Index, tmp_path: Path) -> None:
    """As where a clock of another machine was behind: an item that is older than what is known."""
    assert found(index, "number7") == ["7"]
    with index._handle.use() as store:
        bookkeeping = index._bookkeeping
        (record,) = store.fetch(["7"], vectors=True)
    table = catalog_of("hat xj-777").table
    table = bookkeeping.add(table.with_columns(id=table["id"] + "-late"), [None], ["x"], ["y"], 17)
    with index._handle.use() as store:
        fields = store.schema.field_vectors
        store.upsert(table, record.vector[None], np.full((1, len(fields), 64), np.nan))
    time.sleep(0.3)
    assert found(index, "xj777") == ["0-late"]
