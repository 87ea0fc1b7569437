"""likewise itself, by its command line."""

import shlex
import subprocess
import sys
from pathlib import Path

import polars as pl
from later_items import measure

from likewise.errors import UserError
from likewise.evaluation.results import RunMetrics
from likewise.model.model import Model
from peers.seen import Seen
from peers.simple import answers
from peers.task import Task

_PROGRAM, _NAMELESS = ("-m", "likewise.cli"), (str(Path(__file__).with_name("nameless.py")),)


def train(task: Task, options: str, nameless: bool = False) -> tuple[Seen, dict[str, object]]:
    """`likewise train` with these options, in a process of its own.

    It is given no test row: whatever it does with the rows that it has, it cannot learn from those. It splits them
    itself, as it does for a user who has no such column.

    Args:
        options: words of the command line.
        nameless: whether the untrained model knows no names of classes.

    Raises:
        UserError: the training failed.
    """
    run, given = task.work / "run", task.work / "given.csv"
    rows = pl.read_csv(task.file, infer_schema=False)
    rows.filter(~pl.col("id").is_in(task.test.ids)).drop("split").write_csv(given)
    command = ["train", str(given), "--output", str(run), "--seed", str(task.seed)]
    command += ["--cache", str(task.cache), *shlex.split(options)]
    done = subprocess.run(
        [sys.executable, *(_NAMELESS if nameless else _PROGRAM), *command], stderr=subprocess.PIPE, text=True
    )
    seconds = task.clock.spent
    if done.returncode:
        raise UserError(f"likewise {shlex.join(command)} failed: {done.stderr.strip().splitlines()[-1:]}")
    model, metrics = Model.load(run), RunMetrics.read(run)
    notes = {"seconds": seconds, "options": options, "stages": metrics.seconds, "later items": measure(task, model)}
    if metrics.cross_validation is not None:
        notes["shares"] = metrics.cross_validation.shares
    return answers(task, model), notes
