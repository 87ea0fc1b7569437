"""Texts and conditions as Milvus compares them.

Milvus reads filters as text, with rules for quotes, escapes and Unicode that differ between its versions, and its text
fields hold 65,535 bytes. So texts are stored and compared as keys: ASCII letters, digits, "-" and "_" that sort as the
texts' code points do. What people read is kept in the field "fields".
"""

import base64
import hashlib

from likewise.catalog.filters import And, Compare, Condition, IsNull, Not, OneOf, Or, Value
from likewise.errors import UserError
from likewise.stores.schema import ID

LONGEST_KEY = 64_100  # characters
LONGEST_TEXT = 48_000  # bytes of UTF-8 in a key; of longer texts a digest stands for the rest

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SORTED = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_TO_KEY, _FROM_KEY = bytes.maketrans(_BASE64, _SORTED), bytes.maketrans(_SORTED, _BASE64)


def text_key(text: str) -> str:
    """A text as a key: different texts have different keys, and those of up to `LONGEST_TEXT` bytes their order."""
    data = text.encode()
    key = _encode_ordered(data[:LONGEST_TEXT])
    return key if len(data) <= LONGEST_TEXT else key + _encode_ordered(hashlib.sha256(data).digest())


def key_text(key: str) -> str:
    """The text of a key, which must not have been longer than `LONGEST_TEXT`."""
    return base64.b64decode(key.encode().translate(_FROM_KEY) + b"=" * (-len(key) % 4)).decode()


def expression(condition: Condition) -> str:
    """A condition in its normal form (see conditions.py) as a Milvus filter.

    Raises:
        UserError: it asks for the order of a text that is longer than keys tell.
    """
    match condition:
        case And(parts):
            return " and ".join(f"({expression(part)})" for part in parts)
        case Or(parts):
            return " or ".join(f"({expression(part)})" for part in parts)
        case IsNull(column):
            return f"{column} is null"
        case Not(IsNull(column)):
            return f"{column} is not null"
        case OneOf(column, values):
            return f"{column} in {_list(values)}"
        case Not(OneOf(column, values)):
            return _test_filled(column, f"{column} not in {_list(values)}")
        case Compare(column, "!=", value):
            return _test_filled(column, f"{column} != {_literal(value)}")
        case Compare(column, operator, value):
            if operator != "==" and isinstance(value, str) and len(value.encode()) > LONGEST_TEXT:
                raise UserError(f"a Milvus store tells the order of texts of at most {LONGEST_TEXT:,} bytes")
            return f"{column} {operator} {_literal(value)}"
        case _:
            raise AssertionError(f"no normal form: {condition}")


def _test_filled(column: str, comparison: str) -> str:
    """Not every version of Milvus leaves blank cells out by itself."""
    return comparison if column == ID else f"({column} is not null and {comparison})"


def _list(values: tuple[Value, ...]) -> str:
    return f"[{', '.join(map(_literal, values))}]"


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return f'"{text_key(value)}"'
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _encode_ordered(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").translate(_TO_KEY).decode()
