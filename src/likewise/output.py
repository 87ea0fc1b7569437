"""What commands print on stdout."""

import json
import sys
from typing import Any

from rich.console import RenderableType

from likewise.progress import UNPRINTABLE, Terminal


def print_json(value: Any) -> None:
    """A value as indented JSON; characters that a terminal would obey, or that stdout cannot encode, are escaped."""
    text = json.dumps(value, ensure_ascii=not _encodes_unicode(), indent=2)
    sys.stdout.write(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def print_table(renderable: RenderableType) -> None:
    """A table or anything else that rich can draw."""
    Terminal().print(renderable)


def _encodes_unicode() -> bool:
    return (sys.stdout.encoding or "utf-8").lower().startswith("utf")
