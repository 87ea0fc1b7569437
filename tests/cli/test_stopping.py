"""Ctrl+C ends a command with one sentence and exit status 130, whenever it comes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from model.shape_catalogue import write_catalogue

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")

PROGRAM = (sys.executable, "-X", "importtime", "-m", "likewise.cli")
RESUMES = "likewise: stopped; run the same command again to continue the training"


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A training that takes long, on a tiny catalogue."""
    folder = tmp_path_factory.mktemp("stopping")
    config = folder / "c.yaml"
    config.write_text("threads: 1\nprecision: float32\nmodel: {dim: 64}\n", encoding="utf-8")
    data = write_catalogue(folder)
    options = ("--preset", "scratch", "--split", "part", "--epochs", "10000", "--regime", "partial")
    return ["train", str(data), *options, "--config", str(config), "--cache", str(folder / "cache")]


def interrupt(arguments: list[str], moment: str, command: tuple[str, ...] = PROGRAM) -> tuple[int, list[str]]:
    """Run a command, press Ctrl+C as soon as stderr shows a text; its exit status, and what it said then."""
    program = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    watchdog = threading.Timer(120, program.kill)
    watchdog.start()
    assert program.stderr is not None
    said: list[str] = []
    for line in program.stderr:
        if not said and moment in line:
            program.send_signal(signal.SIGINT)
            said.append(line)
        elif said and line.strip() and not line.startswith("import time:"):
            said.append(line.strip())
    watchdog.cancel()
    return program.wait(), said[1:]


@pytest.mark.parametrize("moment", ["cyclopts.", "rich.", "polars.", "numpy.", "torch."])
def test_while_libraries_are_imported(training: list[str], tmp_path: Path, moment: str) -> None:
    assert interrupt([*training, "--output", str(tmp_path / "run")], moment) == (130, [RESUMES])


def test_during_a_training_that_then_goes_on(training: list[str], tmp_path: Path) -> None:
    command = [*training, "--output", str(tmp_path / "run")]
    status, said = interrupt(command, "Training on")
    assert (status, said[-1]) == (130, RESUMES)
    state = tmp_path / "run" / "training" / "state.pt"
    program = subprocess.Popen([*PROGRAM[:1], *PROGRAM[3:], *command], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not state.exists() and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert err.strip().splitlines()[-1] == RESUMES
    assert "Traceback" not in err
    assert state.exists()


def test_the_sentence_leaves_restart_away_and_promises_nothing_of_other_commands(
    training: list[str], tmp_path: Path
) -> None:
    status, said = interrupt([*training, "--output", str(tmp_path / "run"), "--restart"], "numpy.")
    assert (status, said) == (130, [RESUMES.replace("command again", "command without --restart")])
    assert interrupt(["doctor", training[1]], "polars.") == (130, ["likewise: stopped"])


@pytest.mark.parametrize("script", ["train.py", "demo.py"])
def test_the_two_scripts_stop_with_a_sentence_while_they_import(script: str) -> None:
    program = (sys.executable, "-X", "importtime", str(Path(__file__).parents[2] / script))
    arguments = ["--data", "missing.csv"] if script == "train.py" else []
    assert interrupt(arguments, "numpy.", program) == (130, [f"{script}: stopped"])
