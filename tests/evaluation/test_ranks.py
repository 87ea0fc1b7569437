"""What a query found: ranks, scores and first places, against a plain sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.evaluation.metrics import per_query_metrics
from likewise.evaluation.ranks import rank_candidates, rank_histogram, rank_labels


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_the_outcome_is_that_of_a_plain_sort(seed, items):
    random = np.random.default_rng(seed)
    scores = random.permuted(np.tile(np.arange(float(items)), (12, 1)), axis=1)
    relevant = [random.choice(items, random.integers(0, items + 1), replace=False) for _ in scores]
    found = rank_candidates(scores, relevant, places=3)
    for row, (values, answers) in enumerate(zip(scores, relevant, strict=True)):
        order = np.argsort(-values)
        assert found.first[row].tolist() == order[:3].tolist()
        wrong = [values[item] for item in range(items) if item not in answers]
        assert found.wrong[row] == pytest.approx(max(wrong) if wrong else np.nan, nan_ok=True)
        if len(answers):
            places = [place for place, item in enumerate(order, 1) if item in answers]
            assert found.rank[row] == places[0]
            assert found.best[row] == order[places[0] - 1]
            assert found.right[row] == values[answers].max()
        else:
            assert np.isnan(found.rank[row])
            assert found.best[row] == -1


def test_what_is_excluded_is_no_baseline():
    found = rank_candidates(np.array([[0.9, 0.5, 0.3]] * 2), [[1], []], [[0], [0]], places=2)
    assert found.rank[0] == 1
    assert found.first.tolist() == [[1, 2], [1, 2]]
    assert found.wrong == pytest.approx([0.3, 0.5])


def test_ties_stand_in_the_middle_and_nan_ranks_last():
    found = rank_candidates(np.array([[1.0, 1.0, 1.0], [np.nan, 0.5, 0.2]]), [[0], [0]])
    assert found.rank.tolist() == [2, 3]
    assert np.isnan(found.right[1])
    assert found.wrong[1] == 0.5
    assert rank_candidates(np.empty((0, 3)), []).first.shape == (0, 0)


def test_the_histogram_counts_every_query_with_an_answer_once():
    scores = -np.tile(np.arange(2000.0), (7, 1))
    answers = [[0], [1], [2], [4], [9], [1999], []]
    counts = rank_histogram(per_query_metrics(scores, answers)["mrr"])
    by_label = dict(zip(rank_labels(), counts, strict=True))
    assert {label: count for label, count in by_label.items() if count} == {
        "1": 1, "2": 1, "3": 1, "4–5": 1, "6–10": 1, "over 1,000": 1,
    }  # fmt: skip
    assert sum(rank_histogram(np.full(3, np.nan))) == 0
