"""Progress and printing: everything that a person reads on a terminal goes through `Terminal`.

Titles, column names, file names and addresses are written by strangers. A terminal obeys some of the characters in
them, and rich obeys brackets; here both are only text.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import IO, Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

T = TypeVar("T")

# C0 except tab and line feed, DEL, C1, line and paragraph separators, bidirectional overrides and isolates, surrogates
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_GAP = re.compile(r"\s*[\t\n\v\f\r\x85\u2028\u2029]\s*")  # rich mismeasures tabs in a cell
_SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal to draw a bar on


def printable(text: str) -> str:
    """Escape every control character in a text, such as `\\x1b` or `\\u202e`.

    Line feeds and tabs stay.
    """
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def plain_text(text: str, style: str = "") -> Text:
    """One printable line for rich: a cell, a title or a sentence that is shown as it is, whatever its characters."""
    return Text(_on_one_line(text), style=style)


def _on_one_line(text: str) -> str:
    return printable(_GAP.sub(" ", text.strip()))


class Terminal(Console):
    """A rich console on which text is only text: no markup, no emoji codes, no control characters.

    Args:
        file: where it prints; None: stdout, or stderr.
        stderr: print on stderr.
        width: columns; None: those of the terminal.
        soft_wrap: leave long lines to the terminal.
    """

    def __init__(
        self, file: IO[str] | None = None, *, stderr: bool = False, width: int | None = None, soft_wrap: bool = False
    ) -> None:
        super().__init__(
            file=file, stderr=stderr, width=width, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a string printable before rich measures it, as its escaped form is wider."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Make printable whatever comes another way, and escape what the encoding of the output lacks."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else self._encodable(printable(segment.text))
            yield segment if text == segment.text else Segment(text, segment.style)

    def _encodable(self, text: str) -> str:
        encoding = self.encoding
        return text if encoding.startswith("utf") else text.encode(encoding, "backslashreplace").decode(encoding)


console = Terminal(stderr=True, soft_wrap=True)


def say(message: str) -> None:
    """Print one message on stderr, on one line."""
    console.print(_on_one_line(message))


def print_json(value: Any) -> None:
    """Print a value on stdout as indented JSON.

    Characters that a terminal would obey, or that stdout cannot encode, are escaped.
    """
    encodes_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=not encodes_unicode, indent=2)
    sys.stdout.write(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def print_lines(text: str) -> None:
    """Print a text on stdout as it is, except for characters that a terminal would obey or stdout cannot encode."""
    Terminal(soft_wrap=True).print(text, end="")


def print_log_line(value: dict[str, Any]) -> None:
    """Print a value on stderr as one line of JSON in ASCII, for programs that collect logs."""
    text = json.dumps(value)
    sys.stderr.write(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")
    sys.stderr.flush()


def print_table(renderable: RenderableType) -> None:
    """Print a table, or anything else that rich can draw, on stdout."""
    Terminal().print(renderable)


def report_error(program: str, error: object) -> None:
    """Print an error on stderr as one line that begins with the program's name, inside `quiet`, too."""
    Terminal(stderr=True, soft_wrap=True).print(_on_one_line(f"{program}: {error}"))


def print_logs() -> None:
    """Print log lines of libraries through a `Terminal`, unless handlers are configured for them."""
    logging.lastResort = _LogHandler(logging.WARNING)


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        Terminal(stderr=True, soft_wrap=True).print(self.format(record))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence `say` and every progress bar inside the block."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


class Bar:
    """Progress bar; use it as a context manager and call `advance`."""

    def __init__(self, description: str, total: int | None) -> None:
        self.description = _on_one_line(description)
        self.total = total
        self.done = 0
        self._started = self._last_line = time.monotonic()
        self._rich: Progress | None = None

    def __enter__(self) -> "Bar":
        if console.is_terminal and not console.quiet:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
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
        note = _on_one_line(note)
        if self._rich is not None:
            self._rich.update(self._task, completed=self.done, description=f"{self.description} {note}".rstrip())
            return
        now = time.monotonic()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            say(f"{self.description}: {self._position(now)} {note}".rstrip())

    def expect(self, total: int) -> None:
        """Change how many there are in all."""
        self.total = total
        if self._rich is not None:
            self._rich.update(self._task, total=total)

    def _position(self, now: float) -> str:
        if not self.total:
            return f"{self.done:,}"
        left = (now - self._started) / max(self.done, 1) * (self.total - self.done)
        return f"{self.done:,} of {self.total:,}, {left:.0f} s left"


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` with a progress bar that shows the remaining time."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Bar(description, total) as bar:
        for item in items:
            yield item
            bar.advance()
