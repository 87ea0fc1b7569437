"""A disk that is full or broken at any moment of writing leaves what was there, or all of what should be.

Commands run below a stand-in for the C library (shim.c) that lets one of their changes fail: no space from the n-th on,
an input/output error at the n-th, or half of a write and an error at the next. A command then ends with one sentence,
or it has done its work all the same; and the same command again succeeds. LIKEWISE_FAULTS_EACH faults of every command
are tried (3), others where LIKEWISE_DAMAGE is another number, and all of them where it is "all", which takes some
minutes (`make damage`). With LIKEWISE_FAULTS_RESULTS=FILE every outcome is written there.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import require, shared_folder
from faults.inject_faults import BROKEN, GOOD, LITTER, REFUSED, STUCK, SUCCEEDED, TORN, TRACEBACK
from faults.scenarios import SCENARIOS
from faults.shim import compile_shim

TESTS = Path(__file__).parents[1]
CHOICE = os.environ.get("LIKEWISE_DAMAGE", "0")
EACH = os.environ.get("LIKEWISE_FAULTS_EACH", "3")
OUTCOMES = (SUCCEEDED, REFUSED, TRACEBACK, BROKEN, TORN, STUCK, LITTER)
_SHOWN = 40  # failures of a scenario

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What became of every fault."""
    require(sys.platform == "linux" and hasattr(os, "fork"), "faults are injected with LD_PRELOAD, into forks")
    require(shutil.which("cc"), "the stand-in for the C library is compiled with cc")
    with shared_folder(tmp_path_factory, "faults") as folder:
        if not (folder / "results.jsonl").exists():
            _make_results(folder)
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def _make_results(folder: Path) -> None:
    compile_shim(folder / "shim.so")
    script = TESTS / "faults" / "inject_faults.py"
    environment = {
        **os.environ,
        "LD_PRELOAD": str(folder / "shim.so"),
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "2",
    }
    command = [sys.executable, script, folder, CHOICE, EACH]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    if kept := os.environ.get("LIKEWISE_FAULTS_RESULTS"):
        shutil.copyfile(folder / "results.jsonl", kept)


def test_faults_reached_the_writers_of_every_library(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{table(results)}\n")
    assert {one["scenario"] for one in results} == set(SCENARIOS)
    failed = {one["scenario"] for one in results if one["what"]}
    assert failed == set(SCENARIOS), "without a call that failed nothing was tested"
    if CHOICE == "all":
        assert len(results) >= 700
        calls = {one["what"].partition(" ")[0] for one in results}
        assert {"write", "fsync", "rename", "mkdir", "pwrite64"} <= calls, calls


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_disk_that_is_full_or_broken_leaves_all_or_nothing(results: Results, scenario: str) -> None:
    failures = [one for one in results if one["scenario"] == scenario and one["outcome"] not in GOOD]
    lines = [f"{one['outcome']}: {one['fault']} ({one['what']}): {one['why']}" for one in failures]
    assert not failures, "\n".join([f"{len(lines)} of them", *lines[:_SHOWN]])


def table(results: Results) -> str:
    """The outcomes of each scenario, counted."""
    heads = ("command", "changes", "faults", *OUTCOMES)
    rows = [heads]
    for scenario in [*dict.fromkeys(one["scenario"] for one in results), "in all"]:
        mine = [one for one in results if scenario in (one["scenario"], "in all")]
        counts = Counter(one["outcome"] for one in mine)
        changes = sum({one["scenario"]: one["changes"] for one in mine}.values())
        numbers = (changes, len(mine), *(counts[name] for name in OUTCOMES))
        rows.append((scenario, *(f"{number:,}" for number in numbers)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
