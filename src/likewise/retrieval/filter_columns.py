"""What the columns of an index mean to the words of a query: prices and other numbers, years, dates, categories."""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

import polars as pl

from likewise.catalog.columns import COLUMNS
from likewise.catalog.dates import FIRST_YEAR, LAST_YEAR
from likewise.catalog.field_inference import is_event, is_price, split_name
from likewise.catalog.numbers import read_numbers
from likewise.catalog.text import fold_case
from likewise.catalog.typed_values import read_typed_column
from likewise.retrieval.column_values import ColumnSummary, IndexSummary

FilterColumnKind = Literal["number", "year", "date", "day", "category", "boolean"]

LONGEST_VALUE = 60  # characters of a category that a query may name
_SECONDS_KEPT = 600.0  # until suggestions see the values of items that others wrote
_LEAST_READ = 0.95  # share of the cells that a kind has to fit
_MOST_DISTINCT = 0.8  # share of the cells; codes and titles do not recur
_ISO_DATE = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2}(?:[T ].*)?)?)?", re.ASCII)
_YEAR_NAMES = frozenset({"year", "jahr", "année", "annee", "año", "anno", "vintage"})


@dataclass(frozen=True)
class FilterColumn:
    """A column that a filter can be suggested for.

    Attributes:
        words: of its name, folded.
        kind: "year" and "day" are whole numbers such as 1999 and 19990131; "date" is ISO 8601 as text.
        unit: of its numbers.
        is_price: its numbers are prices.
        is_event: its dates are about the row, such as created_at.
        least, greatest: of its numbers; None where they are not known.
        values: folded text → the cells that it stands for, of a category.
        counts: folded text → in how many cells it was seen.
    """

    name: str
    words: tuple[str, ...]
    kind: FilterColumnKind
    unit: str = ""
    is_price: bool = False
    is_event: bool = False
    least: float | None = None
    greatest: float | None = None
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def read_filter_columns(summary: IndexSummary) -> tuple[FilterColumn, ...]:
    """The columns of an index for which `suggest_filter` can suggest filters.

    A text column with prices counts only if filters, which read each cell by itself, read its numbers as what they are.
    """
    found = (_read_column(column) for column in summary.columns if column.column.name not in COLUMNS and column.filled)
    return tuple(column for column in found if column is not None)


class KnownFilterColumns:
    """The columns of an index as they were read last, for as long as that holds; safe to use from several threads."""

    def __init__(self) -> None:
        self._known: tuple[str, float, tuple[FilterColumn, ...]] | None = None  # build, when, columns
        self._reading = threading.Lock()

    def forget(self) -> None:
        """Read them anew when they are asked for."""
        self._known = None

    def hold(self, build: str) -> bool:
        """Whether they need not be read for this build of the index."""
        known = self._known
        return known is not None and known[0] == build and monotonic() - known[1] < _SECONDS_KEPT

    def read(self, build: str, summarize: Callable[[], IndexSummary]) -> tuple[FilterColumn, ...]:
        """The columns of a build, which are read where they are unknown or some minutes old.

        One thread reads them; meanwhile others take what was known before, and wait only where nothing was.
        """
        known = self._known
        if known is not None and (self.hold(build) or (known[0] == build and self._reading.locked())):
            return known[2]
        with self._reading:
            latest = self._known
            if latest is None or latest is known:
                self._known = latest = (build, monotonic(), read_filter_columns(summarize()))
            return latest[2]


def _read_column(summary: ColumnSummary) -> FilterColumn | None:
    name, kind = summary.column.name, summary.column.kind
    words = tuple(fold_case(word) for word in split_name(name))
    if kind == "boolean":
        return FilterColumn(name, words, "boolean")
    if kind in ("integer", "number"):
        return _read_number_column(summary, name, words)
    if kind != "text" or not summary.examples:
        return None
    texts = [str(cell) for cell in summary.examples]
    if sum(_ISO_DATE.fullmatch(text) is not None for text in texts) >= _LEAST_READ * len(texts):
        return FilterColumn(name, words, "date", is_event=is_event(name))
    if summary.column.numbers and (column := _read_amount_column(name, words, texts)) is not None:
        return column
    return _read_category_column(summary, name, words)


def _read_number_column(summary: ColumnSummary, name: str, words: tuple[str, ...]) -> FilterColumn:
    least, greatest = summary.least, summary.greatest
    kind: FilterColumnKind = "number"
    if summary.column.kind == "integer" and least is not None and greatest is not None:
        if not _YEAR_NAMES.isdisjoint(words) and least >= FIRST_YEAR and greatest <= LAST_YEAR:
            kind = "year"
        elif least >= 10_000 * FIRST_YEAR and greatest < 10_000 * (LAST_YEAR + 1) and _are_days(summary.examples):
            kind = "day"
    return FilterColumn(
        name, words, kind, is_price=is_price(name, ""), is_event=is_event(name), least=least, greatest=greatest
    )


def _are_days(cells: Sequence[str | int | float | bool]) -> bool:
    return not read_typed_column(pl.Series(cells), "date").unusable


def _read_amount_column(name: str, words: tuple[str, ...], texts: Sequence[str]) -> FilterColumn | None:
    cells = pl.Series(texts)
    column, plain = read_typed_column(cells, "number"), read_numbers(cells).to_list()
    read = [number for number in column.values if number is not None]
    if len(read) < _LEAST_READ * len(texts):
        return None
    if any(number is not None and number != cell for number, cell in zip(column.values, plain, strict=True)):
        return None
    return FilterColumn(name, words, "number", column.unit, is_price(name, column.unit), is_event(name))


def _read_category_column(summary: ColumnSummary, name: str, words: tuple[str, ...]) -> FilterColumn | None:
    counts = {str(value): count for value, count in summary.counts.items() if len(str(value)) <= LONGEST_VALUE}
    if not counts or len(summary.counts) > max(_MOST_DISTINCT * summary.filled, 1):
        return None
    values: dict[str, list[str]] = {}
    totals: dict[str, int] = {}
    for value, count in counts.items():
        folded = " ".join(fold_case(value).split())
        if folded:
            values.setdefault(folded, []).append(value)
            totals[folded] = totals.get(folded, 0) + count
    return FilterColumn(
        name, words, "category", values={text: tuple(sorted(cells)) for text, cells in values.items()}, counts=totals
    )
