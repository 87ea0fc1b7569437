"""Text files of strangers, a line at a time: what is wrong with one is a sentence that names the file and the line."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from likewise.errors import UserError

_MOST_BYTES = 500_000_000
_LONGEST_QUERY = 100_000  # characters; no encoder reads a tenth of them
_GREATEST_GRADE = 1e6  # sums of gains stay exact


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        UserError: it cannot be read, or is larger than judged queries can sensibly be.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is larger than {_MOST_BYTES // 1_000_000} MB: is it a file of judged queries?")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise UserError(f"cannot read the queries {path}: {getattr(error, 'strerror', None) or error}") from None


def read_text(path: Path) -> str:
    """A file as UTF-8 text, with or without a byte order mark."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"the queries {path} are not UTF-8 text; save the file as UTF-8") from None


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of every line that is not blank; only line feeds end a line."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, line.rstrip("\r")


def json_objects(path: Path, example: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, object) of every line of a JSON Lines file; `example` shows what a line should look like."""
    for number, line in lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{path}, line {number}: this is not JSON") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: each line must be an object, such as {example}")
        yield number, row


def grade(value: Any, where: str) -> float:
    """A relevance as a number; blank is 1. `where` names file and line."""
    if value is None or value == "":
        return 1.0
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number) or abs(number) > _GREATEST_GRADE:
        raise UserError(f"{where}: the relevance {str(value)[:40]!r} is not a number")
    return number


def query_text(value: Any, where: str) -> str | None:
    """The words of a query, stripped; None where there are none."""
    if value is None:
        return None
    if isinstance(value, list | dict):
        raise UserError(f"{where}: the words of a query must be text")
    text = str(value).strip()
    if len(text) > _LONGEST_QUERY:
        raise UserError(f"{where}: the query has {len(text):,} characters, more than {_LONGEST_QUERY:,}")
    return text or None
