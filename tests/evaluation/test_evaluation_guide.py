"""The guide shows what the code does: its table is a real one, its Python runs."""

import io
import re
from pathlib import Path

import numpy as np
from evaluation.example_run import example_comparison

from likewise.evaluation.judgments.judgement_log import is_judgement_log
from likewise.evaluation.judgments.qrels import read_queries
from likewise.evaluation.report.table import subset_table
from likewise.progress import Terminal

GUIDE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)[1]


def test_the_table_is_a_real_one():
    console = Terminal(io.StringIO(), width=80)
    console.print(subset_table(example_comparison(gain=0.0).subsets[0]))
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == block("text").splitlines()


def test_the_queries_can_be_read(tmp_path):
    path = tmp_path / "queries.csv"
    path.write_text(block("csv"))
    queries = read_queries(path, ["sku-118", "sku-204", "sku-77", "sku-78"])
    assert queries.texts == ["red shoes for running", "something for a picnic"]
    assert [row.tolist() for row in queries.gains] == [[2, 1], [1, 1]]


def test_the_judgements_can_be_read(tmp_path):
    path = tmp_path / "judgements.jsonl"
    path.write_text(block("json"))
    assert is_judgement_log(path)
    queries = read_queries(path, ["sku-1001", "sku-1003", "sku-1009"])
    assert queries.texts == ["red shirt"]
    assert [(row.tolist(), grades.tolist()) for row, grades in zip(queries.relevant, queries.gains, strict=True)] == [
        ([0, 1], [1, 2])
    ]


def test_the_python_runs():
    titles = [f"thing {number}" for number in range(20)]
    vectors = np.random.default_rng(0).normal(size=(20, 4))
    scope = {"query_titles": titles, "item_titles": titles, "item_texts": titles, "queries": vectors, "items": vectors}
    exec(block("python"), scope)
    assert scope["result"].baseline == "BM25"
    assert scope["result"].trained.metrics["recall@1"].mean == 1
