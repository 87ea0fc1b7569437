"""Numbers and dates in the words of a query, and the columns that they are about."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

import polars as pl

from likewise.catalog.amounts import find_factor, is_currency, is_unit
from likewise.catalog.dates import FIRST_YEAR, LAST_YEAR
from likewise.catalog.filters import Compare, Condition, Operator, Value
from likewise.catalog.numbers import read_numbers
from likewise.catalog.text import fold_case
from likewise.retrieval.filter_columns import FilterColumn

Comparison = Literal["<", "<=", ">", ">="]

_AMOUNT = re.compile(
    r"(?P<sign>[$€£¥₹]|(?:USD|EUR|GBP|CHF)\b)?\s?"
    r"(?P<digits>\d{1,3}(?:[ '\u00a0\u202f]\d{3})+(?:[.,]\d{1,2})?|\d{1,12}(?:[.,]\d{1,12}){0,4})(?P<thousands>k\b)?",
    re.IGNORECASE | re.ASCII,
)
_PLAIN = re.compile(r"\d+(?:\.\d{1,2})?", re.ASCII)  # read at once, as most are
_UNIT = re.compile(r"\s?([$€£¥₹%]|[a-zA-Z]{1,12}\b)\.?")
_NO_UNIT = re.compile(r"\s(?:in\b|t[\s-])")  # "under 50 in black", "under 50 t-shirts"
DAY = re.compile(r"(\d{4})(?:-(\d{2})-(\d{2}))?(?![\d.,-]*\d)", re.ASCII)
LINKS = "and|or|but|with|for|und|oder|aber|et|ou|mais"
_ENDS_PHRASE = re.compile(
    rf"\s*(?:$|[,;.!?)]|\b(?:{LINKS}|in|by|from|not|without|except|each|only|please|mit|für|ohne|pour|avec|sans)\b)",
    re.IGNORECASE,
)
_PRICE_WORDS = frozenset({"price", "prices", "preis", "prix", "precio", "prezzo", "pris"})
_NO_PRICE_WORDS = frozenset(  # of amounts of money that nobody means who names none
    {"discount", "discounts", "fee", "fees", "cost", "costs", "amount", "shipping", "delivery", "postage", "tax", "vat"}
    | {"deposit", "saving", "savings", "rebate", "rabatt", "kosten", "versand", "versandkosten", "remise", "frais"}
)
fold_query = lru_cache(maxsize=1_000)(fold_case)  # a query and its parts are looked at for every column


@dataclass(frozen=True)
class Amount:
    """A number in a query, up to `end`; its unit or currency is "" where it has none."""

    end: int
    value: float
    unit: str
    digits: str


def read_amount(text: str, begin: int) -> Amount | None:
    """The number that begins here, with its sign before it or its unit behind it: "€50", "1.299,50 €", "2 kg", "1k"."""
    found = _AMOUNT.match(text, begin)
    if found is None:
        return None
    digits = found["digits"]
    number = float(digits) if _PLAIN.fullmatch(digits) else read_numbers(pl.Series([digits])).item()
    if number is None:
        return None
    unit, end = found["sign"] or "", found.end()
    if not unit and (after := find_unit(text, end)):
        unit, end = after[1], after.end(1)
    elif text[end : end + 1].isalnum():
        return None  # "50cc", "2nd"
    return Amount(end, number * (1_000 if found["thousands"] else 1), unit, digits)


def find_unit(text: str, begin: int) -> re.Match[str] | None:
    """The unit or currency that follows a number, as the first group."""
    found = _UNIT.match(text, begin)
    return found if found and is_unit(found[1]) and not _NO_UNIT.match(text, begin) else None


def choose_number_column(
    text: str, columns: Sequence[FilterColumn], start: int, amount: Amount
) -> tuple[FilterColumn, int, int, float] | None:
    """The column that a number is about, the part of the query, and the factor from its unit to the column's.

    A name next to it decides ("rating over 4", "over 100 reviews"), then the unit, then that there is a price.
    """
    numbers = [column for column in columns if column.kind in ("number", "year", "day")]
    for column in numbers:
        if (named := _find_name_before(text, start, column)) is not None:
            factor = _convert(amount.unit, column)
            return None if factor is None else (column, named, amount.end, factor)
    for column in numbers:
        after = may_name(text, column) and compile_name_patterns(column.words).after.match(text, amount.end)
        if after:
            factor = _convert(amount.unit, column)
            return None if factor is None else (column, start, after.end(), factor)
    numbers = [column for column in numbers if column.kind == "number"]
    if amount.unit and not is_currency(amount.unit):
        for column in numbers:
            if column.unit and (factor := _convert(amount.unit, column)) is not None:
                return column, start, amount.end, factor
        if amount.unit.lower() == "pounds":  # which are a mass only where the index has one
            return choose_number_column(text, columns, start, replace(amount, unit="£"))
        return None
    if not amount.unit and not _ENDS_PHRASE.match(text, amount.end):  # "over 40 watt" is about what nobody knows
        return None
    price = _choose_price_column(numbers, amount.unit)
    return (price, start, amount.end, 1.0) if price else None


def _choose_price_column(columns: Sequence[FilterColumn], currency: str) -> FilterColumn | None:
    """The column of prices that a number is about which names no column; None where several may be meant.

    Args:
        currency: of the number; "" for none.
    """
    prices = [column for column in columns if column.is_price and _NO_PRICE_WORDS.isdisjoint(column.words)]
    if currency:
        known = [column for column in prices if _find_currency(column)]
        fitting = [column for column in known if find_factor(currency, _find_currency(column)) == 1.0]
        prices = fitting or [column for column in prices if column not in known]
    named = [column for column in prices if not _PRICE_WORDS.isdisjoint(column.words)]
    plain = [column for column in named if sum(not is_currency(word) for word in column.words) == 1]
    best = plain or named or prices
    return best[0] if len(best) == 1 else None


def _find_currency(column: FilterColumn) -> str:
    """The currency of a column, by its cells or its name; "" where neither says."""
    return column.unit if is_currency(column.unit) else next(filter(is_currency, column.words), "")


def _convert(unit: str, column: FilterColumn) -> float | None:
    own = column.unit or _find_currency(column)
    if not unit or not own:
        return 1.0 if not unit or not is_currency(unit) or column.is_price else None
    return find_factor(unit, own)


def choose_date_column(text: str, columns: Sequence[FilterColumn], start: int) -> tuple[FilterColumn, int] | None:
    """The column that a date is about: the one named before it, else the only one, not counting created_at and such."""
    dates = [column for column in columns if column.kind in ("year", "date", "day")]
    for column in dates:
        if (named := _find_name_before(text, start, column)) is not None:
            return column, named
    candidates = [column for column in dates if not column.is_event] or dates
    return (candidates[0], start) if len(candidates) == 1 else None


def _find_name_before(text: str, start: int, column: FilterColumn) -> int | None:
    """Where the column's name begins, if it stands right before `start`: "price under 50", "a price of under 50"."""
    if not may_name(text, column):
        return None
    found = compile_name_patterns(column.words).before.search(text[:start])
    return found.start() if found else None


def may_name(text: str, column: FilterColumn) -> bool:
    """Whether a query may have a column's name; a quick test, as an index may have hundreds of columns."""
    return bool(column.words) and column.words[0] in fold_query(text)


@dataclass(frozen=True)
class NamePatterns:
    """Patterns of a column's name.

    Attributes:
        name: the words of the name, however they are joined.
        before: a name that ends where a comparison begins.
        after: a name that follows a number.
    """

    name: str
    before: re.Pattern[str]
    after: re.Pattern[str]


@lru_cache(maxsize=10_000)
def compile_name_patterns(words: tuple[str, ...]) -> NamePatterns:
    """Compile the patterns of a name of at least one word."""
    name = r"[\s_-]*".join(map(re.escape, words))
    before = rf"(?:\b(?:with|having|mit|avec)\s+(?:an?\s+|the\s+)?)?\b{name}\s*(?:is|of|:|,)?\s*$"
    return NamePatterns(name, re.compile(before, re.IGNORECASE), re.compile(rf"\s*{name}\b", re.IGNORECASE))


def can_match(column: FilterColumn, operator: Comparison, number: float) -> bool:
    """Whether a comparison can be true for any item, as far as the column's range is known."""
    if column.least is None or column.greatest is None:
        return True
    below = {"<": column.least < number, "<=": column.least <= number}
    return {**below, ">": column.greatest > number, ">=": column.greatest >= number}[operator]


def compare_number(column: FilterColumn, operator: Comparison, number: float) -> Condition:
    """A comparison with a number, rounded to ten decimals, which converted units would exceed."""
    rounded = round(number, 10)
    return Compare(column.name, operator, int(rounded) if rounded == int(rounded) else rounded)


def compare_date(column: FilterColumn, operator: Comparison, found: re.Match[str]) -> Condition | None:
    """A comparison with a year or a day; None where there is no such day.

    ISO dates compare as texts, of which "2020" comes before every other day of 2020. So "after 2020" is ">= 2021".
    """
    year = int(found[1])
    if not FIRST_YEAR <= year < LAST_YEAR:
        return None
    if column.kind == "year":
        return Compare(column.name, operator, year) if found[2] is None else None
    try:
        first = date(year, int(found[2] or 1), int(found[3] or 1))
    except ValueError:
        return None
    behind = date(year + 1, 1, 1) if found[2] is None else first + timedelta(days=1)
    bound = first if operator in (">=", "<") else behind
    sided: Operator = ">=" if operator in (">=", ">") else "<"
    value: Value
    if column.kind == "day":
        value = 10_000 * bound.year + 100 * bound.month + bound.day
    else:
        value = str(bound.year) if found[2] is None else bound.isoformat()
    return Compare(column.name, sided, value)
