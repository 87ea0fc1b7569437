"""Dates in cells: what is read, and why the rest is not."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.catalog.dates import (
    NO_DATE,
    NO_SUCH_DAY,
    OUT_OF_RANGE,
    TWO_DIGIT_YEAR,
    UNCLEAR_ORDER,
    has_check_digit,
    read_dates,
)


@pytest.mark.parametrize(
    ("cell", "date"),
    [
        ("2024-01-31", datetime(2024, 1, 31)),
        ("2024/1/31", datetime(2024, 1, 31)),
        ("2024-01", datetime(2024, 1, 1)),
        ("1987", datetime(1987, 1, 1)),
        ("20240131", datetime(2024, 1, 31)),
        ("31.01.2024", datetime(2024, 1, 31)),
        ("1.2.2024", datetime(2024, 2, 1)),
        ("31/01/2024", datetime(2024, 1, 31)),
        ("01/31/2024", datetime(2024, 1, 31)),
        ("5/5/2024", datetime(2024, 5, 5)),
        ("31 January 2024", datetime(2024, 1, 31)),
        ("31st of January, 2024", datetime(2024, 1, 31)),
        ("Jan. 31, 2024", datetime(2024, 1, 31)),
        ("January 2024", datetime(2024, 1, 1)),
        ("Wed, 31 Jan 2024 10:20:30 +0200", datetime(2024, 1, 31, 8, 20, 30)),
        ("2024-01-31T10:20:30.123456Z", datetime(2024, 1, 31, 10, 20, 30)),
        ("2024-01-31 10:20", datetime(2024, 1, 31, 10, 20)),
        ("01/31/2024 12:05 am", datetime(2024, 1, 31, 0, 5)),
        ("Jan 31, 2024 at 5:30 PM", datetime(2024, 1, 31, 17, 30)),
    ],
)
def test_written_forms(cell: str, date: datetime) -> None:
    assert read_dates([cell, None]) == ([date, None], {})


@pytest.mark.parametrize(
    ("cell", "cause"),
    [
        ("2024-02-30", NO_SUCH_DAY),
        ("2024-13-01", NO_SUCH_DAY),
        ("2024-01-31 25:00", NO_SUCH_DAY),
        ("2024-01-31 13:00 pm", NO_SUCH_DAY),
        ("2024-01-31T10:00:00+99:00", NO_SUCH_DAY),
        ("9999-12-31", OUT_OF_RANGE),
        ("0001-01-01", OUT_OF_RANGE),
        ("275760-09-13", OUT_OF_RANGE),
        ("0000-00-00", OUT_OF_RANGE),
        ("1/2/24", TWO_DIGIT_YEAR),
        ("12-Mar-24", TWO_DIGIT_YEAR),
        ("02/03/2024", UNCLEAR_ORDER),
        ("tomorrow", NO_DATE),
        ("31 Foober 2024", NO_DATE),
        ("٢٠٢٤-٠١-٣١", NO_DATE),
        ("1e9", NO_DATE),
        ("-5", "a number that is no year, no day and no epoch"),
        ("2024-01-31" * 20, "longer than 64 characters"),
    ],
)
def test_what_is_no_date_is_counted_by_cause(cell: str, cause: str) -> None:
    assert read_dates([cell]) == ([None], {cause: 1})


def test_the_column_shows_the_order_of_day_and_month() -> None:
    assert read_dates(["31/01/2024", "02/03/2024"])[0][1] == datetime(2024, 3, 2)
    assert read_dates(["01/31/2024", "02/03/2024"])[0][1] == datetime(2024, 2, 3)
    dates, unusable = read_dates(["01/31/2024", "31/01/2024", "02/03/2024"])  # both orders in one column
    assert dates == [datetime(2024, 1, 31), datetime(2024, 1, 31), None]
    assert unusable == {UNCLEAR_ORDER: 1}


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
def test_epochs_are_read_only_where_the_column_plainly_holds_them(unit: int) -> None:
    seconds = [1_600_000_000, 1_700_000_000]
    plain = [str(second * unit) for second in seconds]
    read = [datetime.fromtimestamp(second, UTC).replace(tzinfo=None) for second in seconds]
    assert read_dates(plain) == (read, {})
    dates, unusable = read_dates([*plain, "12"])
    assert dates == [None] * 3
    assert unusable == {"a number that is no year, no day and no epoch": 3}


def test_eans_are_no_epochs() -> None:
    codes = ["1400638133313", "1400638133320", "1400638133337"]
    assert all(map(has_check_digit, codes))
    assert read_dates(codes)[0] == [None] * 3


@given(st.datetimes(datetime(1000, 1, 1), datetime(2999, 12, 31)).map(lambda date: date.replace(microsecond=0)))
def test_what_python_writes_is_read(date: datetime) -> None:
    forms = [date.isoformat(), f"{date.day} {date:%B} {date.year} {date:%H:%M:%S}", date.strftime("%d.%m.%Y %H:%M:%S")]
    assert read_dates(forms) == ([date] * 3, {})


@given(st.lists(st.none() | st.text(max_size=20) | st.from_regex(r"[0-9/.:TZ +-]{1,30}", fullmatch=True), max_size=8))
def test_any_text_is_a_date_or_counted(cells: list[str | None]) -> None:
    dates, unusable = read_dates(cells)
    assert len(dates) == len(cells)
    assert dates.count(None) == cells.count(None) + unusable.total()
