"""Run as a script: trains the shapes once without a pause and once killed again and again; tells what happened as JSON.

Every attempt is a fork of this process, which has imported everything and computed nothing, so that each is cheap.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from training.tiny_config import TINY

from likewise.catalog.catalog import Catalog
from likewise.progress import quiet
from likewise.training import loop, train
from likewise.training.training_state import FILE, TrainingState

EPOCHS = 6  # 12 steps: later than the last kill, however the moments are drawn
_TOO_LONG = 120.0  # seconds


def hang() -> None:
    """Wait here to be killed."""
    time.sleep(_TOO_LONG)


def train_once(folder: Path, run: Path, cache: Path) -> None:
    """Train, and save as often as possible."""
    loop._SHARE_FOR_SAVING = 1e12
    catalog = Catalog.read(folder / "shapes.csv", cache=cache)
    with quiet():
        train.train(catalog, run, TINY.model_copy(update={"epochs": EPOCHS}))


def steps_noted(notes: Path) -> list[int]:
    """The steps whose states have been written so far."""
    return [int(line) for line in notes.read_text().split()] if notes.exists() else []


def note_states(notes: Path) -> None:
    """Let the training write down every state that it has saved."""
    write = TrainingState.write

    def noted(state: TrainingState, run: Path) -> None:
        write(state, run)
        with notes.open("a") as file:
            file.write(f"{state.step}\n")

    TrainingState.write = noted


def hang_in_state(step: int, marker: Path) -> None:
    """Let the training stand still while it writes the state of a step: the new file is there, the old not replaced."""
    replace, write = Path.replace, TrainingState.write

    def write_at(state: TrainingState, run: Path) -> None:
        def replace_or_hang(self: Path, target: Path) -> Path:
            if Path(target).name == FILE.name and state.step >= step:
                self.write_bytes(self.read_bytes()[:-200])
                marker.touch()
                hang()
            return replace(self, target)

        Path.replace = replace_or_hang
        write(state, run)

    TrainingState.write = write_at


def hang_at(name: str, marker: Path) -> None:
    """Let the training stand still before it calls `name` of its last part."""

    def stand_still(*arguments: object) -> None:
        marker.touch()
        hang()

    setattr(train, name, stand_still)


def attempt(prepare: Callable[[], None], work: Callable[[], None], ready: Callable[[], bool]) -> str:
    """Fork, and kill the child once `ready` says so; returns "killed" or "finished"."""
    child = os.fork()
    if child == 0:
        try:
            prepare()
            work()
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    until = time.monotonic() + _TOO_LONG
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "finished" if status == 0 else "failed"
        if ready():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "killed"
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "stuck"


def main(folder: Path, work: Path, seed: int) -> None:
    """Train twice, each with its own cache, and report."""
    draw = random.Random(seed)
    notes, run, straight = work / "steps", work / "killed", work / "straight"
    log: list[dict[str, object]] = []

    def once() -> None:
        train_once(folder, run, work / "cache-killed")

    def kill(moment: str, prepare: Callable[[], None], ready: Callable[[], bool]) -> None:
        outcome = attempt(prepare, once, ready)
        log.append({"moment": moment, "outcome": outcome, "steps": steps_noted(notes)[-1:]})

    def never() -> bool:
        return False

    attempt(lambda: None, lambda: train_once(folder, straight, work / "cache-straight"), never)
    kill("after the first state", lambda: note_states(notes), lambda: bool(steps_noted(notes)))
    before = steps_noted(notes)[-1]
    middle = before + draw.randint(2, 5)
    kill("within an epoch", lambda: note_states(notes), lambda: steps_noted(notes)[-1] >= middle)
    half = work / "half-written"
    later = steps_noted(notes)[-1] + draw.randint(1, 3)
    kill("while writing a state", lambda: hang_in_state(later, half), half.exists)
    left = [path.name for path in (run / FILE.parent).glob(".state.pt.*.tmp")]
    last = draw.choice(["write_report", "write_model_card"])
    marker = work / last
    kill(f"before {last}", lambda: hang_at(last, marker), marker.exists)
    kill("never", lambda: note_states(notes), never)
    sys.stdout.write(json.dumps({"log": log, "left": left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
