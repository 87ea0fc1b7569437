"""How long work speaks to a person: one line per fact, one bar per loop, all on stderr."""

import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

console = Console(stderr=True, highlight=False, soft_wrap=True)
_SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal to draw a bar on


def say(message: str) -> None:
    """Tell the user one fact on stderr."""
    console.print(message, markup=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence `say` and every progress bar inside the block."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


class Bar:
    """A counted piece of work; use it as a context manager and call `advance`."""

    def __init__(self, description: str, total: int | None) -> None:
        self.description = description
        self.total = total
        self.done = 0
        self._started = self._last_line = time.monotonic()
        self._rich: Progress | None = None

    def __enter__(self) -> "Bar":
        if console.is_terminal and not console.quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._rich = Progress(*columns, console=console, transient=True)
            self._rich.start()
            self._task = self._rich.add_task(self.description, total=self.total)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._rich is not None:
            self._rich.stop()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more as done; `note` (a loss, a rate) stands behind the description."""
        self.done += count
        if self._rich is not None:
            self._rich.update(self._task, completed=self.done, description=f"{self.description} {note}".rstrip())
            return
        now = time.monotonic()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            say(f"{self.description}: {self._position(now)} {note}".rstrip())

    def _position(self, now: float) -> str:
        if not self.total:
            return f"{self.done:,}"
        left = (now - self._started) / max(self.done, 1) * (self.total - self.done)
        return f"{self.done:,} of {self.total:,}, {left:.0f} s left"


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` under a progress bar that says how long is left."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Bar(description, total) as bar:
        for item in items:
            yield item
            bar.advance()
