"""The two errors that a user is meant to see."""


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one sentence that names the column, row, file or option, and the way out. The command line prints it
    without a traceback and exits with status 2.
    """


class MissingExtraError(UserError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"this needs the library {library}: pip install 'likewise[{extra}]'")
