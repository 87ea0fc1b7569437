"""Judgements that people make while they search: a file of JSON lines that only grows.

A line is an object such as

    {"query": "red shoes", "image": null, "id": "sku-1", "relevance": 1, "time": "2026-01-31T12:30:00.000Z",
     "judge": "anna", "note": null}

where `judge` may be null, `image` is a path from the file's folder, and a `relevance` of null withdraws what the judge
has said of this item before. Of the same query, item and judge the last line counts; what several judges say of an item
is averaged.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likewise.errors import UserError
from likewise.evaluation.judgments.judged_table import Judgement
from likewise.evaluation.judgments.strangers_text import grade, query_text, read_bytes
from likewise.parsing import parse_json

_OWN_NAMES = frozenset({"query", "id", "relevance", "time", "judge"})  # no table of judged queries has all of them
_SNIFFED = 200_000  # bytes: room for the longest first line
_LONGEST_CELL = 10_000  # characters

Key = tuple[str | None, str | None, str, str | None]


@dataclass(frozen=True)
class LoggedJudgement:
    """A line of the file.

    Attributes:
        text, image: the words and the picture of the query, one of which may be None.
        item: the id of the item.
        relevance: 0: not relevant; 1: relevant; 2: the right answer; None: withdrawn.
        time: when it was made, in ISO 8601.
        judge: who made it; None: somebody on a server without keys.
        note: what else the judge said.
    """

    text: str | None
    image: str | None
    item: str
    relevance: float | None
    time: str
    judge: str | None = None
    note: str | None = None

    @property
    def key(self) -> Key:
        """What a later judgement has to share in order to take the place of this one."""
        return self.text, self.image, self.item, self.judge

    def to_line(self) -> bytes:
        """The line, with its line feed."""
        row = {
            "query": self.text,
            "image": self.image,
            "id": self.item,
            "relevance": self.relevance,
            "time": self.time,
            "judge": self.judge,
            "note": self.note,
        }
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def is_judgement_log(path: Path) -> bool:
    """Whether a file begins with a judgement as `likewise serve --judge` writes it."""
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        return False
    try:
        with path.open("rb") as file:
            row = parse_json(file.read(_SNIFFED).lstrip().partition(b"\n")[0])
    except (OSError, ValueError):
        return False
    return isinstance(row, dict) and row.keys() >= _OWN_NAMES


def read_judgement_log(path: Path) -> tuple[list[Judgement], list[str]]:
    """Read the judgements that count.

    Returns:
        One for each query and item, with the mean of what its judges say, and sentences on what was left out.

    Raises:
        UserError: the file cannot be read, or a line is no judgement.
    """
    lines, tail = split_lines(read_bytes(path))
    logged = [parse_line(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    notes = []
    if tail:
        notes.append(f"the last line of {path.name} was not written to its end and is left out")
    return average(keep_last(logged).values()), notes


def split_lines(data: bytes) -> tuple[list[bytes], bytes]:
    """Split a file into its lines, and what its last write left behind if that was broken off.

    A last line that lacks nothing but its line feed is a line.
    """
    *lines, tail = data.split(b"\n")
    if tail.strip():
        try:
            parse_json(tail)
        except ValueError:
            return lines, tail
        lines.append(tail)
    return lines, b""


def parse_line(line: bytes, where: str) -> LoggedJudgement:
    """Parse one line.

    Raises:
        UserError: it is no judgement; the message begins with `where`.
    """
    try:
        row = parse_json(line.decode("utf-8"))
    except ValueError:
        raise UserError(f"{where}: this is not JSON") from None
    if not isinstance(row, dict) or not row.keys() >= _OWN_NAMES:
        raise UserError(f"{where}: a judgement is an object with {', '.join(sorted(_OWN_NAMES))}")
    text, image = query_text(row["query"], where), query_text(row.get("image"), where)
    item = _text(row["id"], "id", where)
    if item is None or (text is None and image is None):
        raise UserError(f"{where}: a judgement needs a query or an image, and the id of an item")
    judged = LoggedJudgement(
        text,
        image,
        item,
        None if row["relevance"] is None else grade(row["relevance"], where),
        _text(row["time"], "time", where) or "",
        _text(row["judge"], "judge", where),
        _text(row.get("note"), "note", where),
    )
    try:
        judged.to_line()
    except UnicodeEncodeError:
        raise UserError(f"{where}: half of a surrogate pair is no text") from None
    return judged


def _text(value: Any, name: str, where: str) -> str | None:
    if value is None or isinstance(value, str):
        if value is not None and len(value) > _LONGEST_CELL:
            raise UserError(f"{where}: {name} has more than {_LONGEST_CELL:,} characters")
        return value or None
    raise UserError(f"{where}: {name} is a text or null")


def keep_last(logged: Iterable[LoggedJudgement]) -> dict[Key, LoggedJudgement]:
    """The judgements that count, in the order in which they were first made."""
    kept: dict[Key, LoggedJudgement] = {}
    for one in logged:
        if one.relevance is None:
            kept.pop(one.key, None)
        else:
            kept[one.key] = one
    return kept


def average(logged: Iterable[LoggedJudgement]) -> list[Judgement]:
    """One judgement for each query and item: the mean of its judges'."""
    said: dict[tuple[str | None, str | None, str], list[float]] = {}
    for one in logged:
        if one.relevance is not None:
            said.setdefault((one.text, one.image, one.item), []).append(max(one.relevance, 0.0))
    return [Judgement(*asked, sum(grades) / len(grades)) for asked, grades in said.items()]
