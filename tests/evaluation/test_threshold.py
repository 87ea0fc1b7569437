"""A threshold lies where few of the searches with an answer stay below."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.evaluation.threshold import FALSE_ALARMS, calibrate_threshold, measure_threshold

scores = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40)


@given(scores, scores)
def test_few_searches_with_an_answer_stay_below(present, absent):
    chosen = calibrate_threshold(present, absent)
    assert np.mean(np.array(present) < chosen.score) <= FALSE_ALARMS + 1 / len(present)
    assert chosen.kept == np.mean(np.array(present) >= chosen.score)
    assert chosen.refused == np.mean(np.array(absent) < chosen.score)


def test_one_in_twenty_is_a_false_alarm():
    chosen = calibrate_threshold([*np.linspace(0.5, 0.9, 101), np.nan], [0.2, 0.51, 0.6])
    assert (chosen.score, chosen.queries) == (pytest.approx(0.52), 101)
    assert (chosen.kept, chosen.refused) == (pytest.approx(0.95, abs=0.01), pytest.approx(2 / 3))
    assert "of 101 searches with an answer 5% lie below it, and 67% once" in chosen.sentence


def test_a_threshold_is_measured_on_other_scores():
    measured = measure_threshold(0.5, [0.4, 0.6, 0.7, 0.8], [0.5, 0.1])
    assert (measured.score, measured.kept, measured.refused, measured.queries) == (0.5, 0.75, 0.5, 4)


@pytest.mark.parametrize(("present", "absent"), [([], [0.1]), ([0.1], []), ([np.nan], [0.2])])
def test_nothing_to_calibrate_on(present, absent):
    assert calibrate_threshold(present, absent) is None
    assert measure_threshold(0.3, present, absent) is None
