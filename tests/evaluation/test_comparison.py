"""Trained against baselines: the strongest is found, the verdict is right, results survive the disk, the table fits."""

import io
import json

import numpy as np
import pytest
from evaluation.example_run import example_comparison, example_metrics
from hypothesis import given
from hypothesis import strategies as st

from likewise.errors import UserError
from likewise.evaluation.comparison import compare, evaluate_system, headline_metric, relevance_by_key
from likewise.evaluation.metrics import METRICS
from likewise.evaluation.report.table import comparison_table
from likewise.evaluation.results import Comparison, RunMetrics
from likewise.evaluation.subsets import SUBSETS, describe, mixed_index
from likewise.progress import Terminal


def system(name, hits, groups=None):
    """A system that puts the answer first for the queries in `hits`, and second to ten others for the rest."""
    scores = np.tile(-np.arange(30.0), (len(hits), 1))
    for row, hit in enumerate(hits):
        scores[row, 0] = 1 if hit else -25.5
    return evaluate_system(name, scores, [[0]] * len(hits), range(len(hits)) if groups is None else groups)


def compared(trained, *baselines, start=None):
    label = describe("all", "title")
    subset = compare("all", label, trained, baselines, start=start, metric="recall@10", candidates=30)
    return Comparison(metric="recall@10", subsets=[subset])


def test_the_sentence_names_the_strongest_baseline_and_the_figures():
    hits = np.arange(100)
    comparison = compared(
        system("trained", hits < 71),
        system("untrained", hits < 30),
        system("ridge", hits < 62),
        system("BM25", hits < 10),
    )
    assert comparison.verdict == "better"
    assert comparison.sentence.startswith(
        "Verdict: BETTER than the strongest baseline (ridge) on all fields but the title: "
        "recall@10 0.71 vs 0.62, difference +0.09 ["
    )
    subset = comparison.subsets[0]
    assert subset.baseline == "ridge"
    assert subset.system("untrained").metrics["recall@1"].mean == pytest.approx(0.30)
    assert subset.differences["recall@10"].mean == pytest.approx(0.09)
    assert set(subset.differences) == set(METRICS)


def test_worse_and_no_difference():
    hits = np.arange(100)
    assert compared(system("trained", hits < 50), system("ridge", hits < 60)).verdict == "worse"
    even = compared(system("trained", hits % 2 == 0), system("ridge", hits % 2 == 1))
    assert even.verdict == "no difference"
    assert "NO DIFFERENCE from the strongest baseline (ridge)" in even.sentence


def test_what_training_added_to_its_start_is_told_apart_from_the_verdict():
    hits = np.arange(100)
    trained, ridge = system("trained", hits < 71), system("ridge", hits < 69)
    gained = compared(trained, ridge, start=system("start", hits < 51))
    assert gained.subsets[0].baseline == "ridge" and gained.verdict == "no difference"
    assert gained.training_verdict == "better"
    gain = gained.subsets[0].gains["recall@10"]
    assert gain.mean == pytest.approx(0.20) and set(gained.subsets[0].gains) == set(METRICS)
    assert gained.training_sentence == (
        f"Training changed recall@10 by +0.200 [{gain.low:+.3f}, {gain.high:+.3f}] over its start"
    )
    harmed = compared(trained, ridge, start=system("start", hits < 81))
    assert harmed.training_verdict == harmed.verdict == "worse"
    assert "by -0.100 [-0." in harmed.training_sentence
    same = compared(trained, ridge, start=system("start", hits < 71))
    assert same.training_verdict == "no difference"
    assert same.training_sentence.endswith("[+0.000, +0.000] over its start: no measurable difference")
    assert [result.name for result in same.subsets[0].systems] == ["trained", "ridge", "start"]


def test_the_start_is_one_of_the_baselines_and_the_closed_form_that_equals_it_is_named():
    hits = np.arange(100)
    trained, ridge = system("trained", hits < 71), system("ridge", hits < 60)
    assert compared(trained, ridge, start=system("start", hits < 62)).subsets[0].baseline == "start"
    assert compared(trained, ridge, start=system("start", hits < 60)).subsets[0].baseline == "ridge"


def test_without_a_start_nothing_is_said_of_it():
    unknown = compared(system("trained", [True] * 20), system("ridge", [False] * 20))
    assert unknown.training_verdict is None and unknown.training_sentence is None
    assert unknown.subsets[0].gains == {}


def test_few_identities_are_said_aloud():
    few = compared(
        system("trained", [True] * 100, np.arange(100) % 7), system("ridge", [False] * 100, np.arange(100) % 7)
    )
    assert few.verdict == "no difference"
    assert few.sentence.endswith("7 identities are too few to tell")
    groups = np.arange(100) % 7
    begun = compared(system("trained", [True] * 100, groups), start=system("start", [False] * 100, groups))
    assert begun.training_verdict == "no difference"
    assert begun.training_sentence.endswith("; 7 identities are too few to tell")


def test_no_baseline_and_no_answer_are_said_aloud():
    assert "no baseline was measured" in compared(system("trained", [True] * 20)).sentence
    empty = [evaluate_system(name, np.ones((12, 3)), [[]] * 12, range(12)) for name in ("trained", "ridge")]
    comparison = compared(*empty)
    assert comparison.verdict == "no difference"
    assert "no query has an answer" in comparison.sentence
    assert compared(empty[0], start=empty[1]).training_sentence is None


def test_systems_must_have_answered_the_same_queries():
    with pytest.raises(ValueError, match="same queries"):
        compared(system("trained", [True] * 3), system("ridge", [True] * 4))


def test_metrics_survive_the_disk(tmp_path):
    metrics = example_metrics()
    assert metrics.write(tmp_path) == tmp_path / "metrics.json"
    assert RunMetrics.read(tmp_path) == metrics
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    text = (tmp_path / "metrics.json").read_text()
    assert '"verdict": "better"' in text
    assert "NaN" not in text


def test_names_of_files_that_are_not_utf8_can_be_kept(tmp_path):
    metrics = example_metrics()
    settings = {"data": {"file": "caf\udce9.csv", "columns": ["\udce9"]}}
    data = metrics.data.model_dump() | {"source": "caf\udce9.csv"}
    metrics = RunMetrics(**metrics.model_dump(exclude={"data", "settings"}), data=data, settings=settings)
    metrics.write(tmp_path)
    assert RunMetrics.read(tmp_path) == metrics
    assert metrics.data.source == "caf\\udce9.csv"


def test_a_run_without_metrics_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"holds no metrics\.json"):
        RunMetrics.read(tmp_path)
    for content in ({}, example_metrics().model_dump(mode="json") | {"format": 2}):
        (tmp_path / "metrics.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="not a metrics file of this version of likewise; train the run again"):
            RunMetrics.read(tmp_path)


def test_the_table_fits_80_columns_and_shows_every_system_and_metric():
    comparison = example_comparison()
    console = Terminal(io.StringIO(), width=80, soft_wrap=True)
    console.print(comparison_table(comparison))
    text = console.file.getvalue()
    table, sentence = text.split("Verdict: ")
    assert max(map(len, table.splitlines())) <= 80
    assert sentence.startswith("BETTER")
    for word in (*METRICS, "trained", "untrained", "BM25", "ridge", "kernel ridge", "start *", "the picture alone"):
        assert word in table
    assert "BETTER" in table and "Training changed recall@10 by " in table  # for the other subsets
    assert " ".join(comparison.training_sentence.split()) in " ".join(sentence.split())
    mean = comparison.subsets[0].trained.metrics["mrr"]
    assert f"{mean.mean:.3f}±" in table


@pytest.mark.parametrize("name", ["kernel ridge", "someone/a-model-with-a-name-of-many-words"])
def test_the_longest_names_leave_the_figures_as_they_are(name):
    hits = np.arange(100)
    console = Terminal(io.StringIO(), width=80)
    console.print(comparison_table(compared(system("trained", hits < 71), system(name, hits < 60))))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("±.") for line in lines) == 2 * len(METRICS)
    assert f"{name} *".replace(" ", "") in "".join(line[:14].replace(" ", "") for line in lines)


def test_the_table_of_nothing_has_dashes():
    nothing = evaluate_system("trained", np.ones((2, 3)), [[], []], [0, 1])
    console = Terminal(io.StringIO(), width=80)
    console.print(comparison_table(compared(nothing)))
    assert "–" in console.file.getvalue()


def test_headline_metric():
    assert headline_metric([[1], [2], [], []]) == "recall@10"
    assert headline_metric([[1], [2, 3], [4]]) == "recall@10"
    assert headline_metric([[1, 2], [2, 3], [4]]) == "ndcg@10"
    assert headline_metric([[1]], graded=True) == "ndcg@10"


keys = st.lists(st.none() | st.sampled_from("abcd"), max_size=12)


@given(keys, keys)
def test_equal_keys_are_relevant(queries, candidates):
    found = relevance_by_key(queries, candidates)
    assert [row.tolist() for row in found] == [
        [place for place, key in enumerate(candidates) if key is not None and key == query] for query in queries
    ]


def test_mixed_index_takes_half_of_each_and_what_there_is():
    text, image = np.zeros((100, 2)), np.ones((100, 2))
    text[:10], image[5:20] = np.nan, np.nan
    vectors, by_text = mixed_index(text, image)
    assert np.isnan(vectors[5:10]).all()
    assert not by_text[:10].any()
    assert (vectors[:5] == 1).all()
    assert (vectors[10:20] == 0).all()
    assert by_text[10:20].all()
    assert by_text[20:].sum() == 40
    assert (vectors[by_text] == 0).all()
    assert np.array_equal(mixed_index(text, image)[1], by_text)
    assert not np.array_equal(mixed_index(text, image, seed=1)[1], by_text)


def test_every_subset_has_words():
    assert [describe(subset) for subset in SUBSETS] == [
        "all fields but the title",
        "the text alone, without the title",
        "the picture alone",
        "a mix: half of the items by text, half by picture",
    ]
    assert describe("all", None) == "all fields"
    assert describe("text", None) == "the text alone"
