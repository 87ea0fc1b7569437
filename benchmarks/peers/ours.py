"""likewise itself, by its command line."""

import shlex
import subprocess
import sys

from likewise.errors import UserError
from likewise.model.model import Model
from peers.seen import Seen
from peers.simple import answers
from peers.task import Task


def train(task: Task, options: str) -> tuple[Seen, dict[str, object]]:
    """`likewise train` with these options, in a process of its own and with nothing cached.

    Args:
        options: words of the command line; {seconds} stands for the budget.

    Raises:
        UserError: the training failed.
    """
    words = shlex.split(options.format(seconds=round(task.clock.budget)))
    run = task.work / "run"
    command = ["train", str(task.file), "--output", str(run), "--split", "split", "--seed", str(task.seed)]
    command += ["--cache", str(task.work / "cache"), *words]
    done = subprocess.run([sys.executable, "-m", "likewise.cli", *command], stderr=subprocess.PIPE, text=True)
    seconds = task.clock.spent
    if done.returncode:
        raise UserError(f"likewise {shlex.join(command)} failed: {done.stderr.strip().splitlines()[-1:]}")
    return answers(task, Model.load(run)), {"seconds": seconds, "options": options}
