"""Queries to judge from a file, in the shapes that people have them in."""

import polars as pl
import pytest

from likewise.errors import UserError
from likewise.evaluation.judgments.queries_to_judge import read_queries_to_judge


@pytest.mark.parametrize(
    ("name", "text", "asked"),
    [
        ("q.txt", "red shoe\n\n hat  with brim \nred shoe\n", {"red shoe": 2, "hat with brim": 1}),
        ("q.csv", "query,count\nred shoe,7\nhat,0\n,5\nred shoe,1\n", {"red shoe": 8, "hat": 1}),
        ("log.csv", "query,id,clicks\nred shoe,a,3\nred shoe,b,2\nhat,,\n", {"red shoe": 5, "hat": 1}),
        ("q.jsonl", '{"query": "hat"}\n{"query": null}\n{"query": "hat"}', {"hat": 2}),
        ("catalogue.tsv", "id\ttitle\tquery\n1\tHat\tsomething to wear\n", {"something to wear": 1}),
    ],
)
def test_every_shape_gives_queries_and_how_often(tmp_path, name, text, asked):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_queries_to_judge(tmp_path / name) == asked


def test_parquet(tmp_path):
    pl.DataFrame({"search_term": ["hat", "hat"], "asked": [2, 3]}).write_parquet(tmp_path / "q.parquet")
    assert read_queries_to_judge(tmp_path / "q.parquet") == {"hat": 5}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "q.csv",
            "words,count\nhat,1\n",
            "no column 'query' for the words of the queries; its columns are: words, count",
        ),
        ("q.csv", "query,count\nhat,often\n", "line 2: the relevance 'often' is not a number"),
        ("q.txt", "\n \n", "holds no query"),
        ("q.csv", "", "holds no query"),
        ("q.txt", "x" * 10_001, "line 1: the query has 10,001 characters"),
        ("q.txt", "\n".join(map(str, range(100_001))), "more than 100,000 queries"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_queries_to_judge(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot read the queries"):
        read_queries_to_judge(tmp_path / "q.csv")
