"""A lexical index on disk: whole versions, followed by whoever has them open, sharing what has not changed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import Timeout
from retrieval.lexical.test_bm25 import write

from likewise.errors import UserError
from likewise.retrieval.lexical import writer
from likewise.retrieval.lexical.writer import LexicalIndex
from likewise.stores.versions import current_version


def found(index: LexicalIndex, text: str) -> list[str]:
    return sorted(index.current(asking=True).match([(text, 1.0)]).best(50)[0])


def test_others_follow_a_change(tmp_path: Path) -> None:
    reader = LexicalIndex(tmp_path)
    assert found(reader, "red") == []
    write(LexicalIndex(tmp_path), {"a": "red", "b": "blue"})
    assert found(reader, "red") == ["a"]
    write(LexicalIndex(tmp_path), {"b": "red"}, removed=("a",))
    assert found(reader, "red") == ["b"]


def test_readers_in_several_threads_never_parse_at_the_same_time(tmp_path: Path, monkeypatch) -> None:
    write(LexicalIndex(tmp_path), {"a": "red", "b": "blue"})
    load, parsing, most = np.load, [], []

    def watched(*arguments, **options):
        parsing.append(True)
        most.append(len(parsing))
        time.sleep(0.001)
        parsing.pop()
        return load(*arguments, **options)

    monkeypatch.setattr(np, "load", watched)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: found(LexicalIndex(tmp_path), "red"), range(16))) == [["a"]] * 16
    assert max(most) == 1, "CPython's parser is not safe there"


def test_a_small_change_shares_the_files_of_the_rest(tmp_path: Path) -> None:
    index = LexicalIndex(tmp_path)
    write(index, {str(row): f"word{row}" for row in range(100)})
    before = {file.stat().st_ino for file in current_version(tmp_path).glob("*.npy") if "dead" not in file.name}
    write(index, {"new": "word"})
    after = {file.stat().st_ino for file in current_version(tmp_path).glob("*.npy")}
    assert before < after


def test_many_changes_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_MAX_SEGMENTS", 3)
    index = LexicalIndex(tmp_path)
    for turn in range(10):
        write(index, {f"{turn}": "red", f"{turn}-b": f"number {turn}"})
    assert len(index.current().parts) <= 3
    assert found(index, "red") == sorted(str(turn) for turn in range(10))
    write(index, {}, removed=tuple(str(turn) for turn in range(10)))
    assert [part.whole for part in index.current().parts] == [True], "what is mostly dead is written anew"
    assert found(index, "red") == []
    write(index, {"x": "red"}, clear=True)
    assert found(index, "red number") == ["x"]


def test_a_change_that_fails_leaves_the_words_as_they_were(tmp_path: Path) -> None:
    index = LexicalIndex(tmp_path)
    write(index, {"a": "red"})
    with pytest.raises(RuntimeError), index.update() as draft:
        draft.add(["b"], [{"text": "red"}])
        raise RuntimeError
    assert found(index, "red") == ["a"]


def test_changes_at_the_same_time_wait_for_each_other_or_say_so(tmp_path: Path) -> None:
    threads = [threading.Thread(target=write, args=(LexicalIndex(tmp_path), {f"{name}": "red"})) for name in range(6)]
    with LexicalIndex(tmp_path).update() as draft:
        for thread in threads:
            thread.start()
        with pytest.raises(Timeout), LexicalIndex(tmp_path).update(wait=False):
            pass
        draft.add(["first"], [{"text": "red"}])
    for thread in threads:
        thread.join()
    assert found(LexicalIndex(tmp_path), "red") == sorted(["first", *map(str, range(6))])


@pytest.mark.parametrize(
    "pattern", ["words.json", "*.rows.npy", "*.ids", "*.dead.npy", "*.terms", "*.keys.npy", "*.entries.npy"]
)
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_damaged_words_count_as_none(tmp_path: Path, pattern: str, content: bytes | None) -> None:
    write(LexicalIndex(tmp_path), {"a": "red"})
    (file,) = current_version(tmp_path).glob(pattern)
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert LexicalIndex(tmp_path).current().count == 0
    write(LexicalIndex(tmp_path), {"b": "red"}, clear=True)
    assert found(LexicalIndex(tmp_path), "red") == ["b"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("a file")
    with (
        pytest.raises(UserError, match=r"cannot write an index into .*words, which is a file"),
        LexicalIndex(tmp_path / "words").update(),
    ):
        pass
