"""The `likewise` program: all commands, and how it ends when one fails."""

import sys
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from likewise.cli.catalog import doctor, sample
from likewise.cli.evaluate import compare, evaluate
from likewise.cli.index import encode, index
from likewise.cli.search import recommend, search
from likewise.cli.serve import demo
from likewise.cli.train import train
from likewise.cli.verify import verify
from likewise.errors import UserError
from likewise.progress import print_logs, report_error

app = App(
    name="likewise",
    help="Turn a catalogue into a search engine that understands text and pictures.",
    help_format="plaintext",
    version_flags=["--version"],
)
for command in (sample, doctor, train, evaluate, compare, encode, index, search, recommend, demo, verify):
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on stderr and exit status 2."""
    print_logs()
    warnings.filterwarnings("ignore", module="PIL")  # reports say what is wrong with a picture
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (UserError, CycloptsError) as error:
        report_error("likewise", error)
        sys.exit(2)
    except KeyboardInterrupt:
        report_error("likewise", "stopped; run the same command again to resume")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        sys.stderr.close()  # noqa: TID251
        sys.exit(0)
