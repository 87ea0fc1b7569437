"""Filters that the words of a query suggest: "red shoes under 50" means red shoes whose price is below 50.

These are rules over the columns of an index, in English with the comparisons of German and French. They only suggest:
whoever searches decides whether a filter applies, so a rule that reads a query wrongly costs nothing.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

import polars as pl

from likewise.catalog.amounts import find_factor, is_currency, is_unit
from likewise.catalog.columns import COLUMNS
from likewise.catalog.dates import FIRST_YEAR, LAST_YEAR
from likewise.catalog.field_inference import split_name
from likewise.catalog.filters import And, Compare, Condition, Not, OneOf, Operator, Value, parse_filter
from likewise.catalog.numbers import read_numbers
from likewise.catalog.text import fold_case
from likewise.retrieval.filter_columns import FilterColumn

LONGEST_QUERY = 300  # characters; whoever writes more does not write a search
_MOST_WORDS = 5  # of a category's value

Comparison = Literal["<", "<=", ">", ">="]

_NUMBER_CUES: dict[Comparison, str] = {
    "<": r"under|below|less than|cheaper than|lower than|fewer than|smaller than|lighter than|shorter than|<"
    r"|unter|weniger als|billiger als|günstiger als|moins de|moins cher que",
    "<=": r"up to|at most|no more than|not more than|not over|not above|maximum of|max\. of|<=|≤|bis zu|bis|höchstens"
    r"|jusqu'à|au plus",
    ">": r"over|above|more than|greater than|higher than|larger than|heavier than|longer than|>|über|mehr als|plus de",
    ">=": r"at least|no less than|not less than|not under|not below|minimum of|min\. of|starting at|from|>=|≥|ab"
    r"|mindestens|au moins|à partir de",
}
_DATE_CUES: dict[Comparison, str] = {
    ">=": r"since|seit|depuis",
    ">": r"after|newer than|later than|younger than|nach|après",
    "<": r"before|older than|earlier than|vor|avant",
    "<=": r"until|till|up to|bis|jusqu'à",
}
_NEGATIONS = r"but not|not|no|without|except|excluding|nicht|ohne|keine?|sauf|sans"
_PLACES = r"in|by|from|of|made by|in the colou?r|made of|von|aus|de|en"  # "in black", "by Acme"

_AMOUNT = re.compile(
    r"(?P<sign>[$€£¥₹]|(?:USD|EUR|GBP|CHF)\b)?\s?"
    r"(?P<digits>\d{1,3}(?:[ '\u00a0\u202f]\d{3})+(?:[.,]\d{1,2})?|\d{1,12}(?:[.,]\d{1,12}){0,4})(?P<thousands>k\b)?",
    re.IGNORECASE | re.ASCII,
)
_PLAIN = re.compile(r"\d+(?:\.\d{1,2})?", re.ASCII)  # read at once, as most are
_UNIT = re.compile(r"\s?([$€£¥₹%]|[a-zA-Z]{1,12}\b)\.?")
_NO_UNIT = re.compile(r"\s(?:in\b|t[\s-])")  # "under 50 in black", "under 50 t-shirts"
_DAY = re.compile(r"(\d{4})(?:-(\d{2})-(\d{2}))?(?![\d.,-]*\d)", re.ASCII)
_WORD = re.compile(r"[^\s,;()\"“”?!]+")
_AND = re.compile(r"\s*(?:,|/|\bor\b|\band\b|\boder\b|\bund\b|\bou\b|\bet\b)+\s*", re.IGNORECASE)
_LINKS = "and|or|but|with|for|und|oder|aber|et|ou|mais"
_LINK = re.compile(rf"\s*(?:,|;|\b(?:{_LINKS})\b)\s*", re.IGNORECASE)
_ENDS_PHRASE = re.compile(
    rf"\s*(?:$|[,;.!?)]|\b(?:{_LINKS}|in|by|from|not|without|except|each|only|please|mit|für|ohne|pour|avec|sans)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FilterSuggestion:
    """A filter that the words of a query suggest.

    Attributes:
        filter: a filter of the index, such as 'price < 50'.
        text: the query without the words that the filter stands for; all of it where nothing else would remain.
        because: how these words are read, a sentence without full stop.
    """

    filter: str
    text: str
    because: str

    def join(self, where: str | None) -> str:
        """The suggested filter together with another one, which items have to meet, too.

        Raises:
            UserError: the other one is no filter.
        """
        if where is None or not where.strip():
            return self.filter
        parts: list[Condition] = []
        for condition in (parse_filter(where), parse_filter(self.filter)):
            parts += condition.parts if isinstance(condition, And) else (condition,)
        return str(And(tuple(parts)))


@dataclass(frozen=True)
class _Reading:
    """A condition, and the part of the query from `start` to `end` that it stands for."""

    start: int
    end: int
    condition: Condition


@dataclass(frozen=True)
class _Amount:
    """A number in a query, up to `end`; its unit or currency is "" where it has none."""

    end: int
    value: float
    unit: str
    digits: str


def may_suggest_filter(text: str, columns: Iterable[str]) -> bool:
    """Whether a query has a word, a digit or a column's name with which a rule begins; a quick test.

    Args:
        columns: the names of all columns.
    """
    if len(text) > LONGEST_QUERY:
        return False
    if _ANY_CUE.search(text):
        return True
    folded = fold_case(text)
    return any(_first_word(name) in folded for name in columns if name not in COLUMNS)


@lru_cache(maxsize=10_000)
def _first_word(column: str) -> str:
    """The first word of a column's name; a text that no query has where the name has none."""
    return next(iter(split_name(column)), "\0")


def suggest_filter(text: str, columns: Sequence[FilterColumn]) -> FilterSuggestion | None:
    """Suggest a filter for a query; None where its words name none.

    Args:
        columns: as `read_filter_columns` gives them.
    """
    if len(text) > LONGEST_QUERY:
        return None
    readings: list[_Reading] = []
    for find in _RULES:
        for reading in find(text, columns):
            if all(reading.end <= other.start or other.end <= reading.start for other in readings):
                readings.append(reading)
    if not readings:
        return None
    readings.sort(key=lambda reading: reading.start)
    conditions: list[Condition] = []
    for reading in readings:
        conditions += reading.condition.parts if isinstance(reading.condition, And) else (reading.condition,)
    conditions = list(dict.fromkeys(conditions))
    because = "; ".join(f"“{text[part.start : part.end]}” is read as {part.condition}" for part in readings)
    condition = conditions[0] if len(conditions) == 1 else And(tuple(conditions))
    return FilterSuggestion(str(condition), _cut_out(text, readings) or text.strip(), because)


def _find_ranges(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "between 20 and 50", "from 2010 to 2015", "$20-50"."""
    for found in _RANGE.finditer(text):
        least = _read_amount(text, found.end())
        link = _TO.match(text, least.end) if least else None
        greatest = _read_amount(text, link.end()) if link else None
        if least is None or greatest is None:
            continue
        if not found["cue"] and not (is_currency(least.unit) or is_currency(greatest.unit)):
            continue
        if not least.unit or not greatest.unit:
            unit = least.unit or greatest.unit
            least, greatest = replace(least, unit=unit), replace(greatest, unit=unit)
        low, high = sorted((least, greatest), key=lambda amount: amount.value)
        yield from _read_range(text, columns, found.start(), greatest.end, low, high)


def _read_range(
    text: str, columns: Sequence[FilterColumn], start: int, end: int, least: _Amount, greatest: _Amount
) -> Iterator[_Reading]:
    days = [_DAY.fullmatch(amount.digits) for amount in (least, greatest)]
    if not least.unit and days[0] and days[1] and (chosen := _choose_date_column(text, columns, start)):
        column, start = chosen
        bounds = [_compare_date(column, ">=", days[0]), _compare_date(column, "<=", days[1])]
        if None not in bounds:
            yield _Reading(start, end, And(tuple(bound for bound in bounds if bound)))
    elif chosen_number := _choose_number_column(text, columns, start, replace(greatest, end=end)):
        column, start, end, factor = chosen_number
        low, high = (amount.value * factor for amount in (least, greatest))
        if _can_match(column, ">=", low) and _can_match(column, "<=", high):
            yield _Reading(start, end, And((_compare(column, ">=", low), _compare(column, "<=", high))))


def _find_dates(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "since 2020", "before 2021-05-01", "in 1999"."""
    for found in _DATE.finditer(text):
        day = _DAY.match(text, found.end())
        chosen = _choose_date_column(text, columns, found.start("cue")) if day else None
        if day is None or chosen is None or ((unit := _UNIT.match(text, day.end())) and is_unit(unit[1])):
            continue
        column, start = chosen
        operator = _find_operator(found["cue"], _DATE_CUES)
        if operator is not None:
            condition = _compare_date(column, operator, day)
        else:
            bounds = _compare_date(column, ">=", day), _compare_date(column, "<=", day)
            condition = And(bounds) if bounds[0] and bounds[1] else None  # type: ignore[arg-type]
            if column.kind == "year":
                condition = Compare(column.name, "==", int(day[1]))
        if condition is not None:
            yield _Reading(start, day.end(), condition)


def _find_comparisons(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "under 50", "at least 2 kg", "rating over 4"."""
    for found in _COMPARISON.finditer(text):
        amount = _read_amount(text, found.end())
        operator = _find_operator(found["cue"], _NUMBER_CUES)
        if amount is None or operator is None:
            continue
        if chosen := _choose_number_column(text, columns, found.start("cue"), amount):
            column, start, end, factor = chosen
            if _can_match(column, operator, amount.value * factor):
                yield _Reading(start, end, _compare(column, operator, amount.value * factor))


def _find_bare_prices(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "€50" and "50 euros", which are read as what somebody wants to pay at most."""
    for found in re.finditer(r"(?<![\w.,])(?=[$€£¥₹\dUEGC])", text):
        amount = _read_amount(text, found.end())
        if amount is None or not is_currency(amount.unit):
            continue
        start = found.start()
        if before := re.search(r"\b(?:for|à|für)\s+$", text[:start], re.IGNORECASE):
            start = before.start()
        if chosen := _choose_number_column(text, columns, start, amount):
            column, start, end, factor = chosen
            if _can_match(column, "<=", amount.value * factor):
                yield _Reading(start, end, _compare(column, "<=", amount.value * factor))


def _find_categories(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "in black or white", "by Acme", "brand Acme", "not red"."""
    categories = [column for column in columns if column.kind == "category"]
    if not categories:
        return
    for found in _PLACE.finditer(text):
        if reading := _read_categories(text, found.start(), found.end(), categories, negated=bool(found["not"])):
            yield reading
    for column in categories:
        if not column.words:
            continue
        prefix = rf"(?:(?P<not>{_NEGATIONS})\s+)?(?:(?:{_PLACES}|with)\s+(?:the\s+|an?\s+)?)?"
        named = rf"(?<!\w){prefix}{_name_pattern(column)}\s*(?::|=|\bis\b)?\s+"
        for found in re.finditer(named, text, re.IGNORECASE):
            if reading := _read_categories(text, found.start(), found.end(), [column], negated=bool(found["not"])):
                yield reading


def _read_categories(
    text: str, start: int, begin: int, columns: Sequence[FilterColumn], negated: bool
) -> _Reading | None:
    """Values of one category from `begin` on, "black or white"."""
    first = max(
        ((column, *found) for column in columns if (found := _match_value(text, begin, column))),
        key=lambda match: (match[2], match[0].counts.get(match[1], 0)),
        default=None,
    )
    if first is None:
        return None
    column, value, end = first
    values = [value]
    while (link := _AND.match(text, end)) and (more := _match_value(text, link.end(), column)):
        values.append(more[0])
        end = more[1]
    cells = tuple(dict.fromkeys(cell for value in values for cell in column.values[value]))
    condition: Condition = Compare(column.name, "==", cells[0]) if len(cells) == 1 else OneOf(column.name, cells)
    if negated:
        condition = Compare(column.name, "!=", cells[0]) if len(cells) == 1 else Not(condition)
    return _Reading(start, end, condition)


def _match_value(text: str, begin: int, column: FilterColumn) -> tuple[str, int] | None:
    """The longest value of a category that the words at `begin` name, and where it ends."""
    ends: list[int] = []
    for word in _WORD.finditer(text, begin):
        if text[ends[-1] if ends else begin : word.start()].strip() or len(ends) == _MOST_WORDS:
            break
        ends.append(word.end())
    for end in reversed(ends):
        for stop in dict.fromkeys((end, begin + len(text[begin:end].rstrip(".:'")))):
            folded = " ".join(fold_case(text[begin:stop]).split())
            if folded in column.values:
                return folded, stop
    return None


def _find_truth_values(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "in stock" where that is the column's name, "only vegan", "not vegan"."""
    for column in columns:
        if column.kind != "boolean" or not column.words:
            continue
        certain = "" if column.words[0] == "in" else r"(?:only|in|that are|that is|which are|must be|nur)\s+"
        pattern = rf"\b(?:(?P<not>{_NEGATIONS})\s+(?:in\s+)?|{certain}){_name_pattern(column)}\b"
        for found in re.finditer(pattern, text, re.IGNORECASE):
            yield _Reading(found.start(), found.end(), Compare(column.name, "==", not found["not"]))


def _choose_number_column(
    text: str, columns: Sequence[FilterColumn], start: int, amount: _Amount
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
        after = re.compile(rf"\s*{_name_pattern(column)}\b", re.IGNORECASE).match(text, amount.end)
        if column.words and after:
            factor = _convert(amount.unit, column)
            return None if factor is None else (column, start, after.end(), factor)
    numbers = [column for column in numbers if column.kind == "number"]
    prices = sorted((column for column in numbers if column.is_price), key=lambda column: len(column.words))
    if is_currency(amount.unit):
        fitting = [column for column in prices if _convert(amount.unit, column) == 1.0]
        return (fitting[0], start, amount.end, 1.0) if fitting else None
    if amount.unit:
        for column in numbers:
            if column.unit and (factor := _convert(amount.unit, column)) is not None:
                return column, start, amount.end, factor
        if amount.unit.lower() == "pounds":  # which are a mass only where the index has one
            return _choose_number_column(text, columns, start, replace(amount, unit="£"))
        return None
    if not _ENDS_PHRASE.match(text, amount.end):  # "over 40 watt" is about what nobody knows
        return None
    candidates = prices or (numbers if len(numbers) == 1 else [])
    return (candidates[0], start, amount.end, 1.0) if candidates else None


def _convert(unit: str, column: FilterColumn) -> float | None:
    if not unit or not column.unit:
        return 1.0 if not unit or not is_currency(unit) or column.is_price else None
    return find_factor(unit, column.unit)


def _choose_date_column(text: str, columns: Sequence[FilterColumn], start: int) -> tuple[FilterColumn, int] | None:
    """The column that a date is about: the one named before it, else the only one, not counting created_at and such."""
    dates = [column for column in columns if column.kind in ("year", "date", "day")]
    for column in dates:
        if (named := _find_name_before(text, start, column)) is not None:
            return column, named
    candidates = [column for column in dates if not column.is_event] or dates
    return (candidates[0], start) if len(candidates) == 1 else None


def _find_name_before(text: str, start: int, column: FilterColumn) -> int | None:
    """Where the column's name begins, if it stands right before `start`: "price under 50", "a price of under 50"."""
    if not column.words:
        return None
    pattern = rf"(?:\b(?:with|having|mit|avec)\s+(?:an?\s+|the\s+)?)?\b{_name_pattern(column)}\s*(?:is|of|:|,)?\s*$"
    found = re.search(pattern, text[:start], re.IGNORECASE)
    return found.start() if found else None


def _name_pattern(column: FilterColumn) -> str:
    return r"[\s_-]*".join(map(re.escape, column.words))


def _can_match(column: FilterColumn, operator: Comparison, number: float) -> bool:
    """Whether a comparison can be true for any item, as far as the column's range is known."""
    if column.least is None or column.greatest is None:
        return True
    below = {"<": column.least < number, "<=": column.least <= number}
    return {**below, ">": column.greatest > number, ">=": column.greatest >= number}[operator]


def _compare(column: FilterColumn, operator: Comparison, number: float) -> Condition:
    rounded = round(number, 10)
    return Compare(column.name, operator, int(rounded) if rounded == int(rounded) else rounded)


def _compare_date(column: FilterColumn, operator: Comparison, found: re.Match[str]) -> Condition | None:
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


def _read_amount(text: str, begin: int) -> _Amount | None:
    found = _AMOUNT.match(text, begin)
    if found is None:
        return None
    digits = found["digits"]
    number = float(digits) if _PLAIN.fullmatch(digits) else read_numbers(pl.Series([digits])).item()
    if number is None:
        return None
    unit, end = found["sign"] or "", found.end()
    after = _UNIT.match(text, end)
    if not unit and after and is_unit(after[1]) and not _NO_UNIT.match(text, end):
        unit, end = after[1], after.end(1)
    elif text[end : end + 1].isalnum():
        return None  # "50cc", "2nd"
    return _Amount(end, number * (1_000 if found["thousands"] else 1), unit, digits)


def _find_operator(cue: str, cues: dict[Comparison, str]) -> Comparison | None:
    spaced = " ".join(cue.lower().split())
    return next((operator for operator, words in cues.items() if re.fullmatch(words, spaced)), None)


def _cut_out(text: str, readings: Sequence[_Reading]) -> str:
    """The query without what became conditions, and without the words that linked them."""
    pieces: list[str] = []
    position = 0
    for reading in readings:
        piece = text[position : reading.start]
        pieces.append("" if position and _LINK.fullmatch(piece) else piece)
        position = reading.end
    pieces.append(text[position:])
    rest = " ".join(" ".join(pieces).split())
    rest = re.sub(rf"(?:\s*(?:[,;]|\b(?:{_LINKS})\b))+\s*([.!?]*)$", r"\1", rest, flags=re.IGNORECASE)
    rest = re.sub(rf"^(?:(?:[,;]|(?:{_LINKS})\b)\s*)+", "", rest, flags=re.IGNORECASE)
    return re.sub(r"\s+([,;.!?])", r"\1", rest).strip(" ,;")


def _any_of(cues: Iterable[str]) -> str:
    """One pattern for all cues, the longest first; blanks may be of any width."""
    words = sorted((word for cue in cues for word in cue.split("|")), key=len, reverse=True)
    return "|".join(word.replace(" ", r"\s+") for word in words)


_RANGE = re.compile(r"(?<![\w.,])(?P<cue>(?:between|from|zwischen|von|entre|de)\s+)?(?=[$€£¥₹\dUEGC])", re.IGNORECASE)
_TO = re.compile(r"\s*(?:-|–|to|and|und|bis|et|à)\s*", re.IGNORECASE)
_COMPARISON = re.compile(rf"(?<!\w)(?P<cue>{_any_of(_NUMBER_CUES.values())})\s*(?=[$€£¥₹\dUEGC])", re.IGNORECASE)
_DATE = re.compile(rf"(?<!\w)(?P<cue>{_any_of([*_DATE_CUES.values(), 'in|im'])})\s+(?=\d{{4}})", re.IGNORECASE)
_PLACE = re.compile(
    rf"(?<!\w)(?:(?P<not>{_any_of([_NEGATIONS])})\s+(?:(?:{_any_of([_PLACES])})\s+)?|(?:{_any_of([_PLACES])})\s+)",
    re.IGNORECASE,
)
_ANY_CUE = re.compile(r"\d|[<>]|(?<!\w)(?:" + _any_of([_NEGATIONS, _PLACES, "only", "must", "that"]) + r")\s|[:=]")
_RULES: tuple[Callable[[str, Sequence[FilterColumn]], Iterator[_Reading]], ...] = (
    _find_ranges,
    _find_dates,
    _find_comparisons,
    _find_bare_prices,
    _find_truth_values,
    _find_categories,
)
