"""The file of judgements as `evaluate` and `train` read it: the last one of each judge counts."""

import json

import pytest

from likewise.errors import UserError
from likewise.evaluation.judgments.judgement_log import is_judgement_log, read_judgement_log
from likewise.evaluation.judgments.qrels import read_queries
from likewise.evaluation.judgments.query_log import read_query_log

IDS = ["a", "b", "c", "d|e"]


def line(query, item, relevance, judge=None, image=None, **more):
    row = {"query": query, "image": image, "id": item, "relevance": relevance, "time": "2026-01-31T12:30:00.000Z"}
    return json.dumps(row | {"judge": judge, "note": None} | more)


@pytest.fixture
def write(tmp_path):
    def write_lines(*lines, end="\n"):
        path = tmp_path / "judgements.jsonl"
        path.write_text("\n".join(lines) + end, encoding="utf-8")
        return path

    return write_lines


def gains(queries):
    return {
        text: dict(zip(rows.tolist(), grades.tolist(), strict=True))
        for text, rows, grades in zip(queries.texts, queries.relevant, queries.gains, strict=True)
    }


def test_the_last_judgement_of_a_judge_counts_and_judges_are_averaged(write):
    path = write(
        line("red shoe", "a", 0, "anna"),
        line("red shoe", "b", 2, "anna"),
        line("red shoe", "a", 1, "anna"),
        line("red shoe", "b", 0, "bob"),
        line("hat", "d|e", 2),
        line("hat", "c", 0),
    )
    assert is_judgement_log(path)
    assert gains(read_queries(path, IDS)) == {"red shoe": {0: 1.0, 1: 1.0}, "hat": {3: 2.0}}


def test_a_judgement_that_was_taken_back_does_not_count(write):
    path = write(line("hat", "a", 2, "anna"), line("hat", "b", 1), line("hat", "a", None, "anna"))
    assert read_queries(path, IDS).relevant[0].tolist() == [1]
    assert [one.item for one in read_judgement_log(path)[0]] == ["b"]
    with pytest.raises(UserError, match="holds no query"):
        read_queries(write(line("hat", "a", 2), line("hat", "a", None)), IDS)


def test_what_is_not_relevant_is_no_answer(write):
    queries = read_queries(write(line("hat", "a", 0), line("hat", "zz", 0), line("shoe", "b", 1)), IDS)
    assert [rows.tolist() for rows in queries.relevant] == [[], [1]]
    assert queries.gains is None
    assert queries.notes == ["1 queries have no answer in the catalogue and are not measured"]


def test_a_last_line_that_was_broken_off_is_left_out(write):
    whole = line("hat", "a", 1)
    for length in (1, len(whole) // 2, len(whole) - 1):
        queries = read_queries(write(whole, whole[:length], end=""), IDS)
        assert queries.relevant[0].tolist() == [0]
        assert queries.notes == ["the last line of judgements.jsonl was not written to its end and is left out"]
    assert read_queries(write(whole, line("shoe", "b", 1), end=""), IDS).texts == ["hat", "shoe"]


def test_pictures_ask_in_evaluation_and_are_left_out_of_training(write):
    path = write(line("hat", "a", 1), line(None, "b", 1, image="judgements-pictures/x.jpg"), line("hat", "c", 2))
    assert read_queries(path, IDS).images == [None, "judgements-pictures/x.jpg"]
    log = read_query_log(path, IDS)
    assert (log.texts, [row.tolist() for row in log.gains]) == (["hat"], [[1.0, 2.0]])
    assert log.notes == ["1 queries have a picture and are left out: training learns from texts"]
    with pytest.raises(UserError, match="has pictures as queries"):
        read_query_log(write(line(None, "b", 1, image="x.jpg")), IDS)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("nope", "line 2: this is not JSON"),
        ("[" * 100_000, "line 2: this is not JSON"),
        ("[1]", "line 2: a judgement is an object with id, judge, query, relevance, time"),
        ('{"query": "x", "id": "a"}', "line 2: a judgement is an object with"),
        (line(["x"], "a", 1), "line 2: the words of a query must be text"),
        (line(None, "a", 1), "line 2: a judgement needs a query or an image"),
        (line("x", "", 1), "line 2: a judgement needs a query or an image, and the id"),
        (line("x", 5, 1), "line 2: id is a text or null"),
        (line("x", "a", "much"), "line 2: the relevance 'much' is not a number"),
        (line("x", "a", 1e300), "line 2: the relevance '1e.300' is not a number"),
        (line("x", "a", 1, judge=["anna"]), "line 2: judge is a text or null"),
        (line("x", "a", 1, note="x" * 10_001), "line 2: note has more than 10,000 characters"),
        (line("\ud800", "a", 1), "line 2: half of a surrogate pair is no text"),
    ],
)
def test_a_line_that_is_no_judgement_is_named(write, second, message):
    with pytest.raises(UserError, match=message) as refused:
        read_queries(write(line("hat", "a", 1), second, line("hat", "b", 1)), IDS)
    assert "judgements.jsonl" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_tables_are_no_judgements(tmp_path):
    for name, text in (
        ("q.jsonl", '{"query": "hat", "id": "a", "relevance": 1, "time": "now"}\n'),
        ("q.csv", "query,id,relevance,time,judge\nhat,a,1,now,anna\n"),
        ("empty.jsonl", ""),
    ):
        (tmp_path / name).write_text(text)
        assert not is_judgement_log(tmp_path / name)
    assert not is_judgement_log(tmp_path / "nothing.jsonl")
