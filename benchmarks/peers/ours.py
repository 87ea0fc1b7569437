"""likewise itself, by its command line."""

import shlex
import subprocess
import sys

import polars as pl

from likewise.errors import UserError
from likewise.model.model import Model
from peers.seen import Seen
from peers.simple import answers
from peers.task import Task


def train(task: Task, options: str) -> tuple[Seen, dict[str, object]]:
    """`likewise train` with these options, in a process of its own.

    It is given no test row: whatever it does with the rows that it has, it cannot learn from those.

    Args:
        options: words of the command line.

    Raises:
        UserError: the training failed.
    """
    run, given = task.work / "run", task.work / "given.csv"
    rows = pl.read_csv(task.file, infer_schema=False)
    rows.filter(~pl.col("id").is_in(task.test.ids)).write_csv(given)
    command = ["train", str(given), "--output", str(run), "--split", "split", "--seed", str(task.seed)]
    command += ["--cache", str(task.cache), *shlex.split(options)]
    done = subprocess.run([sys.executable, "-m", "likewise.cli", *command], stderr=subprocess.PIPE, text=True)
    seconds = task.clock.spent
    if done.returncode:
        raise UserError(f"likewise {shlex.join(command)} failed: {done.stderr.strip().splitlines()[-1:]}")
    return answers(task, Model.load(run)), {"seconds": seconds, "options": options}
