"""Rules are fitted on searches with and without answers, and flag more of the latter than one flat threshold does."""

import numpy as np
import pytest

from likewise.evaluation.calibration import (
    FALSE_ALARMS,
    CalibrationScores,
    fit_rule,
    measure_hybrid_queries,
    measure_queries,
)
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
        np.column_stack([shared, present, item]),
        np.column_stack([shared, absent, item]),
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
    statistics = np.column_stack([rng.normal(size=(200, 2)), same, rng.normal(size=(200, 2))])
    rule = fit_rule(CalibrationScores(same, same, statistics, statistics, np.arange(200)))
    assert (rule.mean, rule.spread, rule.item_mean, rule.item_spread) == (0, 0, 0, 0)
    assert rule.flagged == rule.flagged_by_flat == pytest.approx(FALSE_ALARMS, abs=0.01)


def test_few_queries_give_no_rule():
    assert fit_rule(draw_scores(39, seed=0, shift=0.3)) is None
    assert fit_rule(draw_scores(40, seed=0, shift=0.3)) is not None


def test_answers_are_taken_out_and_items_without_a_vector_are_never_found():
    items = np.eye(5, dtype=np.float32)
    items[4] = np.nan
    query = np.array([[0.8, 0.6, 0.0, 0.0, 0.0]], np.float32)
    scores = measure_queries(query, items, [np.array([0, 4])], [NONE], [7], np.random.default_rng(0))
    assert (scores.present[0], scores.absent[0]) == (pytest.approx(0.8), pytest.approx(0.6))
    assert scores.present_statistics[0, 0] == pytest.approx(1.4 / 4)
    assert scores.absent_statistics[0, 0] == pytest.approx(0.2)
    without = measure_queries(query, items, [np.array([0])], [np.array([1])], [0], np.random.default_rng(0))
    assert without.absent[0] == pytest.approx(0.0)
    unknown = measure_queries(query, items, [np.array([4])], [NONE], [0], np.random.default_rng(0))
    assert len(unknown) == 0, "an answer that nothing is seen of"
    assert CalibrationScores.join([scores, without]).group.tolist() == [7, 8]


def test_hybrid_scores_are_those_of_a_hybrid_search():
    import polars as pl
    from retrieval.fakes import FakeModel

    from likewise.retrieval.index import Index

    titles = ["red running shoe", "red leather shoe", "blue hat", "green chair", "blue shoe"]
    model = FakeModel()
    vectors = model.encode_queries(titles)
    table = pl.DataFrame({"id": [str(row) for row in range(len(titles))], "title": titles})
    text = "red shoe"
    scores = measure_hybrid_queries(
        model.encode_queries([text]), [text], vectors, titles, [np.array([0, 1])], np.random.default_rng(0)
    )
    whole = Index.from_vectors(model, vectors, table).search(text, hybrid=True)
    assert scores.present[0] == pytest.approx(whole[0].score, abs=1e-5)
    others = [hit for hit in whole if hit.id not in "01"]
    assert scores.absent[0] < scores.present[0] and others
