"""Goals for pipelines: read from options, and one sentence for what was missed."""

import pytest
from evaluation.example_run import example_comparison

from likewise.errors import UserError
from likewise.evaluation.quality_gate import Goal


def test_a_goal_is_met_or_missed_in_one_sentence():
    subset = example_comparison().subsets[0]
    reached = subset.trained.metrics["recall@10"].mean
    met, missed = Goal.parse([f"recall@10={reached}", "MRR = 0.999"])
    assert met.missed_by(subset) is None
    assert "mrr is 0." in missed.missed_by(subset)
    assert "below the 0.999 that it has to reach" in missed.missed_by(subset)


def test_what_was_not_measured_is_missed():
    nothing = example_comparison().subsets[0]
    interval = nothing.trained.metrics["map"].model_copy(update={"mean": float("nan")})
    systems = [nothing.trained.model_copy(update={"metrics": {"map": interval}})]
    assert "could not be measured" in Goal("map", 0.0).missed_by(nothing.model_copy(update={"systems": systems}))


@pytest.mark.parametrize("option", ["recall=0.8", "recall@10", "recall@10=", "recall@10=80", "map=nan", "map=-1"])
def test_a_goal_that_cannot_be_read(option):
    with pytest.raises(UserError, match="--fail-under"):
        Goal.parse([option])
