"""What the columns of an index hold, counted over its items: kinds, ranges and frequent values.

Counting walks through the items, so it is bounded: beyond the bound the answer is about the items that were counted,
and says how many these are.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from likewise.catalog.filters import Condition
from likewise.retrieval.groups import check_facets
from likewise.stores.base import Store
from likewise.stores.conditions import normal_form
from likewise.stores.schema import Column, Schema

MOST_COUNTED = 50_000  # items whose values are counted for a facet
_MOST_SUMMARIZED = 20_000  # items that a summary looks at
_MOST_CELLS = 2_000_000  # of a summary, in a catalogue of thousands of columns
_MOST_DISTINCT = 1_000  # values of a column that a summary tells apart
_MOST_EXAMPLES, _LONGEST_EXAMPLE = 500, 100  # cells of a column, and characters of one
_BATCH = 5_000


@dataclass(frozen=True)
class ValueCounts:
    """How many items have each value of some columns.

    Attributes:
        items: that meet the filter.
        counted: of these; fewer than `items` where there are more than the bound.
        columns: for each column, its values and their counts, the most frequent first; in a list, each value counts
            once.
    """

    items: int
    counted: int
    columns: dict[str, dict[Any, int]]


@dataclass
class ColumnSummary:
    """What the cells of a column hold.

    Attributes:
        filled: cells that are not blank.
        least, greatest: of the numbers; None where there are none.
        counts: of the values (texts, and those in lists); empty where there are too many different ones.
        examples: the first few hundred of these cells, of texts the beginning; lists are left out.
    """

    column: Column
    filled: int = 0
    least: float | None = None
    greatest: float | None = None
    counts: Counter[Any] = field(default_factory=Counter)
    too_varied: bool = False
    examples: list[str | int | float | bool] = field(default_factory=list)

    def add(self, cell: Any) -> None:
        """Take one more cell into account."""
        if cell is None or cell == "" or cell == []:
            return
        self.filled += 1
        if len(self.examples) < _MOST_EXAMPLES and isinstance(cell, str | int | float):
            self.examples.append(cell[:_LONGEST_EXAMPLE] if isinstance(cell, str) else cell)
        if isinstance(cell, int | float) and not isinstance(cell, bool):
            self.least = cell if self.least is None else min(self.least, cell)
            self.greatest = cell if self.greatest is None else max(self.greatest, cell)
        elif not self.too_varied:
            self.counts.update(_distinct_values(cell))
            if len(self.counts) > _MOST_DISTINCT:
                self.too_varied = True
                self.counts.clear()


@dataclass(frozen=True)
class IndexSummary:
    """What an index holds.

    Attributes:
        items: all of them.
        summarized: how many of them the columns' summaries are about.
        columns: one summary for each column, "id" first.
    """

    items: int
    summarized: int
    columns: tuple[ColumnSummary, ...]


def count_values(store: Store, schema: Schema, columns: Sequence[str], condition: Condition | None) -> ValueCounts:
    """Count the values of columns among all items, or those that meet a condition, `MOST_COUNTED` at most.

    Args:
        schema: the columns that a user may name.

    Raises:
        UserError: a column is missing or cannot be counted, or the condition does not fit the columns.
    """
    check_facets([schema.column(name) for name in columns])
    if condition is not None:
        normal_form(condition, schema)
    counters: dict[str, Counter[Any]] = {name: Counter() for name in columns}
    counted = 0
    for fields in _iterate_fields(store, condition, MOST_COUNTED):
        counted += 1
        for name, counter in counters.items():
            counter.update(_distinct_values(fields.get(name)))
    ordered = {
        name: dict(sorted(counter.items(), key=lambda entry: (-entry[1], str(entry[0]))))
        for name, counter in counters.items()
    }
    return ValueCounts(max(store.count(condition), counted), counted, ordered)


def summarize(store: Store, schema: Schema) -> IndexSummary:
    """Summarize the columns that a user may name, from a bounded number of items."""
    summaries = [ColumnSummary(column) for column in schema.columns]
    most = max(1, min(_MOST_SUMMARIZED, _MOST_CELLS // len(summaries)))
    seen = 0
    for fields in _iterate_fields(store, None, most):
        seen += 1
        for summary in summaries:
            summary.add(fields.get(summary.column.name))
    return IndexSummary(max(store.count(), seen), seen, tuple(summaries))


def _iterate_fields(store: Store, condition: Condition | None, most: int) -> Iterator[Mapping[str, Any]]:
    """The fields of at most `most` items."""
    if condition is None:
        left = most
        for batch in store.iterate(min(_BATCH, most), vectors=False):
            yield from batch.fields[:left]
            left -= len(batch.fields)
            if left <= 0:
                return
        return
    anything = np.zeros((1, store.schema.dim), np.float32)  # scores 0 with every item, so the condition alone decides
    ids = list(store.search(anything, most, condition)[0].ids)
    for start in range(0, len(ids), _BATCH):
        for record in store.fetch(ids[start : start + _BATCH]):
            if record is not None:  # deleted this very moment
                yield record.fields


def _distinct_values(cell: Any) -> set[Any]:
    values = cell if isinstance(cell, list) else [cell]
    return {value for value in values if isinstance(value, str | int | float)}
