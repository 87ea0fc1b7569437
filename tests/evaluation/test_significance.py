"""The intervals cover what they should, identities are drawn whole, and the verdict follows the interval."""

import numpy as np
import pytest

from likewise.evaluation.significance import Interval, bootstrap_interval, verdict


def test_intervals_cover_the_true_mean_about_as_often_as_they_say():
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        values = random.binomial(1, 0.6, size=80)
        interval = bootstrap_interval(values, np.arange(80), seed=trial, resamples=400)
        covered += interval.low <= 0.6 <= interval.high
    assert 0.90 <= covered / 200 <= 0.98


def test_queries_of_one_identity_are_drawn_together():
    random = np.random.default_rng(0)
    of_group = random.normal(size=40)
    groups = np.repeat(np.arange(40), 25)
    clustered = bootstrap_interval(of_group[groups], groups)
    naive = bootstrap_interval(of_group[groups], np.arange(1000))
    assert clustered.mean == pytest.approx(naive.mean)
    assert clustered.half_width > 4 * naive.half_width
    assert (clustered.groups, naive.groups) == (40, 1000)


def test_mean_weighs_queries_and_leaves_nan_out():
    interval = bootstrap_interval([1.0, 0.0, 0.0, np.nan, np.nan], ["a", "b", "b", "b", "c"])
    assert interval.mean == pytest.approx(1 / 3)
    assert interval.groups == 2


def test_nothing_to_measure_gives_nan():
    interval = bootstrap_interval([np.nan], ["a"])
    assert np.isnan([interval.mean, interval.low, interval.high]).all()
    assert interval.groups == 0
    assert verdict(interval) == "no difference"
    assert np.isnan(bootstrap_interval([], []).mean)


def test_same_seed_same_interval():
    values, groups = np.random.default_rng(0).random(50), np.arange(50)
    assert bootstrap_interval(values, groups, seed=3) == bootstrap_interval(values, groups, seed=3)
    assert bootstrap_interval(values, groups, seed=3) != bootstrap_interval(values, groups, seed=4)


def test_pairing_finds_a_small_steady_gain_that_two_intervals_would_hide():
    random = np.random.default_rng(0)
    baseline = random.random(300)
    ours = baseline + 0.02 + random.normal(scale=0.05, size=300)
    groups = np.arange(300)
    assert bootstrap_interval(ours, groups).low < bootstrap_interval(baseline, groups).high
    difference = bootstrap_interval(ours - baseline, groups)
    assert verdict(difference) == "better"
    assert verdict(bootstrap_interval(baseline - ours, groups)) == "worse"
    assert verdict(bootstrap_interval(baseline - random.permutation(baseline), groups)) == "no difference"


def test_too_few_identities_show_nothing():
    values = np.ones(90)
    few = bootstrap_interval(values, np.arange(90) % 9)
    assert few.low > 0
    assert few.few_groups
    assert verdict(few) == "no difference"
    assert verdict(bootstrap_interval(values, np.arange(90) % 10)) == "better"


def test_an_interval_survives_json_with_nan():
    interval = Interval(mean=float("nan"), low=0.1, high=float("nan"), groups=0)
    again = Interval.model_validate_json(interval.model_dump_json())
    assert np.isnan([again.mean, again.high]).all()
    assert again.low == 0.1


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 values but 1 groups"):
        bootstrap_interval([1.0, 2.0], ["a"])
