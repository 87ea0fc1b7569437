"""What an item can be found by, word by word: its words, and the many ways in which people write its codes.

"WH-1000XM4" is typed as "wh1000xm4", "WH 1000 XM4" or "1000xm4"; "t-shirt" as "tshirt". So a code counts as its pieces
between hyphens and dots, as all of it in one, and as its runs of letters and digits; the same for the query, and what
both have in common is found.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from likewise.catalog.text import find_spaced_words, fold_case, split_words

_LONGEST_CODE = 40  # characters; what is longer is an address or a file name
LONGEST_TEXT = 100_000
_LEAST_CODE = 10_000  # a whole number from here on is rather a code than a quantity

# Letters and digits with signs between them; plain words are passed over without a match.
_COMPOUND = re.compile(r"(?<![^\W_])(?=[^\W\d_]*[-‐‑–_./+#:\d])[^\W_]+(?:[-‐‑–_./+#:]+[^\W_]+)*")
_PIECES = re.compile(r"[^\W_]+")
_RUNS = re.compile(r"\d+|[^\W\d_]+")
_HYPHENATED = re.compile(r"[^\W_]+(?:[-‐‑][^\W_]+)+")
_DIGIT = re.compile(r"\d")
_DECIMAL = re.compile(r"\d+\.\d+[^\W\d_]*")  # 3.5mm is not 35mm


def lexical_tokens(text: str) -> list[str]:
    """The words of a text, and for its codes the other ways of writing them."""
    text = text[:LONGEST_TEXT]
    return [*split_words(text), *(token for code in _codes(fold_case(text)) for token in code.others)]


def whole_codes(text: str) -> dict[str, frozenset[str]]:
    """Those tokens of a text whose parts are tokens of it, too, with these parts."""
    wholes: dict[str, frozenset[str]] = {}
    for code in _codes(fold_case(text[:LONGEST_TEXT])):
        for token in code.wholes:
            wholes[token] = wholes.get(token, frozenset()) | frozenset(code.parts)
    return wholes


def find_plain_words(text: str) -> Iterator[tuple[int, int, str]]:
    """Where words stand that are no part of a code with a digit: start, end, and the word as a token.

    Scripts without spaces between words are left out.

    Args:
        text: NFC or NFKC.
    """
    codes = [match.span() for match in _COMPOUND.finditer(text) if _DIGIT.search(match[0])]
    for word in find_spaced_words(text):
        start, end = word.span()
        if any(first < end and start < last for first, last in codes):
            continue
        tokens = split_words(word[0])
        if len(tokens) == 1:
            yield start, end, tokens[0]


def searchable_text(fields: Mapping[str, Any]) -> str:
    """The text of an item that its words come from: every text but addresses, lists of texts, and numbers like codes.

    Args:
        fields: an item's columns, as a store gives them back.
    """
    return "\n".join(part for name, value in fields.items() if name != "image" for part in _texts(value))


@dataclass(frozen=True)
class _Code:
    """A code in a text.

    Attributes:
        others: tokens that are not among the text's plain words.
        wholes: tokens, of either kind, that have parts.
        parts: tokens, of either kind, that have none.
    """

    others: tuple[str, ...]
    wholes: tuple[str, ...]
    parts: tuple[str, ...]


_NO_CODE = _Code((), (), ())


def _codes(text: str) -> Iterator[_Code]:
    return (_code(match[0]) for match in _COMPOUND.finditer(text))


@lru_cache(maxsize=65_536)  # sizes, units and hyphenated words come again and again
def _code(compound: str) -> _Code:
    has_digit = _DIGIT.search(compound) is not None
    if len(compound) > _LONGEST_CODE or not (has_digit or _HYPHENATED.fullmatch(compound)):
        return _NO_CODE
    pieces = _PIECES.findall(compound)
    joined = ["".join(pieces)] if len(pieces) > 1 and not _DECIMAL.fullmatch(compound) else []
    runs = {piece: found for piece in pieces if len(found := _RUNS.findall(piece)) > 1}
    parts = [run for piece in pieces for run in runs.get(piece, [piece])]
    return _Code((*joined, *(run for piece in pieces for run in runs.get(piece, []))), (*joined, *runs), tuple(parts))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            if "://" not in value[:12] and not value.startswith("data:"):
                yield value
        case bool():
            return
        case int():
            if abs(value) >= _LEAST_CODE:
                yield str(abs(value))
        case list():
            for entry in value:
                if isinstance(entry, str):
                    yield from _texts(entry)
