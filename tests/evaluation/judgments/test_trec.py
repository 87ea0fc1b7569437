"""TREC and BEIR files: read in every layout, and one clear sentence with file and line for each mistake."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.errors import UserError
from likewise.evaluation.judgments.beir import corpus_file, find_judged_files, is_beir
from likewise.evaluation.judgments.qrels import read_queries
from likewise.evaluation.judgments.trec import looks_like_qrels, read_topics

IDS = ["d1", "d2", "d3"]
QRELS = "7 0 d1 1\n7 0 d2 0\n8 Q0 d3 2\n8 0 d9 0\n"
SGML = """<top>
<num> Number: 7
<title> red
 shoes <desc> Description:
Shoes that are red.
</top>
<top><num>8</num><title>Topic: a hat</title></top>
"""


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [folder / name.replace("__", ".") for name in files]


@pytest.mark.parametrize(
    ("name", "topics"),
    [
        ("topics.jsonl", '{"_id": "7", "text": "red shoes"}\n{"_id": 8, "text": "a hat", "metadata": {}}\n'),
        ("topics.jsonl", '{"qid": "7", "query": "red shoes"}\n\n{"id": "8", "title": " a hat "}'),
        ("topics.tsv", "7\tred shoes\r\n8\ta hat\r\n"),
        ("topics.xml", SGML),
    ],
)
def test_topics_of_every_layout(tmp_path, name, topics):
    (qrels,) = write(tmp_path, q__txt=QRELS)
    (tmp_path / name).write_text(topics)
    queries = read_queries(qrels, IDS, topics=tmp_path / name)
    assert queries.texts == ["red shoes", "a hat"]
    assert [row.tolist() for row in queries.relevant] == [[0], [2]]
    assert [row.tolist() for row in queries.gains] == [[1], [2]]
    assert queries.notes == []  # d9 is not in the catalogue, but was judged not relevant


def test_judgements_of_zero_and_one_are_a_list_of_answers(tmp_path):
    qrels, topics = write(tmp_path, q__txt="7 0 d1 1\n7 0 d2 0\n", t__tsv="7\tshoes\n")
    assert read_queries(qrels, IDS, topics=topics).gains is None


def test_queries_without_words_are_counted(tmp_path):
    qrels, topics = write(tmp_path, q__txt=QRELS, t__tsv="7\tshoes\n")
    queries = read_queries(qrels, IDS, topics=topics)
    assert queries.texts == ["shoes"]
    assert queries.notes == ["2 judgements belong to queries without words and are left out"]


def test_qrels_alone_ask_for_topics(tmp_path):
    (qrels,) = write(tmp_path, q__txt=QRELS)
    assert looks_like_qrels(qrels)
    with pytest.raises(UserError, match="--topics"):
        read_queries(qrels, IDS)


def test_a_beir_folder(tmp_path):
    folder = tmp_path / "scifact"
    (folder / "qrels").mkdir(parents=True)
    assert not is_beir(folder)
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps({"_id": i, "title": "", "text": i}) for i in IDS))
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "shoes", "metadata": {"a": [1]}}\n')
    assert is_beir(folder)
    assert corpus_file(folder) == folder / "corpus.jsonl"
    with pytest.raises(UserError, match=r"needs qrels/test\.tsv"):
        find_judged_files(folder)
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    assert find_judged_files(folder)[0].name == "dev.tsv"
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td3\t2\nq1\td1\t1\n")
    queries = read_queries(folder, IDS)
    assert queries.texts == ["shoes"]
    assert queries.relevant[0].tolist() == [0, 2]
    assert queries.gains[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("qrels", "topics", "message"),
    [
        ("7 0 d1 1\n\nx\n", "7\ta\n", r"q\.txt, line 3: 1 columns"),
        ("7 0 d1 1\n7 0 d1 high\n", "7\ta\n", r"q\.txt, line 2: the relevance 'high' is not a number"),
        ("7 0 d1 1e400\n", "7\ta\n", "line 1: the relevance '1e400' is not a number"),
        ("9 0 d1 1\n", "7\ta\n", "do the two files belong together"),
        (QRELS, "7 a\n", r"t\.tsv, line 1: an id, a tab"),
        (QRELS, "7\ta\n7\tb\n", "line 2: the query id '7' occurs twice"),
        (QRELS, "\n\n", "holds no queries"),
        (QRELS, "\ta\n", "line 1: the query has no id"),
        (QRELS, "<top>\n<num>7\n</top>\n", "line 1: this <top> needs a <num> and a <title>"),
        (QRELS, b"7\t\xff\n", "not UTF-8"),
        (QRELS, f"7\t{'long ' * 30000}\n", "line 1: the query has 149,999 characters"),
    ],
)
def test_mistakes_name_file_and_line(tmp_path, qrels, topics, message):
    paths = write(tmp_path, q__txt=qrels, t__tsv=topics)
    with pytest.raises(UserError, match=message):
        read_queries(paths[0], IDS, topics=paths[1])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": "7"}', "line 1: a query needs an id and its words"),
        ('{"text": "a"}', "line 1: a query needs an id and its words"),
        ('{"_id": "7", "text": ["a"]}', "the words of a query must be text"),
        ("[" * 100_000, "line 1: this is not JSON"),
        ('{"_id": ' + "9" * 5000 + ', "text": "a"}', "line 1: this is not JSON"),
    ],
)
def test_json_topics_that_cannot_be_read(tmp_path, line, message):
    (path,) = write(tmp_path, t__jsonl=line)
    with pytest.raises(UserError, match=message):
        read_topics(path)


@settings(deadline=None, max_examples=150)
@given(qrels=st.binary(max_size=80), topics=st.binary(max_size=80), suffix=st.sampled_from(["tsv", "jsonl"]))
def test_any_bytes_are_read_or_refused_as_the_users_mistake(tmp_path_factory, qrels, topics, suffix):
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "q").write_bytes(qrels)
    (folder / f"t.{suffix}").write_bytes(topics)
    for given_topics in (None, folder / f"t.{suffix}"):
        with contextlib.suppress(UserError):
            read_queries(folder / "q", IDS, topics=given_topics)
