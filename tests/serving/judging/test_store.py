"""The file of judgements as servers write it: durable, shared by processes, and whole after a crash."""

import errno
import io
import json
import multiprocessing
import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from likewise.errors import UserError
from likewise.evaluation.judgments.qrels import read_queries
from likewise.serving.judging.store import JudgementStore, StoreFullError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "judgements.jsonl"


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_judgement_is_a_line_that_the_next_server_knows(path: Path) -> None:
    store = JudgementStore(path)
    name, count = store.add("red shoe", None, "a", 1, judge="anna", note="nice\nindeed \u2028 \x07")
    assert (count, len(store)) == (1, 1)
    [row] = rows_by_feed(path)
    assert set(row) == {"query", "image", "id", "relevance", "time", "judge", "note"}
    assert (row["query"], row["id"], row["relevance"], row["judge"]) == ("red shoe", "a", 1, "anna")
    [(again, judged)] = JudgementStore(path).all()
    assert (again, judged.note) == (name, "nice\nindeed \u2028 \x07")


def rows_by_feed(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().decode().split("\n") if line]


def test_the_last_judgement_wins_and_can_be_taken_back(path: Path) -> None:
    store = JudgementStore(path)
    first, _ = store.add("hat", None, "a", 0, judge="anna")
    second, count = store.add("hat", None, "a", 2, judge="anna")
    other, more = store.add("hat", None, "a", 1, judge=None)
    assert (first == second, second == other, count, more) == (True, False, 1, 2)
    assert store.remove(second)
    assert not store.remove(second)
    assert not store.remove("nothing")
    assert [judged.relevance for _, judged in store.all()] == [1]
    assert len(rows(path)) == 4
    assert JudgementStore(path).all() == store.all()
    assert store.judged_texts() == {"hat"}
    store.remove(other)
    assert store.judged_texts() == set()


def test_what_another_process_writes_is_seen(path: Path) -> None:
    one, other = JudgementStore(path), JudgementStore(path)
    one.add("Hat", None, "a", 1)
    assert len(other) == 1
    other.add("shoe", None, "b", 1)
    assert one.judged_texts() == {"hat", "shoe"}
    path.unlink()
    assert len(one) == 0
    assert one.add("hat", None, "a", 1)[1] == 1
    assert len(other) == 1


def write_many(path: Path, judge: str, count: int) -> None:
    store = JudgementStore(path)
    for number in range(count):
        store.add(f"query {number}", None, "a" * 200, 1, judge=judge)


def test_processes_and_threads_that_write_at_once_lose_nothing(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, f"process {number}", 40)) for number in range(3)]
    for writer in writers:
        writer.start()
    store = JudgementStore(path)
    threads = [
        threading.Thread(
            target=lambda judge: [store.add(f"query {n}", None, "b", 0, judge=judge) for n in range(40)],
            args=(f"thread {number}",),
        )
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for one in (*threads, *writers):
        one.join(60)
    assert all(writer.exitcode == 0 for writer in writers)
    assert len(rows(path)) == 240
    assert len(store) == len(JudgementStore(path)) == 240


@pytest.mark.parametrize("length", [1, 30, -1])
def test_half_of_a_line_is_cut_off_with_notice(path: Path, length: int, caplog: pytest.LogCaptureFixture) -> None:
    JudgementStore(path).add("hat", None, "a", 1)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-1][:length])
    assert len(JudgementStore(path)) == 1
    assert path.read_bytes() == whole
    assert "ended with half of a line" in caplog.text
    assert "hat" not in caplog.text


def test_half_of_a_line_that_another_process_left_is_cut_off_by_the_next_one_that_writes(path: Path) -> None:
    store = JudgementStore(path)
    store.add("hat", None, "a", 1)
    with path.open("ab") as file:
        file.write(b'{"query": "sho')
    assert len(store) == 1
    store.add("cap", None, "b", 1)
    assert [row["query"] for row in rows(path)] == ["hat", "cap"]


def test_a_line_that_lacks_only_its_line_feed_counts(path: Path) -> None:
    JudgementStore(path).add("hat", None, "a", 1)
    path.write_bytes(path.read_bytes()[:-1])
    store = JudgementStore(path)
    store.add("cap", None, "b", 1)
    assert [row["query"] for row in rows(path)] == ["hat", "cap"]
    assert len(store) == 2


def test_a_damaged_line_is_named(path: Path) -> None:
    JudgementStore(path).add("hat", None, "a", 1)
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    with pytest.raises(UserError, match="line 1: this is not JSON"):
        JudgementStore(path)


def test_a_full_disk_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JudgementStore(path)
    store.add("hat", None, "a", 1)
    before = path.read_bytes()

    def half(file: io.FileIO) -> io.FileIO:
        class Full:
            def write(self, data: memoryview) -> int:
                if len(data) < 20:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return file.write(data[:-10]) if len(data) > 60 else file.write(data[:20])

            def __getattr__(self, name: str) -> object:
                return getattr(file, name)

        return Full()

    append = JudgementStore._append
    monkeypatch.setattr(JudgementStore, "_append", lambda self, file, judged: append(self, half(file), judged))
    with pytest.raises(UserError, match="No space left on device; free some space there"):
        store.add("cap", None, "b", 1)
    with pytest.raises(UserError, match="No space left"):
        store.remove(store.all()[0][0])
    assert path.read_bytes() == before
    assert len(store) == 1
    monkeypatch.undo()
    assert store.add("cap", None, "b", 1)[1] == 2


def test_a_full_file_takes_no_more(path: Path) -> None:
    store = JudgementStore(path, most_bytes=400)
    store.add("hat", None, "a", 1)
    with pytest.raises(
        StoreFullError, match=r"judgements\.jsonl is full, with 400 bytes: move it away, or name another"
    ):
        store.add("hat", None, "b" * 300, 1)
    assert len(store) == 1
    path.write_bytes(path.read_bytes() * 10)
    with pytest.raises(UserError, match="has more than 400 bytes"):
        JudgementStore(path, most_bytes=400)


def test_pictures_are_kept_beside_it_once_and_evaluation_finds_them(path: Path) -> None:
    store = JudgementStore(path, most_pictures=2)
    store.add(None, b"first", "a", 1)
    store.add("in blue", b"first", "a", 1)
    store.add(None, b"second", "a", 1)
    with pytest.raises(StoreFullError, match="judgements-pictures is full, with 2 pictures"):
        store.add(None, b"third", "a", 1)
    assert len(list((path.parent / "judgements-pictures").iterdir())) == 2
    queries = read_queries(path, ["a"])
    assert queries.texts == [None, "in blue", None]
    assert (path.parent / str(queries.images[0])).read_bytes() == b"first"
    assert store.judged_texts() == set()


def test_nothing_is_written_through_links(tmp_path: Path, path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="is no plain file"):
        JudgementStore(path)
    path.unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "judgements-pictures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link to elsewhere"):
        JudgementStore(tmp_path / "run" / "judgements.jsonl").add(None, b"picture", "a", 1)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["judgements.csv", "judgements"])
def test_the_name_says_what_it_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"ends in \.jsonl"):
        JudgementStore(tmp_path / name)


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        JudgementStore(tmp_path / "file" / "judgements.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UserError, match="is no plain file"):
        JudgementStore(tmp_path / "folder.jsonl")


def open_as_nobody(path: Path) -> None:
    os.setuid(65_534)
    with pytest.raises(UserError, match=r"Permission denied; use a folder that you may write to"):
        JudgementStore(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_is_read_only_is_a_sentence() -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        writer = multiprocessing.get_context("fork").Process(
            target=open_as_nobody, args=(Path(folder, "judgements.jsonl"),)
        )
        writer.start()
        writer.join(60)
        assert writer.exitcode == 0
