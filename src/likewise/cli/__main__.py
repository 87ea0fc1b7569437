"""The entry of the program, also as `python -m likewise.cli` for launchers such as torchrun."""

import sys

from likewise.cli.stopping import stop_sentence
from likewise.interruption import exit_on_interrupt


def main() -> None:
    """Run a command of `sys.argv`; Ctrl+C ends it with one sentence, also while libraries are being imported."""
    exit_on_interrupt(stop_sentence(sys.argv[1:]))
    from likewise.cli.app import main as run_command

    run_command()


if __name__ == "__main__":
    main()
