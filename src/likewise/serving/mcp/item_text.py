"""Texts of items as a language model may get them: without invisible characters, bounded, and only ever inside JSON.

A catalogue is written by strangers. Whoever reads the results may be a model that follows instructions, so item texts
never stand outside a quoted JSON value, and what a person would not see in them is dropped.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

# Controls but tab and line feed, invisible and bidirectional formatting, halves of characters, and the "tag" and
# variation characters beyond, which spell out texts that nobody sees. Joiners stay: scripts and emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_HALVES = re.compile("[\ud800-\udfff]")
_MOST_FIELDS = 100
_MOST_ENTRIES = 50  # of a list or an object
_DEEPEST = 4  # levels of lists and objects in a cell
_LONGEST_NAME = 200  # of a column, or a key of an object


def clean(text: str, longest: int) -> str:
    """A text without unseen characters; one that is longer than `longest` is cut and says so."""
    most_read = 2 * longest + 100  # of a text of any length
    seen = _UNSEEN.sub("", text[:most_read])
    if len(seen) <= longest and len(text) <= most_read:
        return seen
    return f"{seen[:longest]}… ({len(text):,} characters)"


def clean_id(id: str) -> str:
    """An id as it is, since it is given back to ask for the item; JSON cannot hold halves of characters."""
    return _HALVES.sub("\ufffd", id)


def clean_fields(fields: Mapping[str, Any], *, longest: int, most: int) -> dict[str, Any]:
    """The cells of an item that are not blank, as JSON values without unseen characters.

    Args:
        longest: characters of a text; longer ones are cut.
        most: characters of all of them together; the columns beyond are omitted and counted under "…".
    """
    shown: dict[str, Any] = {}
    filled = [(name, value) for name, value in fields.items() if name != "id" and value not in (None, "", [], {})]
    left = most
    for number, (name, value) in enumerate(filled):
        cell = _clean_value(value, longest, _DEEPEST)
        left -= len(name) + len(json.dumps(cell, ensure_ascii=False))
        if left < 0 or number == _MOST_FIELDS:
            shown["…"] = f"{len(filled) - number:,} more columns"
            break
        shown[clean(name, _LONGEST_NAME)] = cell
    return shown


def _clean_value(value: Any, longest: int, levels: int) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int():
            return value
        case list() | tuple() if levels:
            entries = [_clean_value(entry, longest, levels - 1) for entry in value[:_MOST_ENTRIES]]
            return entries if len(value) <= _MOST_ENTRIES else [*entries, f"… ({len(value):,} entries)"]
        case dict() if levels:
            entries = list(value.items())[:_MOST_ENTRIES]
            return {clean(str(key), _LONGEST_NAME): _clean_value(entry, longest, levels - 1) for key, entry in entries}
        case _:
            return clean(str(value), longest)
