"""What a run keeps of its calibrated thresholds, and what a stranger might have written in their place."""

import json
import math
from dataclasses import asdict, astuple, replace

import numpy as np
import pytest

from likewise.errors import UserError
from likewise.files import write_record
from likewise.model.run_folder import THRESHOLDS
from likewise.retrieval.thresholds import ScoreStatistics, ThresholdRule, Thresholds

RULE = ThresholdRule(
    intercept=0.1,
    mean=1.0,
    spread=0.5,
    item_mean=0.0,
    item_spread=-2.0,
    least=0.2,
    greatest=0.75,
    flat=0.3,
    false_alarms=0.05,
    flagged=0.5,
    flagged_by_flat=0.4,
    queries=300,
)


def test_a_threshold_follows_the_statistics_of_a_query():
    found = ScoreStatistics.measure(np.array([0.1, 0.3]), np.array([0.2, 0.2]))
    assert astuple(found) == pytest.approx((0.2, 0.1, 0.2, 0.0))
    assert RULE.threshold(found) == pytest.approx(0.1 + 0.2 + 0.05)
    assert RULE.threshold(replace(found, mean=9.0)) == 0.75 and RULE.threshold(replace(found, mean=-9.0)) == 0.2


def test_what_is_written_is_read(tmp_path):
    assert Thresholds.read(tmp_path) is None
    rules = Thresholds(32, {"words": RULE, "mixed": replace(RULE, mean=-2.0)})
    rules.write(tmp_path)
    assert Thresholds.read(tmp_path) == rules


@pytest.mark.parametrize(
    "content",
    [
        {"dim": 0, "rules": {}},
        {"dim": True, "rules": {}},
        {"dim": "32", "rules": {}},
        {"rules": {}},
        {"dim": 32},
        {"dim": 32, "rules": []},
        {"dim": 32, "rules": {"sounds": asdict(RULE)}},
        {"dim": 32, "rules": {"hybrid": asdict(RULE)}},
        {"dim": 32, "rules": {"words": None}},
        {"dim": 32, "rules": {"words": {"intercept": 1.0}}},
        {"dim": 32, "rules": {"words": asdict(RULE) | {"more": 1.0}}},
        {"dim": 32, "rules": {"words": asdict(RULE) | {"mean": "1"}}},
        {"dim": 32, "rules": {"words": asdict(RULE) | {"mean": True}}},
        {"dim": 32, "rules": {"words": asdict(RULE) | {"mean": 1e300}}},
        {"dim": 32, "rules": {"words": asdict(RULE) | {"spread": math.inf}}},
        {"dim": 32, "rules": {"words": asdict(RULE) | {"spread": math.nan}}},
    ],
)
def test_what_is_no_rule_is_refused(tmp_path, content):
    write_record(tmp_path / THRESHOLDS, content, 2)
    with pytest.raises(UserError, match=r"thresholds\.json is damaged .*: train the run again, or delete the file"):
        Thresholds.read(tmp_path)


def test_damage_and_other_versions_are_told_apart(tmp_path):
    Thresholds(32, {"words": RULE}).write(tmp_path)
    file = tmp_path / THRESHOLDS
    whole = file.read_text()
    file.write_text(whole.replace("0.75", "0.25"))
    with pytest.raises(UserError, match="train the run again, or delete the file"):
        Thresholds.read(tmp_path)
    file.write_text("[" * 100_000)
    with pytest.raises(UserError, match="train the run again, or delete the file"):
        Thresholds.read(tmp_path)
    write_record(file, {key: value for key, value in json.loads(whole).items() if key in ("dim", "rules")}, 3)
    with pytest.raises(UserError, match="newer version"):
        Thresholds.read(tmp_path)


def test_those_of_an_older_version_do_not_count(tmp_path):
    write_record(tmp_path / THRESHOLDS, {"dim": 32, "rules": {"hybrid": {"nearest": 1.0}}}, 1)
    assert Thresholds.read(tmp_path) is None
    file = tmp_path / THRESHOLDS
    file.write_text(file.read_text().replace("1.0", "2.0"))
    with pytest.raises(UserError, match="train the run again, or delete the file"):
        Thresholds.read(tmp_path)
