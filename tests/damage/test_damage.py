"""Damaged files are noticed: an answer is the one that whole files give, or one sentence that says what is wrong.

Every file of a run, of stores and of caches is damaged in turn, and each operation is asked on files that have just
been opened. A sample runs always, with another choice of damages where LIKEWISE_DAMAGE is a number; all of them run
where it is "all", which takes a few minutes (`make damage`). With LIKEWISE_DAMAGE_RESULTS=FILE every outcome is
written there.
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
from damage.answers import REFUSED, SAME, TRACEBACK, WRONG
from damage.targets import TARGETS

TESTS = Path(__file__).parents[1]
CHOICE = os.environ.get("LIKEWISE_DAMAGE", "0")
_SHOWN = 40  # failures of a target

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """How every operation ended after every damage."""
    require(hasattr(os, "fork"), "damaged files are opened in forks")
    with shared_folder(tmp_path_factory, "damage") as folder:
        if not (folder / "results.jsonl").exists():
            _make_results(folder)
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def _make_results(folder: Path) -> None:
    script = TESTS / "damage" / "damage_everything.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script, folder, CHOICE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    if kept := os.environ.get("LIKEWISE_DAMAGE_RESULTS"):
        shutil.copyfile(folder / "results.jsonl", kept)


def test_every_file_was_damaged_and_every_operation_asked(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{table(results)}\n")
    asked = {(one["target"], one["operation"]) for one in results}
    damages = {(one["target"], one["file"], one["damage"]) for one in results}
    assert {target for target, _ in asked} == set(TARGETS)
    if CHOICE == "all":
        assert asked == {(target.name, operation) for target in TARGETS.values() for operation in target.operations}
        assert len(damages) >= 800
    outcomes = {(one["target"], one["outcome"]) for one in results}
    assert len([target for target, outcome in outcomes if outcome != SAME]) > len(TARGETS) / 2, "damages do not matter"


@pytest.mark.parametrize("target", TARGETS)
def test_a_damaged_file_gives_no_wrong_answer_and_no_traceback(results: Results, target: str) -> None:
    failures = [one for one in results if one["target"] == target and one["outcome"] in (WRONG, TRACEBACK)]
    lines = [
        f"{one['outcome']}: {one['operation']} after {one['damage']} of {one['file']}: {one['why']}" for one in failures
    ]
    assert not failures, "\n".join([f"{len(lines)} of them", *lines[:_SHOWN]])


def table(results: Results) -> str:
    """The outcomes of each target, counted."""
    heads = ("target", "files", "damages", "asked", SAME, REFUSED, WRONG, TRACEBACK)
    rows = [heads]
    for target in [*dict.fromkeys(one["target"] for one in results), "in all"]:
        mine = [one for one in results if target in (one["target"], "in all")]
        counts = Counter(one["outcome"] for one in mine)
        files = {(one["target"], one["file"]) for one in mine}
        damages = {(one["target"], one["file"], one["damage"]) for one in mine}
        numbers = (len(files), len(damages), len(mine), *(counts[name] for name in heads[4:]))
        rows.append((target, *(f"{number:,}" for number in numbers)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
