"""The errors that users see."""

import re

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # in what a message quotes


class UserError(Exception):
    """A mistake that the user can fix.

    The message is one sentence that names the column, row, file or option, and what to do. The command line prints it
    without a traceback and exits with status 2.

    Example:
        >>> import likewise as lw
        >>> try:
        ...     lw.Catalog.read("products.csv", where="prise < 20")
        ... except lw.UserError as error:
        ...     print(error)
        there is no column "prise"; did you mean price?
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(_BREAKS.sub(" ", str(message)))


class MissingExtraError(UserError):
    """An optional library is not installed; the message says how to install it.

    Example:
        >>> import likewise as lw
        >>> print(lw.MissingExtraError("pymilvus", "milvus"))
        this needs the library pymilvus: pip install 'likewise[milvus]'
    """

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"this needs the library {library}: pip install 'likewise[{extra}]'")
