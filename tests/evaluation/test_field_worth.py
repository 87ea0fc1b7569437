"""What a field is worth: the gain over all others, said in one sentence."""

import numpy as np
import pytest

from likewise.evaluation.comparison import SystemMetrics
from likewise.evaluation.field_worth import measure_field_worths


def metrics_of(values):
    return SystemMetrics("trained", {"map": np.asarray(values, float)}, np.arange(len(values)))


def test_each_field_is_judged_by_what_its_absence_costs():
    draws = np.random.default_rng(0)
    whole = draws.random(200)
    found = measure_field_worths(
        {
            "all": metrics_of(whole),
            "only-brand": metrics_of(whole - 0.5),
            "without-brand": metrics_of(whole - 0.2 - draws.normal(0, 0.1, 200)),
            "without-noise": metrics_of(whole + draws.normal(0, 0.1, 200)),
            "without-junk": metrics_of(whole + 0.1),
        },
        "map",
    )
    assert [worth.field for worth in found] == ["brand", "noise", "junk"]
    brand, noise, junk = (worth.sentence for worth in found)
    assert brand.startswith('"brand" helps on these queries') and "map +0.19" in brand
    assert noise.startswith('"noise" makes no measurable difference')
    assert junk == '"junk" hurts on these queries, next to the other fields: map -0.100 [-0.100, -0.100]'
    assert found[2].as_dict()["gain"]["mean"] == pytest.approx(-0.1)


def test_without_ablations_there_is_nothing_to_judge():
    assert measure_field_worths({"all": metrics_of([1.0]), "only-brand": metrics_of([1.0])}, "map") == []


def test_without_queries_nothing_is_claimed():
    empty = metrics_of([])
    (worth,) = measure_field_worths({"all": empty, "without-brand": empty}, "map")
    assert worth.sentence == '"brand" cannot be judged: no query has an answer'
