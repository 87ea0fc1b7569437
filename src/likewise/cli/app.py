"""The `likewise` program: all commands, and how it ends when one fails."""

import os
import sys
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from likewise.cli.catalog import doctor, sample
from likewise.cli.evaluate import compare, evaluate
from likewise.cli.index import encode, index
from likewise.cli.key import key
from likewise.cli.mcp import mcp
from likewise.cli.new import new
from likewise.cli.photos import photos
from likewise.cli.search import recommend, search
from likewise.cli.serve import demo, serve
from likewise.cli.stopping import stop_sentence
from likewise.cli.train import train
from likewise.cli.verify import verify
from likewise.errors import UserError
from likewise.files import explain_system_error
from likewise.interruption import explain_interrupt
from likewise.progress import print_logs, report_error

app = App(
    name="likewise",
    help="Turn a catalogue into a search engine that understands text and pictures.",
    help_format="plaintext",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)
for command in (
    *(photos, sample, doctor, new, train, evaluate, compare, encode, index),
    *(search, recommend, demo, serve, mcp, key, verify),
):
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on stderr and exit status 2.

    So is a file or disk that the system refuses, wherever that happens.
    """
    print_logs()
    warnings.filterwarnings("ignore", module="PIL")  # reports say what is wrong with a picture
    try:
        with explain_interrupt(stop_sentence(sys.argv[1:] if arguments is None else arguments)):
            _run(arguments)
    except (UserError, CycloptsError) as error:
        report_error("likewise", error)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        _abandon_stdout()
        sys.exit(0)
    except Exception as error:
        explained = explain_system_error(error)
        if explained is None:
            raise
        _abandon_stdout()
        report_error("likewise", explained)
        sys.exit(2)


def _run(arguments: Sequence[str] | None) -> None:
    try:
        app(arguments, exit_on_error=False, print_error=False)
    finally:
        sys.stdout.flush()  # noqa: TID251 - a disk that is full shows here, not while Python shuts down


def _abandon_stdout() -> None:
    """Drop what stdout cannot take, or else Python tries to write it once more at its end."""
    try:
        sys.stdout.flush()  # noqa: TID251
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # noqa: TID251
