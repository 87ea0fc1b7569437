"""Work in forks of a process that has imported everything: a crash, or a loop without end, costs that fork alone."""

import contextlib
import json
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AT_ONCE = 2
_POLL = 0.01  # seconds


@dataclass
class Task:
    """Work that a fork does; it writes down what it begins and what it finds, as JSON, one line each.

    Attributes:
        work: gets the number of the step to begin with, and a function to write lines with.
        patience: seconds between two lines, after which the fork counts as hanging.
    """

    name: str
    work: Callable[[int, Callable[[dict[str, Any]], None]], None]
    steps: int
    log: Path
    patience: float = 120.0
    first: int = 0
    child: int = 0
    heard: float = field(default_factory=time.monotonic)
    size: int = 0

    def start(self) -> None:
        """Fork."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.heard = time.monotonic()
        self.child = os.fork()
        if self.child == 0:
            status = 1
            try:
                errors = os.open(self.log.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(errors, 2)
                os.dup2(errors, 1)
                with self.log.open("a", buffering=1) as file:
                    self.work(self.first, lambda line: file.write(json.dumps(line) + "\n") and None)
                status = 0
            except BaseException:
                with contextlib.suppress(BaseException):
                    traceback.print_exc()
            finally:
                os._exit(status)

    def ended(self) -> str | None:
        """How the fork has ended: "" well, else in words; None: it still runs."""
        done, status = os.waitpid(self.child, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status):
                return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
            return "" if os.WEXITSTATUS(status) == 0 else f"ended with status {os.WEXITSTATUS(status)}"
        size = self.log.stat().st_size if self.log.exists() else 0
        if size != self.size:
            self.size, self.heard = size, time.monotonic()
        if time.monotonic() - self.heard > self.patience:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
            return f"did not end within {self.patience:.0f} s"
        return None

    def lines(self) -> list[dict[str, Any]]:
        """What was written down so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def call_in_fork(function: Callable[[], Any], errors: Path, patience: int = 120) -> Any:
    """What a function returns in a fork of its own, by pickle.

    Raises:
        ForkError: the fork ended before; the message says how.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            signal.alarm(patience)
            into = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(into, 2)
            os.dup2(into, 1)
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(function(), pipe)
            os._exit(0)
        except BaseException:
            with contextlib.suppress(BaseException):
                traceback.print_exc()
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        how = f"within {patience} s" if number == signal.SIGALRM else f"by itself, but by {signal.Signals(number).name}"
        raise ForkError(f"it did not end {how}")
    if os.WEXITSTATUS(status):
        raise ForkError(f"it ended with status {os.WEXITSTATUS(status)}: {errors.read_text()[-2000:]}")
    return pickle.loads(content)


class ForkError(Exception):
    """A fork ended outside of the step that it was at."""


def run(tasks: Sequence[Task], at_once: int = AT_ONCE) -> Iterator[tuple[Task, int, str]]:
    """Run tasks, some at a time; yields (task, step, how it ended) for every step that took its fork with it.

    A step begins with a line {"begin": its number}. After a crash the next fork goes on with the step behind it.
    """
    waiting, running = list(tasks), []
    while waiting or running:
        while waiting and len(running) < at_once:
            task = waiting.pop(0)
            task.start()
            running.append(task)
        time.sleep(_POLL)
        for task in list(running):
            how = task.ended()
            if how is None:
                continue
            running.remove(task)
            if not how:
                continue
            begun = [line["begin"] for line in task.lines() if "begin" in line]
            if not begun or begun[-1] < task.first:
                errors = task.log.with_suffix(".err")
                raise ForkError(f"{task.name} {how}: {errors.read_text()[-3000:] if errors.exists() else ''}")
            yield task, begun[-1], how
            task.first = begun[-1] + 1
            if task.first < task.steps:
                waiting.insert(0, task)
