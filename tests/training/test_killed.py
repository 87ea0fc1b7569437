"""A training that is killed goes on to the very weights of one that was not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import require
from model.shape_catalogue import write_catalogue
from safetensors.torch import load_file

TESTS = Path(__file__).parents[1]


def test_weights_after_kills_at_random_moments_equal_those_of_an_uninterrupted_run(tmp_path):
    require(hasattr(os, "fork"), "the trainings are forked")
    catalogue = write_catalogue(tmp_path / "shapes").parent
    seed = int.from_bytes(os.urandom(2), "big")
    done = subprocess.run(
        [sys.executable, TESTS / "training" / "killed_training.py", catalogue, tmp_path, str(seed)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    outcomes = [entry["outcome"] for entry in report["log"]]
    assert outcomes == ["killed"] * 4 + ["finished"], (seed, report, done.stderr)
    assert report["left"], "the kill while writing left no half-written file, so it tested nothing"
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    if (straight / "model.safetensors").read_bytes() != (killed / "model.safetensors").read_bytes():
        ours, theirs = load_file(killed / "model.safetensors"), load_file(straight / "model.safetensors")
        different = [name for name in theirs if not ours[name].equal(theirs[name])]
        pytest.fail(f"seed {seed}: {different} differ after {report}")
    histories = [json.loads((run / "metrics.json").read_text()) for run in (straight, killed)]
    for metrics in histories:
        for epoch in metrics["history"]:
            epoch.update(seconds=0, minutes=0)
    assert histories[0]["history"] == histories[1]["history"]
    assert histories[0]["comparison"] == histories[1]["comparison"]
    assert not list(killed.rglob("*.new")) and not list(killed.rglob("*.tmp"))
