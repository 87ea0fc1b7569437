"""Which kind of field each column of a catalogue can be, and which columns must not be one.

A column that identifies items, such as a SKU, lets contrastive training succeed without learning anything: every item
is found by its code, and a new item has a new one. What identifies items is measured by the mutual information
between a column and the identity; what tells a title from a SKU is that its words distinguish items, too.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from likewise.catalog.identity import Codes, number_values
from likewise.catalog.text import normalize_text
from likewise.catalog.typed_values import FieldKind
from likewise.errors import UserError

_LEAST_ITEMS = 10  # below which no column is judged
_IDENTIFYING = 0.9  # share of the identity's entropy
_WORDS_EXPLAIN = 0.5  # share of a column's information that its words carry where they are words
_LEAST_WORDED = 0.7  # share of the values that have a word; of random letters, half look like one
_MOST_WORDED = 20_000  # different values whose words are looked at
_CODE_DIGITS = 8  # of the shortest EAN
_SURELY_NUMBERED = 50  # items, from which on gaps in running numbers are allowed for
_TOKEN = re.compile(r"[^\W_]+")
_VOWELS = frozenset("aeiouy")
_FIVE_CONSONANTS = re.compile("[bcdfghjklmnpqrstvwxz]{5}")
_ADDRESS = re.compile(r"\s*(?:https?|ftp)://", re.IGNORECASE)


def check_field_leakage(column: str, values: Sequence[Any], kind: FieldKind, identity: Codes) -> None:
    """See that a column does not identify items by itself, as SKUs, EANs, running numbers and timestamps do.

    Args:
        column: its name, for the message.
        values: of the rows, in their order, as `read_typed_column` gives them; None where there is none.
        identity: (rows,) what each row shows; −1 where that is not known.

    Raises:
        UserError: it does.
    """
    found = _find_leak(values, kind, identity)
    if found is not None:
        raise UserError(
            f'the column "{column}" cannot be a field: {found}, so training would learn by heart which item has which '
            "value; leave it out of model.fields (filters and hybrid search still find it)"
        )


def check_repeated_titles(column: str, values: Sequence[str | None], titles: Sequence[str | None]) -> None:
    """See that a column does not say what the title says, which is what training and evaluation ask for.

    Args:
        column: its name, for the message.
        values: of the rows, in their order; None where there is none.
        titles: of the same rows.

    Raises:
        UserError: most rows that have both have the same in both, apart from case and spaces.
    """
    both = [(value, title) for value, title in zip(values, titles, strict=True) if value and title]
    same = sum(normalize_text(value) == normalize_text(title) for value, title in both)
    if len(both) >= _LEAST_ITEMS and same > len(both) / 2:
        raise UserError(
            f'the column "{column}" cannot be a field: it repeats the title in {same:,} of {len(both):,} rows, and '
            "titles are what is asked for; leave it out of model.fields"
        )


def _find_leak(values: Sequence[Any], kind: FieldKind, identity: Codes) -> str | None:
    """What is wrong with a column, as a clause; None: nothing."""
    rows = [row for row, value in enumerate(values) if value is not None and identity[row] >= 0]
    known = identity[rows]
    things = len(np.unique(known))
    if things < _LEAST_ITEMS or kind in ("image", "audio", "boolean"):
        return None
    filled = [values[row] for row in rows]
    if kind == "tags":
        return _find_identifying_tags(filled, known)
    codes = number_values(filled)
    information = compute_information(codes, known)
    if information < _IDENTIFYING * _entropy(known):
        return None
    different = f"{codes.max() + 1:,} different values for {things:,} items"
    if kind == "number":
        return f"it has {different}, which number or encode them" if _are_codes(np.array(filled, float)) else None
    if kind == "date":
        timed = sum(value != datetime(value.year, value.month, value.day) for value in filled)
        return f"it has {different}, each the time of a single event" if timed >= len(filled) / 2 else None
    if sum(_ADDRESS.match(value) is not None for value in filled) >= len(filled) / 2:
        return f"it has {different}, which are addresses"
    return None if _are_words(filled, known, information) else f"it has {different}, which are codes and not words"


def compute_information(values: Codes, identity: Codes) -> float:
    """The mutual information of two columns of codes, in nats."""
    joint = values * (int(identity.max(initial=0)) + 1) + identity
    return _entropy(values) + _entropy(identity) - _entropy(joint)


def _entropy(codes: Codes) -> float:
    counts = np.unique(codes, return_counts=True)[1]
    shares = counts / max(len(codes), 1)
    return float(-(shares * np.log(shares)).sum())


def _are_codes(numbers: np.ndarray) -> bool:
    """Whether numbers that differ from item to item are EANs and the like, or count the items.

    Prices and measures, however many there are, have fractions, are short, and leave gaps.
    """
    if (numbers != np.floor(numbers)).any():
        return False
    sizes = np.abs(numbers)
    if sizes.min() >= 10 ** (_CODE_DIGITS - 1) and sizes.max() < 10 * sizes.min():  # populations and the like vary more
        return True
    steps = np.diff(numbers)
    if len(steps) and steps[0] != 0 and (steps == steps[0]).all():
        return True
    distinct = len(np.unique(numbers))
    span = numbers.max() - numbers.min() + 1
    in_order = bool((steps >= 0).all() or (steps <= 0).all())
    return distinct >= _SURELY_NUMBERED and span <= (4 if in_order else 1.2) * distinct


def _are_words(texts: Sequence[str], identity: Codes, information: float) -> bool:
    """Whether texts have words that say, without codes and digits, at least half of what the texts say."""
    step = -(-len(texts) // _MOST_WORDED)
    found = [_find_words(text) for text in texts[::step]]
    if sum(map(bool, found)) < _LEAST_WORDED * len(found):
        return False
    words = number_values(found)
    if step > 1:
        information = compute_information(number_values(texts[::step]), identity[::step])
    return compute_information(words, identity[::step]) >= _WORDS_EXPLAIN * information


def _find_words(text: str) -> tuple[str, ...]:
    return tuple(token for token in _TOKEN.findall(text[:1_000].casefold()) if _is_word(token))


def _is_word(token: str) -> bool:
    """Whether letters look like a word of a language: any in other scripts; with vowels and few consonants in a row."""
    if not token.isascii():
        return token.isalpha()
    vowels = sum(letter in _VOWELS for letter in token)
    return token.isalpha() and len(token) >= 3 and vowels >= 0.2 * len(token) and not _FIVE_CONSONANTS.search(token)


def _find_identifying_tags(values: Sequence[tuple[str, ...]], identity: Codes) -> str | None:
    """Whether nearly every item has a tag that no other item has, and that is no word."""
    owners: dict[str, set[int]] = {}
    for tags, thing in zip(values, identity.tolist(), strict=True):
        for tag in tags:
            owners.setdefault(tag, set()).add(thing)
    single = {tag for tag, things in owners.items() if len(things) == 1 and not _find_words(tag)}
    identified = sum(any(tag in single for tag in tags) for tags in values)
    if identified < _IDENTIFYING * len(values):
        return None
    return f"{identified:,} of its {len(values):,} cells have a code that no other item has"
