"""Cells as people left them → clean text, null where blank, and numbers where a whole column is numeric."""

import html

import polars as pl

from likewise.catalog.report import Report

_CONTROL = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
_NULL_WORDS = ("null", "nan")  # what programs write for nothing; None and NA may be real titles
_HIDDEN = r"(?is)<(?:script\b.*?</script|style\b.*?</style|!--.*?--)\s*>"
_TAG = (
    r"(?i)</?(?:a|abbr|b|big|blockquote|br|center|code|dd|div|dl|dt|em|font|h[1-6]|hr|i|iframe|img|label|li|link|meta|ol|"
    r"p|pre|script|section|small|span|strong|style|sub|sup|table|tbody|td|tfoot|th|thead|tr|u|ul)(?:\s[^<>]*)?/?>"
)
_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"
_INTEGER = r"^[+-]?(?:0|[1-9][0-9]{0,17})$"  # no leading zeros: 007 is a code, not a number
_NUMBER = r"^[+-]?(?:0|[1-9][0-9]{0,17})?(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?$"
_ROWS_TRIED_FIRST = 1000


def clean_cells(table: pl.DataFrame, row_numbers: pl.Series, report: Report) -> pl.DataFrame:
    """Strip all text cells, remove control characters, and make blank ones null.

    Args:
        table: the raw cells; (rows, columns).
        row_numbers: (rows,) for the report.
        report: counts rows with control characters.
    """
    texts = [name for name, kind in table.schema.items() if kind == pl.String]
    if not texts:
        return table
    dirty = table.select(pl.any_horizontal(pl.col(texts).str.contains(_CONTROL).fill_null(False))).to_series()
    if dirty.any():
        report.count_rows("control-characters", row_numbers.filter(dirty).to_list())
        table = table.with_columns(pl.col(texts).str.replace_all(_CONTROL, ""))
    stripped = pl.col(texts).str.strip_chars()
    return table.with_columns(stripped).with_columns(_blank_as_null(pl.col(texts)))


def _blank_as_null(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.len_bytes() > 0).then(text).otherwise(None)


def clean_text(text: pl.Series, row_numbers: pl.Series, report: Report) -> pl.Series:
    """A title or a description: null words are blank, HTML becomes plain text.

    Args:
        text: (rows,) String, already stripped, null where blank.
        row_numbers: (rows,) for the report.
        report: counts "null-word" and "html-removed".
    """
    text = without_null_words(text, row_numbers, report)
    tags = text.str.contains(_TAG).fill_null(False)
    entities = text.str.contains(_ENTITY).fill_null(False)
    marked = tags | entities
    if not marked.any():
        return text
    report.count_rows("html-removed", row_numbers.filter(marked).to_list())
    frame = pl.DataFrame({"text": text, "tags": tags, "marked": marked})
    plain = pl.col("text").str.replace_all(_HIDDEN, " ").str.replace_all(_TAG, " ")
    frame = frame.with_columns(pl.when("tags").then(plain).otherwise("text").alias("text"))
    unescaped = pl.Series("text", [html.unescape(cell) for cell in frame.filter("marked")["text"]], pl.String)
    unescaped = unescaped.str.replace_all(_CONTROL, "").str.replace_all(r"[ \t\x{a0}]+", " ")
    unescaped = unescaped.str.replace_all(r"\s*\n\s*", "\n").str.strip_chars()
    unescaped = unescaped.to_frame().select(_blank_as_null(pl.col("text"))).to_series()
    return frame["text"].scatter(marked.arg_true(), unescaped)


def without_null_words(text: pl.Series, row_numbers: pl.Series, report: Report) -> pl.Series:
    """Make the words null and nan (lower case) blank, and count them."""
    words = text.is_in(_NULL_WORDS).fill_null(False)
    if not words.any():
        return text
    report.count_rows("null-word", row_numbers.filter(words).to_list())
    return (
        text.to_frame("text")
        .select(pl.when(pl.col("text").is_in(_NULL_WORDS)).then(None).otherwise("text"))
        .to_series()
    )


def typed_metadata(column: pl.Series) -> pl.Series:
    """A column of numbers or truth values as such, so that filters compare numbers; any other unchanged.

    Every cell has to fit: Int64 without leading zeros, Float64 if finite, Boolean for true and false in any case.
    Prices such as "$1,299.00" stay text; filters read their numbers (see filters_polars.py).
    """
    if column.dtype != pl.String:
        return column
    words = column.is_in(_NULL_WORDS).fill_null(False)
    if words.any():
        column = column.to_frame("cell").select(pl.when(~words).then("cell")).to_series().rename(column.name)
    filled = column.drop_nulls()
    if filled.is_empty():
        return column
    for pattern, kind in ((_INTEGER, pl.Int64), (_NUMBER, pl.Float64)):
        if _all_match(filled, pattern):
            numbers = column.cast(kind)
            return numbers if kind == pl.Int64 or numbers.drop_nulls().is_finite().all() else column
    if _all_match(filled, r"(?i)^(?:true|false)$"):
        return column.str.to_lowercase() == "true"
    return column


def _all_match(filled: pl.Series, pattern: str) -> bool:
    head = filled.head(_ROWS_TRIED_FIRST)
    return bool(head.str.contains(pattern).all()) and bool(filled.str.contains(pattern).all())
