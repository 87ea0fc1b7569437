"""Filters that the words of a query suggest: "red shoes under 50" means red shoes whose price is below 50.

These are rules over the columns of an index, in English with the comparisons of German and French. They only suggest:
whoever searches decides whether a filter applies, so a rule that reads a query wrongly costs nothing.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from likewise.catalog.amounts import is_currency
from likewise.catalog.columns import COLUMNS
from likewise.catalog.field_inference import split_name
from likewise.catalog.filters import And, Compare, Condition, Not, OneOf, parse_filter
from likewise.catalog.text import fold_case
from likewise.retrieval.filter_columns import FilterColumn
from likewise.retrieval.query_amounts import (
    DAY,
    LINKS,
    Amount,
    Comparison,
    can_match,
    choose_date_column,
    choose_number_column,
    compare_date,
    compare_number,
    compile_name_patterns,
    find_unit,
    fold_query,
    may_name,
    read_amount,
)
from likewise.retrieval.query_negations import NEGATIONS, find_negation, is_denied

LONGEST_QUERY = 300  # characters; whoever writes more does not write a search
_MOST_WORDS = 5  # of a category's value


_NUMBER_CUES: dict[Comparison, str] = {
    "<": r"under|below|less than|cheaper than|lower than|fewer than|smaller than|lighter than|shorter than|<"
    r"|unter|weniger als|billiger als|günstiger als|moins de|moins cher que",
    "<=": r"up to|at most|no more than|not more than|not over|not above|maximum of|max\. of|<=|≤|bis zu|bis|höchstens"
    r"|jusqu'à|au plus",
    ">": r"over|above|more than|more expensive than|greater than|higher than|larger than|heavier than|longer than|>"
    r"|über|mehr als|teurer als|plus de|plus cher que",
    ">=": r"at least|no less than|not less than|not under|not below|minimum of|min\. of|starting at|from|>=|≥|ab"
    r"|mindestens|au moins|à partir de",
}
_DATE_CUES: dict[Comparison, str] = {
    ">=": r"since|seit|depuis",
    ">": r"after|newer than|later than|younger than|nach|après",
    "<": r"before|older than|earlier than|vor|avant",
    "<=": r"until|till|up to|bis|jusqu'à",
}
_IN_YEAR = r"in|im"
_FROM_YEAR = r"from|aus|von|de"  # "movies from 2010", and "from 2010 on"
_OPPOSITES: dict[Comparison, Comparison] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_PLACES = r"in|by|from|of|made by|in the colou?r|made of|von|aus|de|en"  # "in black", "by Acme"

_FIRST_RECENT_YEAR, _LAST_RECENT_YEAR = 1900, 2100  # four digits behind "from" that are a year rather than a price

_WORD = re.compile(r"[^\s,;()\"“”?!]+")
_AND = re.compile(r"\s*(?:,|/|\bor\b|\band\b|\boder\b|\bund\b|\bou\b|\bet\b)+\s*", re.IGNORECASE)
_LINK = re.compile(rf"\s*(?:,|;|\b(?:{LINKS})\b)\s*", re.IGNORECASE)


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
    """A condition, and the part of the query from `start` to `end` that it stands for.

    Without a condition, the part is one that no other rule should read: it denies, or no item can meet it.
    """

    start: int
    end: int
    condition: Condition | None


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
    found: list[_Reading] = []
    for find in _RULES:
        for reading in find(text, columns):
            if all(reading.end <= other.start or other.end <= reading.start for other in found):
                found.append(reading)
    spans = [(one.start, one.end) for one in found if one.condition is not None]
    readings = [one for one in found if one.condition is not None and not is_denied(text, one.start, spans)]
    if not readings:
        return None
    readings.sort(key=lambda reading: reading.start)
    conditions: list[Condition] = []
    for reading in readings:
        if reading.condition is not None:
            conditions += reading.condition.parts if isinstance(reading.condition, And) else (reading.condition,)
    conditions = list(dict.fromkeys(conditions))
    because = "; ".join(f"“{text[part.start : part.end]}” is read as {part.condition}" for part in readings)
    condition = conditions[0] if len(conditions) == 1 else And(tuple(conditions))
    return FilterSuggestion(str(condition), _cut_out(text, readings) or text.strip(), because)


def _find_ranges(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "between 20 and 50", "from 2010 to 2015", "$20-50"."""
    for found in _RANGE.finditer(text):
        least = read_amount(text, found.end())
        link = _TO.match(text, least.end) if least else None
        greatest = read_amount(text, link.end()) if link else None
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
    text: str, columns: Sequence[FilterColumn], start: int, end: int, least: Amount, greatest: Amount
) -> Iterator[_Reading]:
    days = [DAY.fullmatch(amount.digits) for amount in (least, greatest)]
    if not least.unit and days[0] and days[1] and (chosen := choose_date_column(text, columns, start)):
        column, start = chosen
        bounds = [compare_date(column, ">=", days[0]), compare_date(column, "<=", days[1])]
        if None not in bounds:
            yield _Reading(start, end, And(tuple(bound for bound in bounds if bound)))
    elif chosen_number := choose_number_column(text, columns, start, replace(greatest, end=end)):
        column, start, end, factor = chosen_number
        low, high = (amount.value * factor for amount in (least, greatest))
        possible = can_match(column, ">=", low) and can_match(column, "<=", high)
        between = And((compare_number(column, ">=", low), compare_number(column, "<=", high)))
        yield _Reading(start, end, between if possible else None)


def _find_dates(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "since 2020", "before 2021-05-01", "in 1999", "not after 2020"."""
    for found in _DATE.finditer(text):
        day = DAY.match(text, found.end())
        operator = _find_operator(found["cue"], _DATE_CUES)
        negation = find_negation(text, found.start("cue")) if operator is not None else None
        begin = found.start("cue") if negation is None else negation
        chosen = choose_date_column(text, columns, begin) if day else None
        if day is None or chosen is None or find_unit(text, day.end()) is not None:
            continue
        column, start = chosen
        end = day.end()
        if re.fullmatch(_FROM_YEAR, found["cue"], re.IGNORECASE):
            if not _is_year_of(column, int(day[1])):
                continue
            if onwards := _ONWARDS.match(text, end):
                operator, end = ">=", onwards.end()
        if operator is not None:
            condition = compare_date(column, operator if negation is None else _OPPOSITES[operator], day)
        else:
            condition = _compare_within(column, day)
        if condition is not None:
            yield _Reading(start, end, condition)


def _is_year_of(column: FilterColumn, year: int) -> bool:
    """Whether a column may have a year, as far as its range is known."""
    if column.kind == "year" and column.least is not None and column.greatest is not None:
        return column.least <= year <= column.greatest
    return _FIRST_RECENT_YEAR <= year <= _LAST_RECENT_YEAR


def _compare_within(column: FilterColumn, day: re.Match[str]) -> Condition | None:
    """A comparison with all of a year or a day."""
    least, greatest = compare_date(column, ">=", day), compare_date(column, "<=", day)
    if column.kind == "year":
        return Compare(column.name, "==", int(day[1]))
    return And((least, greatest)) if least and greatest else None


def _find_comparisons(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "under 50", "at least 2 kg", "rating over 4", "isn't over 50"."""
    for found in _COMPARISON.finditer(text):
        amount = read_amount(text, found.end())
        operator = _find_operator(found["cue"], _NUMBER_CUES)
        if amount is None or operator is None:
            continue
        begin = found.start("cue")
        if (negation := find_negation(text, begin)) is not None:
            begin, operator = negation, _OPPOSITES[operator]
        if chosen := choose_number_column(text, columns, begin, amount):
            column, start, end, factor = chosen
            number = amount.value * factor
            possible = can_match(column, operator, number)
            yield _Reading(start, end, compare_number(column, operator, number) if possible else None)


def _find_bare_prices(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "€50" and "50 euros", which are read as what somebody wants to pay at most."""
    for found in re.finditer(r"(?<![\w.,])(?=[$€£¥₹\dUEGC])", text):
        amount = read_amount(text, found.end())
        if amount is None or not is_currency(amount.unit):
            continue
        start = found.start()
        if before := re.search(r"\b(?:for|à|für)\s+$", text[:start], re.IGNORECASE):
            start = before.start()
        if chosen := choose_number_column(text, columns, start, amount):
            column, start, end, factor = chosen
            if can_match(column, "<=", amount.value * factor):
                yield _Reading(start, end, compare_number(column, "<=", amount.value * factor))


def _find_categories(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "in black or white", "by Acme", "brand Acme", "not red"."""
    categories = [column for column in columns if column.kind == "category"]
    if not categories:
        return
    for found in _PLACE.finditer(text):
        if reading := _read_categories(text, found.start(), found.end(), categories, negated=bool(found["not"])):
            yield reading
    for column in categories:
        if not may_name(text, column):
            continue
        for found in _compile_category_pattern(column.words).finditer(text):
            if reading := _read_categories(text, found.start(), found.end(), [column], negated=bool(found["not"])):
                yield reading


@lru_cache(maxsize=10_000)
def _compile_category_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    prefix = rf"(?:(?P<not>{NEGATIONS})\s+)?(?:(?:{_PLACES}|with)\s+(?:the\s+|an?\s+)?)?"
    name = compile_name_patterns(words).name
    return re.compile(rf"(?<!\w){prefix}{name}\s*(?::|=|\bis\b)?\s+", re.IGNORECASE)


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
            folded = " ".join(fold_query(text[begin:stop]).split())
            if folded in column.values:
                return folded, stop
    return None


def _find_truth_values(text: str, columns: Sequence[FilterColumn]) -> Iterator[_Reading]:
    """ "in stock" where that is the column's name, "only vegan", "not vegan"."""
    for column in columns:
        if column.kind != "boolean" or not may_name(text, column):
            continue
        for found in _compile_truth_pattern(column.words).finditer(text):
            yield _Reading(found.start(), found.end(), Compare(column.name, "==", not found["not"]))


@lru_cache(maxsize=10_000)
def _compile_truth_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    certain = "" if words[0] == "in" else r"(?:only|in|that are|that is|which are|must be|nur)\s+"
    name = compile_name_patterns(words).name
    return re.compile(rf"\b(?:(?P<not>{NEGATIONS})\s+(?:in\s+)?|{certain}){name}\b", re.IGNORECASE)


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
    rest = re.sub(rf"(?:\s*(?:[,;]|\b(?:{LINKS})\b))+\s*([.!?]*)$", r"\1", rest, flags=re.IGNORECASE)
    rest = re.sub(rf"^(?:(?:[,;]|(?:{LINKS})\b)\s*)+", "", rest, flags=re.IGNORECASE)
    return re.sub(r"\s+([,;.!?])", r"\1", rest).strip(" ,;")


def _join_cues(cues: Iterable[str]) -> str:
    """One pattern for all cues, the longest first; blanks may be of any width."""
    words = sorted((word for cue in cues for word in cue.split("|")), key=len, reverse=True)
    return "|".join(word.replace(" ", r"\s+") for word in words)


_RANGE = re.compile(r"(?<![\w.,])(?P<cue>(?:between|from|zwischen|von|entre|de)\s+)?(?=[$€£¥₹\dUEGC])", re.IGNORECASE)
_TO = re.compile(r"\s*(?:-|–|to|and|und|bis|et|à)\s*", re.IGNORECASE)
_COMPARISON = re.compile(rf"(?<!\w)(?P<cue>{_join_cues(_NUMBER_CUES.values())})\s*(?=[$€£¥₹\dUEGC])", re.IGNORECASE)
_DATE = re.compile(
    rf"(?<!\w)(?P<cue>{_join_cues([*_DATE_CUES.values(), _IN_YEAR, _FROM_YEAR])})\s+(?=\d{{4}})", re.IGNORECASE
)
_ONWARDS = re.compile(r"\s+(?:on|onwards?|upwards?|or later|and later|an)\b", re.IGNORECASE)
_PLACE = re.compile(
    rf"(?<!\w)(?:(?P<not>{_join_cues([NEGATIONS])})\s+(?:(?:{_join_cues([_PLACES])})\s+)?|(?:{_join_cues([_PLACES])})\s+)",
    re.IGNORECASE,
)
_ANY_CUE = re.compile(rf"\d|[<>:=]|(?<!\w)(?:{_join_cues([NEGATIONS, _PLACES])})\s", re.IGNORECASE)
_RULES: tuple[Callable[[str, Sequence[FilterColumn]], Iterator[_Reading]], ...] = (
    _find_ranges,
    _find_dates,
    _find_comparisons,
    _find_bare_prices,
    _find_truth_values,
    _find_categories,
)
