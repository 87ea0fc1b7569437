"""Queries that people ask: counted, bounded, kept over restarts, and shared by worker processes."""

from pathlib import Path

import pytest

from likewise.errors import UserError
from likewise.serving.judging.asked_queries import AskedQueries, AskedQuery
from likewise.serving.judging.judging import Judging
from likewise.serving.judging.store import JudgementStore


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "judgements-queries.json"


def counts(asked: AskedQueries) -> dict[str, int]:
    return {query.text: query.count for query in asked.list()}


def test_queries_are_counted_by_their_normalised_words_and_kept(path: Path) -> None:
    clock = Clock()
    asked = AskedQueries(path, collect=True, clock=clock)
    for text in ("red shoe", "Red  Shoe", "hat", "", "   ", "x" * 201):
        asked.note(text, "anna")
        clock.now += 5
    assert counts(asked) == {"Red Shoe": 2, "hat": 1}
    asked.note("hat", "anna")
    asked.close()
    again = AskedQueries(path)
    assert counts(again) == {"Red Shoe": 2, "hat": 2}
    assert all(query.last and query.last.endswith("Z") for query in again.list())
    again.close()


def test_what_is_typed_letter_by_letter_is_one_query(path: Path) -> None:
    clock = Clock()
    asked = AskedQueries(path, collect=True, clock=clock)
    for text in ("r", "re", "red", "red ", "red s", "red sh", "red s", "red shoe", "red shoe"):
        asked.note(text, "anna")
        asked.note("hat", "bob")
        clock.now += 0.3
    assert counts(asked) == {}
    clock.now += 5
    assert counts(asked) == {"red shoe": 1, "hat": 1}
    asked.note("red shoe", "anna")
    asked.note("blue cap", "anna")
    clock.now += 5
    assert counts(asked) == {"red shoe": 2, "hat": 1, "blue cap": 1}
    asked.close()


def test_those_that_were_asked_longest_ago_are_forgotten(path: Path) -> None:
    clock = Clock()
    asked = AskedQueries(path, collect=True, most=3, clock=clock)
    for number in range(10):
        asked.note(f"query {number}", f"client {number}")
        clock.now += 5
        asked.flush()
    assert set(counts(asked)) == {"query 7", "query 8", "query 9"}
    asked.close()


def test_workers_add_to_the_same_record(path: Path) -> None:
    workers = [AskedQueries(path, collect=True) for _ in range(2)]
    for worker in workers:
        worker.note("red shoe", "anna")
    for worker in workers:
        worker.close()
    assert counts(AskedQueries(path)) == {"red shoe": 2}


def test_counts_that_cannot_be_written_are_kept_in_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise UserError("cannot write")

    asked = AskedQueries(path, collect=True)
    asked.note("red shoe", "anna")
    with monkeypatch.context() as patch:
        patch.setattr("likewise.serving.judging.asked_queries.write_record", refuse)
        with pytest.raises(UserError):
            asked.flush(everything=True)
    asked.flush()
    assert counts(asked) == {"red shoe": 1}
    asked.close()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": 1, "queries": 5}', "\0"])
def test_a_damaged_record_is_one_sentence(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(UserError, match="move it away"):
        AskedQueries(path)


def test_what_is_judged_is_no_longer_to_be_judged(tmp_path: Path, path: Path) -> None:
    asked = AskedQueries(path, collect=True)
    for client in ("anna", "bob"):
        asked.note("Hat", client)
    asked.flush(everything=True)
    store = JudgementStore(tmp_path / "judgements.jsonl")
    judging = Judging(store, asked, {"hat": 3, "red shoe": 4, "cap": 1})
    found = judging.list_queries(2)
    assert found.queries == [AskedQuery("Hat", 5, found.queries[0].last), AskedQuery("red shoe", 4)]
    assert (found.judged, found.total) == (0, 3)
    name, _ = store.add("HAT", None, "a", 0)
    found = judging.list_queries(2)
    assert [query.text for query in found.queries] == ["red shoe", "cap"]
    assert (found.judged, found.total) == (1, 3)
    store.remove(name)
    assert judging.list_queries(9).judged == 0
    asked.close()
