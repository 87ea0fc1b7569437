"""Rules are fitted on searches with and without answers, and flag more of the latter than one flat threshold does."""

from collections.abc import Sequence

import numpy as np
import pytest

from likewise.evaluation.calibration import CalibrationQueries, CalibrationScores, fit_rule, measure_queries
from likewise.evaluation.threshold import FALSE_ALARMS
from likewise.retrieval.thresholds import ScoreStatistics

NONE = np.empty(0, np.int64)


def draw_scores(count: int, seed: int, shift: float) -> CalibrationScores:
    """Queries whose scores are all higher or lower by chance, by `shift` at most; an answer stands out by 0.2."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(-shift, shift, count)
    absent = mean + 0.4 + rng.normal(0, 0.03, count)
    present = absent + rng.normal(0.2, 0.05, count)
    shared = np.column_stack([mean, np.full(count, 0.1)])
    item = rng.normal(size=(count, 2))
    return CalibrationScores(
        present,
        absent,
        np.column_stack([shared, item]),
        np.column_stack([shared, item]),
        np.arange(count),
    )


def flag(scores: CalibrationScores, rule) -> tuple[float, float]:
    """The share of searches that nothing fits, with an answer and without."""
    shares = []
    for best, statistics in (
        (scores.present, scores.present_statistics),
        (scores.absent, scores.absent_statistics),
    ):
        levels = [rule.threshold(ScoreStatistics(*row)) for row in statistics.tolist()]
        shares.append(float((best < levels).mean()))
    return shares[0], shares[1]


def test_a_rule_corrects_for_where_the_scores_of_a_query_lie():
    rule = fit_rule(draw_scores(400, seed=1, shift=0.3))
    assert rule.flagged > 0.9 > 0.4 > rule.flagged_by_flat
    assert flag(draw_scores(400, seed=1, shift=0.3), rule)[0] == pytest.approx(rule.false_alarms, abs=0.01)
    false_alarms, flagged = flag(draw_scores(2_000, seed=2, shift=0.3), rule)
    assert false_alarms == pytest.approx(FALSE_ALARMS, abs=0.025) and flagged > 0.9


def test_a_flat_threshold_stays_where_nothing_is_to_be_corrected():
    scores = draw_scores(400, seed=3, shift=0.0)
    noise = np.random.default_rng(4).normal(size=scores.present_statistics.shape)
    rule = fit_rule(CalibrationScores(scores.present, scores.absent, noise, noise, scores.group))
    assert rule.flagged >= rule.flagged_by_flat > 0.9
    assert abs(flag(draw_scores(2_000, seed=5, shift=0.0), rule)[0] - FALSE_ALARMS) < 0.05


def test_scores_that_say_nothing_give_a_flat_threshold():
    rng = np.random.default_rng(0)
    same = rng.normal(size=200)
    statistics = rng.normal(size=(200, 4))
    rule = fit_rule(CalibrationScores(same, same, statistics, statistics, np.arange(200)))
    assert (rule.mean, rule.spread, rule.item_mean, rule.item_spread) == (0, 0, 0, 0)
    assert rule.flagged == rule.flagged_by_flat == pytest.approx(FALSE_ALARMS, abs=0.01)


def test_few_queries_give_no_rule():
    assert fit_rule(draw_scores(39, seed=0, shift=0.3)) is None
    assert fit_rule(draw_scores(40, seed=0, shift=0.3)) is not None


def test_a_query_unlike_all_others_gets_no_threshold_beyond_theirs():
    rule = fit_rule(draw_scores(400, seed=1, shift=0.3))
    usual = [rule.threshold(ScoreStatistics(mean, 0.1, 0.0, 0.0)) for mean in (-0.3, 0.0, 0.3)]
    assert usual == sorted(usual) and usual[2] - usual[0] > 0.4
    assert rule.threshold(ScoreStatistics(5.0, 0.1, 0.0, 0.0)) == rule.greatest < usual[2] + 0.1
    assert rule.threshold(ScoreStatistics(-5.0, 0.1, 0.0, 0.0)) == rule.least > usual[0] - 0.1


def ask(query: list[float], relevant: list[int], exclude: Sequence[int] = (), group: int = 0) -> CalibrationQueries:
    return CalibrationQueries(
        np.array([query], np.float32), [np.array(relevant)], [np.array(exclude, np.int64)], [group]
    )


def test_answers_are_taken_out_and_items_without_a_vector_are_never_found():
    items = np.eye(5, dtype=np.float32)
    items[4] = np.nan
    query = [0.8, 0.6, 0.0, 0.0, 0.0]
    scores = measure_queries(ask(query, [0, 4], group=7), items, np.random.default_rng(0))
    assert (scores.present[0], scores.absent[0]) == (pytest.approx(0.8), pytest.approx(0.6))
    assert scores.present_statistics[0, 0] == pytest.approx(1.4 / 4)
    assert scores.absent_statistics[0, 0] == pytest.approx(0.2)
    without = measure_queries(ask(query, [0], [1]), items, np.random.default_rng(0))
    assert without.absent[0] == pytest.approx(0.0)
    unknown = measure_queries(ask(query, [4]), items, np.random.default_rng(0))
    assert len(unknown) == 0, "an answer that nothing is seen of"
    assert CalibrationScores.join([scores, without]).group.tolist() == [7, 8]


def test_answers_alone_hide_what_is_asked():
    items = np.eye(4, dtype=np.float32)
    answers = np.tile(np.float32([0.0, 0.0, 0.6, 0.8]), (4, 1))  # as all would be seen without what is asked
    query = [0.8, 0.0, 0.6, 0.0]
    scores = measure_queries(ask(query, [0]), items, np.random.default_rng(0), answers=answers)
    assert scores.present[0] == pytest.approx(0.6), "the third item, as it is seen otherwise"
    assert scores.present_statistics[0, 0] == pytest.approx((0.36 + 0.6) / 4), "of the first item no more than that"
    answers[0] = np.nan
    assert len(measure_queries(ask(query, [0]), items, np.random.default_rng(0), answers=answers)) == 0
