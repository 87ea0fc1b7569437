"""A threshold keeps right answers and refuses wrong ones as well as any score can."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.evaluation.threshold import calibrate_threshold, measure_threshold

scores = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40)


@given(scores, scores)
def test_no_other_score_does_better(right, wrong):
    chosen = calibrate_threshold(right, wrong)
    best = max((np.mean(np.array(right) >= cut) + np.mean(np.array(wrong) < cut)) for cut in {*right, *wrong, 2.0})
    assert chosen.kept + chosen.refused == pytest.approx(max(best, 1.0))
    assert chosen.kept == np.mean(np.array(right) >= chosen.score)
    assert chosen.refused == np.mean(np.array(wrong) < chosen.score)


def test_scores_that_are_apart_are_cut_in_the_middle():
    chosen = calibrate_threshold([0.8, 0.9, np.nan], [0.2, 0.4])
    assert chosen.score == pytest.approx(0.6)
    assert (chosen.kept, chosen.refused, chosen.queries) == (1, 1, 2)


def test_of_equal_ones_the_lowest_is_taken():
    assert calibrate_threshold([0.5, 0.9], [0.1, 0.7]).score == pytest.approx(0.3)


def test_a_threshold_is_measured_on_other_scores():
    measured = measure_threshold(0.5, [0.4, 0.6, 0.7, 0.8], [0.5, 0.1])
    assert (measured.score, measured.kept, measured.refused, measured.queries) == (0.5, 0.75, 0.5, 4)


@pytest.mark.parametrize(("right", "wrong"), [([], [0.1]), ([0.1], []), ([np.nan], [0.2])])
def test_nothing_to_calibrate_on(right, wrong):
    assert calibrate_threshold(right, wrong) is None
    assert measure_threshold(0.3, right, wrong) is None
