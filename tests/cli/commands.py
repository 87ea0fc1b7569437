"""Commands as a person gives them, in this process."""

from likewise.cli.app import main


def run_command(*arguments: object) -> None:
    """Run a command that has to succeed."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        assert end.code in (0, None), f"exit status {end.code}"
