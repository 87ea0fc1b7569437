"""The command that makes API keys."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from likewise.cli.options import Switch
from likewise.errors import UserError
from likewise.progress import plain_text, print_table, say


def key(
    keys: Annotated[Path, Parameter(help="File of keys, for --keys; it is made where there is none.")],
    /,
    *,
    name: str = "",
    write: Switch = False,
) -> None:
    """Make an API key: prints it once, and adds its hash to the file of keys of a server.

    Example: likewise key keys.txt --name shop

    Parameters
    ----------
    name
        Name of the key in logs: letters, digits and . _ - @.
    write
        Let the key change the index, too.
    """
    from likewise.serving.keys import new_key

    made, line = new_key("write" if write else "read", name)
    try:
        descriptor = os.open(keys, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise UserError(f"cannot add a key to {keys}: {error.strerror}") from None
    print_table(plain_text(made))
    say(f"Its hash is in {keys}; the key itself is shown only now. A server that runs already has to be started anew")
