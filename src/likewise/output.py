"""What commands print on stdout."""

import json
import sys
from typing import Any


def print_json(value: Any) -> None:
    """A value as indented JSON."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_table(renderable: Any) -> None:
    """A table or anything else that rich can draw."""
    from rich.console import Console

    Console().print(renderable)
