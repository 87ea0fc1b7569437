"""Columns of amounts: numbers whose decimal mark and whose unit or currency are those of their column."""

from collections import Counter
from dataclasses import dataclass

import polars as pl

from likewise.catalog.numbers import find_decimal_mark, read_numbers

_EXPONENT = r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][+-]?[0-9]{1,9}$"
_LONG_UNIT = r"^(.*[0-9])\s*\p{L}{4,20}\.?$"
_POWER = r"([A-Za-z])[²³]$"
_NUMERALS = r"[0-9+\-.,'\s\x{a0}\x{202f}\x{2009}]+"
_MINUS = "[\u2212\uff0d]"
_LARGEST = 1e30  # what float32, in which a model computes, can hold and square no more
_ALIASES = {
    "usd": "$", "us$": "$", "dollar": "$", "dollars": "$", "bucks": "$", "eur": "€", "euro": "€", "euros": "€",
    "gbp": "£", "quid": "£", "jpy": "¥", "yen": "¥", "gr": "g", "gram": "g", "grams": "g", "lbs": "lb", "pounds": "lb",
    "litre": "l", "liter": "l", "litres": "l", "liters": "l", "inch": "in", "inches": "in", "feet": "ft",
    "sec": "s", "seconds": "s", "minutes": "min", "hrs": "h", "hours": "h",
}  # fmt: skip
_CURRENCIES = frozenset("$€£¥₹₽₩₺₴₪฿") | {"kr", "sek", "nok", "dkk", "chf", "pln", "czk", "inr", "zł", "kč"}
# Unit → what it measures, and how many of the first such unit it is.
_UNITS: dict[str, tuple[str, float]] = {
    "g": ("mass", 1.0), "mg": ("mass", 1e-3), "kg": ("mass", 1e3), "t": ("mass", 1e6), "oz": ("mass", 28.349523125),
    "lb": ("mass", 453.59237),
    "ml": ("volume", 1.0), "cl": ("volume", 10.0), "dl": ("volume", 100.0), "l": ("volume", 1e3),
    "mm": ("length", 1.0), "cm": ("length", 10.0), "m": ("length", 1e3), "km": ("length", 1e6), "in": ("length", 25.4),
    "ft": ("length", 304.8), "yd": ("length", 914.4),
    "s": ("time", 1.0), "min": ("time", 60.0), "h": ("time", 3600.0),
    "w": ("power", 1.0), "kw": ("power", 1e3), "mb": ("size", 1.0), "gb": ("size", 1e3), "tb": ("size", 1e6),
}  # fmt: skip


@dataclass(frozen=True)
class Amounts:
    """The numbers of a column.

    Attributes:
        numbers: (rows,) Float64, finite; null where a cell is no number, or one of another unit.
        unit: the column's most frequent currency or unit as it is written; "" where the cells have none.
        foreign: (rows,) Boolean: numbers in a unit that cannot be converted to it.
    """

    numbers: pl.Series
    unit: str
    foreign: pl.Series


def read_amounts(texts: pl.Series) -> Amounts:
    """Read a column of numbers.

    What "1,299" means is decided for the column; numbers in several units of one quantity are converted to the most
    frequent unit ("500 g" is 0.5 among kilograms), and those in other units and currencies are left out.

    Args:
        texts: (rows,) String.
    """
    texts = texts.str.replace_all(_MINUS, "-")
    plain = texts.str.replace(_POWER, "$1").str.replace(_LONG_UNIT, "$1")
    frame = pl.DataFrame({"text": texts, "number": read_numbers(plain, find_decimal_mark(plain))})
    exponents = pl.col("text").str.contains(_EXPONENT)
    exact = pl.when(exponents).then(pl.col("text").cast(pl.Float64, strict=False))
    frame = frame.with_columns(exact.fill_null(pl.col("number")).alias("number"))
    frame = frame.with_columns(pl.when(pl.col("number").abs() <= _LARGEST).then("number").alias("number"))
    units = frame.select(pl.when(pl.col("number").is_not_null() & ~exponents).then("text"))["text"]
    return _unify_units(frame["number"], units.str.replace_all(_NUMERALS, ""))


def _unify_units(numbers: pl.Series, units: pl.Series) -> Amounts:
    """Convert numbers to the most frequent unit; `units` is blank or null where a cell names none."""
    counts = Counter(unit for unit in units.to_list() if unit)
    unit = counts.most_common(1)[0][0] if counts else ""
    factors = {other: find_factor(other, unit) for other in counts}
    factor = pl.Series([factors[other] if other else 1.0 for other in units.to_list()], dtype=pl.Float64)
    return Amounts(numbers * factor, unit, numbers.is_not_null() & factor.is_null())


def is_unit(word: str) -> bool:
    """Whether a word or a sign is a unit or a currency that is known."""
    return is_currency(word) or _ALIASES.get(word.lower(), word.lower()) in _UNITS


def is_currency(word: str) -> bool:
    """Whether a word or a sign is a currency that is known."""
    return _ALIASES.get(word.lower(), word.lower()) in _CURRENCIES


def find_factor(unit: str, target: str) -> float | None:
    """By what a number in one unit has to be multiplied to be one in another; None where that cannot be said."""
    one, other = (_ALIASES.get(name.lower(), name.lower()) for name in (unit, target))
    if one == other:
        return 1.0
    if one in _UNITS and other in _UNITS and _UNITS[one][0] == _UNITS[other][0]:
        return _UNITS[one][1] / _UNITS[other][1]
    return None
