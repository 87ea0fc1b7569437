"""Judged queries in the shapes that people have them in, and one clear sentence for each mistake."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.errors import UserError
from likewise.evaluation.judgments.qrels import read_queries
from likewise.evaluation.metrics import per_query_metrics

IDS = ["a", "b", "c", "d|e", "5"]


@pytest.fixture
def read(tmp_path):
    def read_text(text, name="queries.csv", **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_queries(path, IDS, **options)

    return read_text


def answers(queries):
    return {text: row.tolist() for text, row in zip(queries.texts, queries.relevant, strict=True)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("one_row_a_pair.csv", "query,id\nred shoe,c\nred shoe,a\nhat,d|e\n"),
        ("lists.csv", 'Query,IDs\nred shoe,a|c\nhat,"[""d|e""]"\n'),
        ("semicolons.csv", "\ufeffquery;id;note\nred shoe;a;x, y\nred shoe;c;\nhat;d|e;\n"),
        ("tabs.tsv", "id\tquery\na\tred shoe\nc\tred shoe\nd|e\that\n"),
        ("lists.jsonl", '{"query": "red shoe", "relevant": ["a", "c"]}\n\n{"query": "hat", "relevant": "d|e"}'),
        ("odd_line_ends.csv", "query,id,note\nred shoe,a,x\u2028y\nred shoe,c,\x0b\nhat,d|e,\n"),
        ("windows.csv", "query,id\r\n red shoe ,a\r\nred shoe,c\r\nhat,d|e\r\n"),
    ],
)
def test_every_shape_gives_the_same_queries(read, name, text):
    queries = read(text, name)
    assert answers(queries) == {"red shoe": [0, 2], "hat": [3]}
    assert queries.gains is None
    assert queries.notes == []


def test_grades_by_column_list_or_object(read):
    rows = [{"query": "x", "id": ["a", 5], "relevance": [2, 0.5]}, {"query": "y", "id": "c", "relevance": ""}]
    by_column = read("query,id,relevance\nx,a,2\nx,5,0.5\ny,c,\n")
    by_list = read("\n".join(map(json.dumps, rows)), "q.jsonl")
    by_object = read('{"query": "x", "relevant": {"a": 2, "5": 0.5}}\n{"query": "y", "relevant": ["c"]}', "q.ndjson")
    for queries in (by_column, by_list, by_object):
        assert answers(queries) == {"x": [0, 4], "y": [2]}
        assert [row.tolist() for row in queries.gains] == [[2, 0.5], [1]]


def test_zero_is_judged_not_relevant_and_the_best_grade_of_a_pair_counts(read):
    queries = read("query,id,grade\nx,a,0\nx,b,1\nx,b,3\nx,b,2\ny,a,-1\n")
    assert answers(queries) == {"x": [1], "y": []}
    assert queries.gains[0].tolist() == [3]
    assert queries.notes == ["1 queries have no answer in the catalogue and are not measured"]


def test_parquet(tmp_path):
    table = pl.DataFrame({"query": ["x", "x", "y"], "id": [["a", "c"], ["b"], []], "relevance": [2.0, None, 1.0]})
    table.write_parquet(tmp_path / "q.parquet")
    queries = read_queries(tmp_path / "q.parquet", IDS)
    assert answers(queries) == {"x": [0, 1, 2], "y": []}
    assert queries.gains[0].tolist() == [2, 1, 2]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1" + bytes(40))
    with pytest.raises(UserError, match="no Parquet file"):
        read_queries(tmp_path / "bad.parquet", IDS)


def test_a_table_of_any_width_is_one_sentence(read):
    with pytest.raises(UserError, match="more than 5,000 columns"):
        read("query,id" + ",x" * 1_000_000 + "\nshoe,a\n" * 1_000)
    with pytest.raises(UserError, match="most of which are blank"):
        read("query,id," + ",".join(f"c{number}" for number in range(4_000)) + "\n" + "x,a\n" * 100_000)


def test_pictures_and_words_ask_alone_and_together(read):
    queries = read("query,image,id\nred shoe,,a\n,p.jpg,b\nred shoe,p.jpg,c\n,,a\n")
    assert queries.texts == ["red shoe", None, "red shoe"]
    assert queries.images == [None, "p.jpg", "p.jpg"]
    assert [row.tolist() for row in queries.relevant] == [[0], [1], [2]]
    assert queries.notes == ["1 rows without a query are left out"]
    assert read("image,id\np.jpg,b\n").images == ["p.jpg"]


def test_what_is_left_out_is_counted(read):
    queries = read("query,id\nx,a\nx,zz\n,b\ny,yy|zz\n")
    assert answers(queries) == {"x": [0], "y": []}
    assert queries.notes[0] == "1 rows without a query are left out"
    assert "3 answers are not in the catalogue" in queries.notes[1]
    assert "zz, yy" in queries.notes[1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.csv", "question_text,id\nx,a\n", "no column 'query' .* its columns are: question_text, id"),
        ("q.csv", "query,item\nx,a\n", "no column 'id' for the ids"),
        ("q.csv", "query,id\n", "holds no query"),
        ("q.csv", "", "holds no query"),
        ("q.csv", "query,id\nx,zz\n", "no id in .* is an id of the catalogue; its first is 'zz'"),
        ("q.csv", "query,id,relevance\nx,a,Exact\n", "line 2: the relevance 'Exact' is not a number"),
        ("q.csv", "query,id,relevance\nx,a,nan\n", "'nan' is not a number"),
        ("q.csv", "query,id,relevance\nx,a|b|c,1|2\n", "line 2: 3 ids but 2 grades"),
        ("q.csv", 'query,id\n"x,a\n', "line 1: unexpected end of data; is a quotation mark left open"),
        ("q.csv", b"query,id\n\xff\xfe,a\n", "not UTF-8"),
        ("q.jsonl", '{"query": "x", "id": "a"}\nnope', "line 2: this is not JSON"),
        ("q.csv", "query,id,relevance\nx,a,1e300\n", "line 2: the relevance '1e300' is not a number"),
        ("q.jsonl", '{"query": "x", "id": {"a": 1' + "0" * 400 + "}}", "line 1: the relevance '1000"),
        ("q.jsonl", '{"query": ["x"], "id": "a"}', "line 1: the words of a query must be text"),
        ("q.jsonl", "[" * 100_000, "line 1: this is not JSON"),
        ("q.jsonl", "[1]", "line 1: each line must be an object"),
    ],
)
def test_mistakes_are_one_sentence(read, name, text, message):
    with pytest.raises(UserError, match=message):
        read(text, name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the queries .*none\.csv: No such file"):
        read_queries(tmp_path / "none.csv", IDS)


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "q.csv"
    with path.open("wb") as file:
        file.truncate(600_000_000)  # a sparse file: it takes no room
    with pytest.raises(UserError, match="larger than 500 MB"):
        read_queries(path, IDS)


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).map(str.strip).filter(bool)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(words, st.sets(st.sampled_from(IDS), min_size=1), min_size=1, max_size=5))
def test_any_words_come_back(tmp_path_factory, queries):
    path = tmp_path_factory.mktemp("queries") / "q.jsonl"
    path.write_text("\n".join(json.dumps({"query": q, "ids": sorted(ids)}) for q, ids in queries.items()), "utf-8")
    read = read_queries(path, IDS)
    assert {q: {IDS[p] for p in row} for q, row in zip(read.texts, read.relevant, strict=True)} == queries


def test_the_result_fits_the_metrics(read):
    queries = read("query,id,grade\nx,a,2\nx,b,1\ny,zz,1\n")
    metrics = per_query_metrics(np.array([[2.0, 1, 0, 0, 0]] * 2), queries.relevant, queries.gains)
    assert metrics["ndcg@10"][0] == 1
    assert np.isnan(metrics["ndcg@10"][1])
