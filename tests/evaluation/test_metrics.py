"""Metrics against figures worked out by hand, and against a slow reference in plain Python."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.evaluation.metrics import METRICS, cosine_scores, per_query_metrics


def of_order(order: list[int], gains: dict[int, float]) -> dict[str, float]:
    """The metrics of one ranking without ties, straight from their definitions."""
    hits = [gains.get(candidate, 0.0) for candidate in order]
    answers = sum(gain > 0 for gain in gains.values())
    found, precisions, first = 0, 0.0, 0.0
    for rank, gain in enumerate(hits, 1):
        if gain > 0:
            found += 1
            precisions += found / rank
            first = first or 1 / rank
    discounted = sum(gain / math.log2(rank + 1) for rank, gain in enumerate(hits[:10], 1))
    best = sum(g / math.log2(rank + 1) for rank, g in enumerate(sorted(gains.values(), reverse=True)[:10], 1))
    recall = {f"recall@{k}": sum(gain > 0 for gain in hits[:k]) / answers for k in (1, 5, 10)}
    return recall | {"mrr": first, "ndcg@10": discounted / best, "map": precisions / answers}


def expected(scores: list[float], gains: dict[int, float]) -> dict[str, float]:
    """The mean over every order of the candidates that the scores allow."""
    levels = [[i for i, s in enumerate(scores) if s == level] for level in sorted(set(scores), reverse=True)]
    orders = itertools.product(*(itertools.permutations(level) for level in levels))
    results = [of_order(list(itertools.chain(*order)), gains) for order in orders]
    return {name: sum(result[name] for result in results) / len(results) for name in METRICS}


def test_one_answer_by_hand():
    scores = np.array([[0.9, 0.8, 0.1, 0.7], [0.9, 0.8, 0.1, 0.7]])
    metrics = per_query_metrics(scores, [[3], [0]])
    assert metrics["recall@1"].tolist() == [0, 1]
    assert metrics["recall@5"].tolist() == [1, 1]
    assert metrics["mrr"] == pytest.approx([1 / 3, 1])
    assert metrics["ndcg@10"] == pytest.approx([1 / math.log2(4), 1])
    assert metrics["map"] == pytest.approx([1 / 3, 1])
    assert all(values.dtype == np.float64 for values in metrics.values())


def test_several_answers_by_hand():
    # The answers stand at ranks 1, 3 and 12 of 12.
    scores = -np.arange(12.0)[None]
    metrics = per_query_metrics(scores, [[0, 2, 11]])
    assert metrics["recall@1"] == pytest.approx([1 / 3])
    assert metrics["recall@10"] == pytest.approx([2 / 3])
    assert metrics["map"] == pytest.approx([(1 / 1 + 2 / 3 + 3 / 12) / 3])
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics["ndcg@10"] == pytest.approx([(1 + 1 / math.log2(4)) / ideal])


def test_grades_weigh_in_ndcg_only_and_zero_means_not_relevant():
    scores = np.array([[3.0, 2.0, 1.0]])
    metrics = per_query_metrics(scores, [[0, 1, 2]], [[1.0, 0.0, 3.0]])
    assert metrics["ndcg@10"] == pytest.approx([(1 + 3 / math.log2(4)) / (3 + 1 / math.log2(3))])
    assert metrics["recall@1"] == pytest.approx([0.5])
    assert metrics["map"] == pytest.approx([(1 + 2 / 3) / 2])


def test_queries_without_an_answer_are_nan_and_left_out_of_the_summary():
    metrics = per_query_metrics(np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), [[0], [], [1]], [[1], [], [0]])
    for name in METRICS:
        assert np.isnan(metrics[name][1:]).all()
    assert np.isnan(per_query_metrics(np.ones((1, 2)), [[]])["map"]).all()


@pytest.mark.parametrize("answer", [0, 17, 99])
def test_a_system_that_gives_no_order_scores_chance_wherever_the_answer_stands(answer):
    metrics = per_query_metrics(np.zeros((1, 100)), [[answer]])
    assert metrics["recall@1"] == pytest.approx([0.01])
    assert metrics["recall@10"] == pytest.approx([0.1])
    harmonic = sum(1 / rank for rank in range(1, 101))
    assert metrics["mrr"] == pytest.approx([harmonic / 100])
    assert metrics["map"] == pytest.approx([harmonic / 100])


def test_nan_scores_rank_last():
    metrics = per_query_metrics(np.array([[np.nan, -5.0, np.nan, -7.0]]), [[0]])
    assert metrics["mrr"] == pytest.approx([(1 / 3 + 1 / 4) / 2])


def test_excluded_candidates_do_not_take_a_place_nor_count_as_answers():
    scores = np.array([[1.0, 0.9, 0.8, np.nan, np.nan]])
    assert per_query_metrics(scores, [[0, 1]], exclude=[[0]])["recall@1"] == pytest.approx([1.0])
    # The excluded one does not tie with the candidate that has no score.
    assert per_query_metrics(scores, [[3]], exclude=[[4, 4, 0]])["mrr"] == pytest.approx([1 / 3])


def test_a_pair_named_twice_counts_once():
    metrics = per_query_metrics(np.array([[3.0, 2.0, 1.0]]), [[0, 0, 2]], [[1, 2, 1]])
    assert metrics["recall@1"] == pytest.approx([0.5])
    assert metrics["ndcg@10"] == pytest.approx([(2 + 0.5) / (2 + 1 / math.log2(3))])


cases = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=n, max_size=n),
        st.dictionaries(st.integers(0, n - 1), st.sampled_from([1.0, 2.0, 3.5]), min_size=1),
    )
)


@settings(max_examples=150, deadline=None)
@given(st.lists(cases, min_size=1, max_size=3))
def test_every_metric_is_the_mean_over_all_orders_of_the_tied(queries):
    width = max(len(scores) for scores, _ in queries)
    padded = np.array([scores + [-9.0 - i for i in range(width - len(scores))] for scores, _ in queries])
    metrics = per_query_metrics(padded, [list(g) for _, g in queries], [list(g.values()) for _, g in queries])
    for row, (_, gains) in enumerate(queries):
        reference = expected(padded[row].tolist(), gains)
        for name in METRICS:
            assert metrics[name][row] == pytest.approx(reference[name]), name


def test_many_candidates_without_ties_agree_with_the_definitions():
    random = np.random.default_rng(0)
    scores = random.permuted(np.tile(np.arange(500.0), (30, 1)), axis=1)
    relevant = [random.choice(500, size=random.integers(1, 40), replace=False) for _ in range(30)]
    metrics = per_query_metrics(scores, relevant)
    for row in range(30):
        reference = of_order(np.argsort(-scores[row]).tolist(), dict.fromkeys(relevant[row].tolist(), 1.0))
        for name in METRICS:
            assert metrics[name][row] == pytest.approx(reference[name])


def test_chunks_of_a_function_give_the_same_as_one_matrix(monkeypatch):
    random = np.random.default_rng(1)
    queries, items = random.normal(size=(70, 8)), random.normal(size=(40, 8))
    items[3] = np.nan
    relevant = [random.choice(40, size=2, replace=False) for _ in range(70)]
    asked = []

    def scores(rows: slice) -> np.ndarray:
        asked.append(rows)
        return cosine_scores(queries, items)(rows)

    monkeypatch.setattr("likewise.evaluation.metrics._CHUNK_ELEMENTS", 400)
    chunked = per_query_metrics(scores, relevant)
    assert max(rows.stop - rows.start for rows in asked) <= 10
    whole = per_query_metrics(cosine_scores(queries, items)(slice(None)), relevant)
    for name in METRICS:
        assert chunked[name] == pytest.approx(whole[name])


def test_cosine_ignores_length_and_keeps_nan():
    scores = cosine_scores(np.array([[2.0, 0.0]]), np.array([[5.0, 0.0], [0.0, 1.0], [np.nan, 1.0], [0.0, 0.0]]))
    row = scores(slice(0, 1))[0]
    assert row[[0, 1, 3]].tolist() == [1, 0, 0]
    assert np.isnan(row[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": np.ones((2, 3)), "relevant": [[0]]}, "1 queries but 2 rows"),
        ({"scores": np.ones((1, 3)), "relevant": [[3]]}, "past the last of 3"),
        ({"scores": np.ones((1, 3)), "relevant": [[-1]]}, "start at 0"),
        ({"scores": np.ones((1, 3)), "relevant": [[1]], "gains": [[1, 2]]}, "one value for each"),
        ({"scores": np.ones((1, 3)), "relevant": [[1]], "exclude": []}, "0 lists of excluded"),
    ],
)
def test_mismatched_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        per_query_metrics(**arguments)
