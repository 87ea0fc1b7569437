"""Numbers in text cells: prices, amounts with units, thousands and decimals written in either way."""

from typing import Literal

import polars as pl

INTEGER = r"^[+-]?(?:0|[1-9][0-9]{0,17})$"  # no leading zeros: 007 is a code, not a number
NUMBER = r"^[+-]?(?:(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?$"
LONGEST_NUMBER = 64  # characters of a cell, its currency and unit included

DecimalMark = Literal[".", ","]

_GAPS = r"[' \x{a0}\x{202f}\x{2009}]"
# "$1,299.00", "1.299,00 €", "EUR 12", "12,50", "5 %": a number, perhaps behind a currency or before a unit
_PRICE = (
    r"^([+-]?)\s*(?:[A-Z]{0,3}\p{Sc}\s*|[A-Za-z]{2,3}\.?\s+)?"
    r"([+-]?(?:[0-9][0-9.,'\x{a0}\x{202f}\x{2009} ]*|\.[0-9]+))\s*(?:\p{Sc}|%|[A-Za-z]{1,3}\.?)?$"
)
_THOUSANDS_BY_COMMA = r"^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?$"
_THOUSANDS_BY_POINT = r"^[+-]?\d{1,3}(?:\.\d{3})+,\d{1,2}$|^[+-]?\d{1,3}(?:\.\d{3}){2,}$"
_DECIMAL_COMMA = r"^[+-]?\d+,\d{1,2}$"
# What a column whose decimal mark is known means by cells that could be read either way.
_ONE_GROUP_BY_POINT = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"
_FRACTION_BY_COMMA = r"^[+-]?\d+,\d+$"
# Cells that show the decimal mark of their column.
_SHOWS_COMMA = r"^[+-]?(?:\d+,(?:\d{1,2}|\d{4,})|0,\d+|[1-9]\d{0,2}(?:\.\d{3})+,\d+|[1-9]\d{0,2}(?:\.\d{3}){2,})$"
_SHOWS_POINT = r"^[+-]?(?:\d*\.(?:\d{1,2}|\d{4,})|0\.\d+|[1-9]\d{0,2}(?:,\d{3})+\.\d+|[1-9]\d{0,2}(?:,\d{3}){2,})$"


def read_numbers(cells: pl.Series, decimal_mark: DecimalMark | None = None) -> pl.Series:
    """The numbers that text cells hold: "$1,299.00" → 1299, "1.299,00 €" → 1299, "12 oz" → 12.

    Args:
        cells: (rows,) String.
        decimal_mark: of the column (see `find_decimal_mark`), which decides what "1,299" and "1.299" are; None: the
            comma separates thousands in the former, the point decimals in the latter.

    Returns:
        (rows,) Float64, finite; null where a cell is no number.
    """
    found = _split_cells(cells)
    digits = pl.col("digits")
    by_mark = {
        ",": (
            (_FRACTION_BY_COMMA, digits.str.replace(",", ".", literal=True)),
            (_ONE_GROUP_BY_POINT, digits.str.replace_all(".", "", literal=True)),
        ),
        ".": (),
        None: (),
    }
    rules = (
        *by_mark[decimal_mark],
        (_THOUSANDS_BY_COMMA, digits.str.replace_all(",", "", literal=True)),
        (
            _THOUSANDS_BY_POINT,
            digits.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True),
        ),
        (_DECIMAL_COMMA, digits.str.replace(",", ".", literal=True)),
    )
    plain = digits
    for pattern, meaning in reversed(rules):
        plain = pl.when(digits.str.contains(pattern)).then(meaning).otherwise(plain)
    numbers = found.select(pl.concat_str("sign", plain).cast(pl.Float64, strict=False).alias("number"))
    return numbers.select(pl.when(pl.col("number").is_finite()).then("number")).to_series().alias(cells.name)


def find_decimal_mark(cells: pl.Series) -> DecimalMark | None:
    """Find the decimal mark of a column from the cells that can be read in one way only; None where they do not say.

    A single group of three digits after a point, "1.299", counts for the comma where the cell has a euro or krone
    sign, as no such price has three decimals.
    """
    digits = _split_cells(cells).with_columns(
        (pl.col("digits").str.contains(_ONE_GROUP_BY_POINT) & cells.str.contains(r"€|EUR|\bkr\b")).alias("euro")
    )
    counts = digits.select(
        (pl.col("digits").str.contains(_SHOWS_COMMA) | pl.col("euro")).sum().alias("comma"),
        (pl.col("digits").str.contains(_SHOWS_POINT) & ~pl.col("euro")).sum().alias("point"),
    )
    comma, point = counts["comma"].item() or 0, counts["point"].item() or 0
    return None if comma == point else "," if comma > point else "."


def _split_cells(cells: pl.Series) -> pl.DataFrame:
    """The "sign" and the "digits" of text cells, without gaps; null where a cell is no number."""
    found = cells.str.extract_groups(_PRICE).struct.unnest()
    found.columns = ["sign", "digits"]
    return found.with_columns(pl.col("digits").str.replace_all(_GAPS, ""))
