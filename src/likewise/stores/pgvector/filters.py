"""Texts, ids and conditions as PostgreSQL compares them.

A text of PostgreSQL may hold any character but NUL. So NUL is written as \\x01\\x01, and \\x01 as \\x01\\x02: all other
texts stay what they are, the order of code points does too, and it can be undone.
"""

import hashlib
import re

from likewise.catalog.filters import Condition, Value
from likewise.stores.sql import where

ESCAPED = {"\x00": "\x01\x01", "\x01": "\x01\x02"}
_PLAIN = {pair: character for character, pair in ESCAPED.items()}
_TABLE = str.maketrans(ESCAPED)
_PAIR = re.compile("\x01[\x01\x02]")


def escape(text: str) -> str:
    """A text as PostgreSQL takes it."""
    return text.translate(_TABLE) if "\x00" in text or "\x01" in text else text


def unescape(text: str) -> str:
    """The text that `escape` was given."""
    return _PAIR.sub(lambda pair: _PLAIN[pair[0]], text) if "\x01" in text else text


def item_key(id: str) -> bytes:
    """What an item is found by, 32 bytes, since an index takes no text of more than 2,704 bytes."""
    return hashlib.sha256(id.encode("utf-8", errors="surrogatepass")).digest()


def where_clause(condition: Condition | None, parameters: list[object]) -> str:
    """A condition in its normal form (see conditions.py), or nothing; its parameters are added to the list."""
    if condition is None:
        return ""

    def placeholder(value: Value) -> str:
        parameters.append(escape(value) if isinstance(value, str) else value)
        return "%s"

    return f" WHERE {where(condition, placeholder)}"
