"""Goals for pipelines: read from options, and one sentence for what was missed."""

import pytest
from evaluation.example_run import example_comparison

from likewise.errors import UserError
from likewise.evaluation.quality_gate import QualityGate, parse_gates


def test_a_goal_is_met_or_missed_in_one_sentence():
    subset = example_comparison().subsets[0]
    reached = subset.trained.metrics["recall@10"].mean
    met, missed = parse_gates([f"recall@10={reached}", "MRR = 0.999"])
    assert met.explain_failure(subset) is None
    assert "mrr is 0." in missed.explain_failure(subset)
    assert "below the 0.999 that it has to reach" in missed.explain_failure(subset)


def test_what_was_not_measured_is_missed():
    nothing = example_comparison().subsets[0]
    interval = nothing.trained.metrics["map"].model_copy(update={"mean": float("nan")})
    systems = [nothing.trained.model_copy(update={"metrics": {"map": interval}})]
    assert "could not be measured" in QualityGate("map", 0.0).explain_failure(
        nothing.model_copy(update={"systems": systems})
    )


@pytest.mark.parametrize("option", ["recall=0.8", "recall@10", "recall@10=", "recall@10=80", "map=nan", "map=-1"])
def test_a_goal_that_cannot_be_read(option):
    with pytest.raises(UserError, match="--fail-under"):
        parse_gates([option])
