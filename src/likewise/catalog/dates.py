"""Dates in cells: ISO 8601, the common written forms, and epochs where a column plainly holds them."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

LONGEST_DATE = 64  # characters of a cell
FIRST_YEAR, LAST_YEAR = 1000, 2999
OUT_OF_RANGE = f"outside the years {FIRST_YEAR} to {LAST_YEAR}"
NO_DATE = "not a date"
NO_SUCH_DAY = "a day or time that does not exist"
UNCLEAR_ORDER = "day and month in an order that the column does not show"
TWO_DIGIT_YEAR = "a year of two digits"

Order = Literal["day", "month"]  # which of both comes first

_TIME = (
    r"(?:[T ,]+(?:at )?(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d{1,9})?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
)
_YEAR = r"(?P<year>\d{2}|\d{4,6})"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_MONTH_NAME = r"(?P<name>[a-z]{3,9})\.?"
_FLAGS = re.ASCII | re.IGNORECASE
_YEAR_FIRST = re.compile(
    rf"(?P<year>\d{{4,6}})(?P<separator>[-/.])(?P<month>\d{{1,2}})(?:(?P=separator)(?P<day>\d{{1,2}}){_TIME})?", _FLAGS
)
_YEAR_LAST = re.compile(
    rf"(?P<one>\d{{1,2}})(?P<separator>[-/.])(?P<two>\d{{1,2}})(?P=separator){_YEAR}{_TIME}", _FLAGS
)
_DAY_NAMED = re.compile(
    rf"{_WEEKDAY}(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?[ -](?:of )?{_MONTH_NAME},?[ -]{_YEAR}{_TIME}", _FLAGS
)
_MONTH_NAMED = re.compile(
    rf"{_WEEKDAY}{_MONTH_NAME}[ -](?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?[ -])?(?P<year>\d{{4,6}}){_TIME}", _FLAGS
)
_WHOLE = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
            "september sep sept", "october oct", "november nov", "december dec",
        ),
        1,
    )
    for name in names.split()
}  # fmt: skip
_EPOCH_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)  # per second
_FIRST_EPOCH, _LAST_EPOCH = 631_152_000, 2_524_608_000  # 1990 and 2050, in seconds
_LEAST_EPOCHS = 0.98  # share of a column's cells that have to be of one unit


class _UnusableError(Exception):
    """Why a cell is no date; the argument is the cause."""


def read_dates(cells: Sequence[str | None]) -> tuple[list[datetime | None], Counter[str]]:
    """Read a column of dates.

    Day and month are in the order that the unambiguous cells of the column show ("13.05.2024", "05/13/2024"); points
    mean the day first. Whole numbers are epochs only if nearly all cells are whole numbers from 1990 to 2050 in one
    unit, from seconds to nanoseconds, and have no check digits as EANs do; years ("1987") and days ("20240131") are
    read in any column.

    Args:
        cells: stripped texts; None where blank.

    Returns:
        The dates, in UTC where a cell names its zone, without zone; and how many cells are unusable, by cause.
    """
    unit, order = _find_epoch_unit(cells), _find_order(cells)
    read: dict[str, datetime | _UnusableError] = {}
    dates: list[datetime | None] = []
    unusable: Counter[str] = Counter()
    for cell in cells:
        if cell is None:
            dates.append(None)
            continue
        if cell not in read:
            try:
                read[cell] = _read_date(cell, unit, order)
            except _UnusableError as error:
                read[cell] = error
        date = read[cell]
        if isinstance(date, datetime):
            dates.append(date)
        else:
            unusable[str(date)] += 1
            dates.append(None)
    return dates, unusable


def _read_date(cell: str, unit: int | None, order: Order | None) -> datetime:
    if len(cell) > LONGEST_DATE:
        raise _UnusableError(f"longer than {LONGEST_DATE} characters")
    if _WHOLE.fullmatch(cell):
        return _read_whole(int(cell), len(cell), unit)
    if found := _YEAR_FIRST.fullmatch(cell):
        return _build(found, found["month"], found["day"])
    if found := _YEAR_LAST.fullmatch(cell):
        if len(found["year"]) == 2:
            raise _UnusableError(TWO_DIGIT_YEAR)
        first = "day" if found["separator"] == "." else _shown_order(found) or order
        if first is None and found["one"] != found["two"]:
            raise _UnusableError(UNCLEAR_ORDER)
        day, month = (found["one"], found["two"]) if first == "day" else (found["two"], found["one"])
        return _build(found, month, day)
    found = _DAY_NAMED.fullmatch(cell) or _MONTH_NAMED.fullmatch(cell)
    if found and (month := _MONTHS.get(found["name"].lower())):
        return _build(found, month, found["day"])
    raise _UnusableError(NO_DATE)


def _read_whole(number: int, digits: int, unit: int | None) -> datetime:
    if unit is not None and _FIRST_EPOCH <= number / unit < _LAST_EPOCH:
        return datetime.fromtimestamp(number // unit, UTC).replace(tzinfo=None)
    if digits == 8:
        return _new_date(number // 10_000, number // 100 % 100, number % 100)
    if digits == 4:
        return _new_date(number, 1, 1)
    raise _UnusableError("a number that is no year, no day and no epoch" if digits <= 20 else NO_DATE)


def _build(found: re.Match[str], month: str | int, day: str | None) -> datetime:
    if len(found["year"]) == 2:
        raise _UnusableError(TWO_DIGIT_YEAR)
    date = _new_date(int(found["year"]), int(month), int(day or 1))
    if found["hour"] is None:
        return date
    hour = int(found["hour"])
    if found["half"]:
        if not 1 <= hour <= 12:
            raise _UnusableError(NO_SUCH_DAY)
        hour = hour % 12 + (12 if found["half"][0] in "pP" else 0)
    try:
        date = date.replace(hour=hour, minute=int(found["minute"]), second=min(int(found["second"] or 0), 59))
        return date - _read_zone(found["zone"])
    except (ValueError, OverflowError):
        raise _UnusableError(NO_SUCH_DAY) from None


def _read_zone(zone: str | None) -> timedelta:
    if zone is None or zone[0] not in "+-":
        return timedelta(0)
    digits = zone[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    timezone(offset)  # less than a day, else a ValueError
    return -offset if zone[0] == "-" else offset


def _new_date(year: int, month: int, day: int) -> datetime:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise _UnusableError(OUT_OF_RANGE)
    try:
        return datetime(year, month, day)
    except ValueError:
        raise _UnusableError(NO_SUCH_DAY) from None


def _find_epoch_unit(cells: Sequence[str | None]) -> int | None:
    """How many of the column's numbers make a second; None where they are no epochs."""
    filled = [cell for cell in cells if cell is not None]
    numbers = [int(cell) for cell in filled if _WHOLE.fullmatch(cell)]
    if 2 * sum(map(has_check_digit, filled)) > len(filled):
        return None
    for unit in _EPOCH_UNITS:
        plausible = sum(_FIRST_EPOCH <= number / unit < _LAST_EPOCH for number in numbers)
        if filled and plausible >= _LEAST_EPOCHS * len(filled):
            return unit
    return None


def has_check_digit(code: str) -> bool:
    """Whether a text has the form and the check digit of an EAN, UPC or GTIN; one number in ten has by chance."""
    if len(code) not in (8, 12, 13, 14) or not (code.isascii() and code.isdecimal()):
        return False
    return sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(code))) % 10 == 0


def _find_order(cells: Sequence[str | None]) -> Order | None:
    """The order of day and month that the cells with a day above 12 show; None where there are none, or both."""
    shown = {_shown_order(found) for cell in cells if cell and (found := _YEAR_LAST.fullmatch(cell[:LONGEST_DATE]))}
    shown.discard(None)
    return shown.pop() if len(shown) == 1 else None


def _shown_order(found: re.Match[str]) -> Order | None:
    one, two = int(found["one"]), int(found["two"])
    return None if found["separator"] == "." or (one > 12) == (two > 12) else "day" if one > 12 else "month"
