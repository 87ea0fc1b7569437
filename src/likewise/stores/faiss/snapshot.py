"""What a store holds at one moment: a segment, what was written since, and which rows of the segment that replaced."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.stores.base import Batch, Record
from likewise.stores.conditions import normal_form
from likewise.stores.faiss.delta import Delta
from likewise.stores.faiss.exact import find_nearest, merge_results
from likewise.stores.faiss.filters import Selection, evaluate_condition
from likewise.stores.faiss.lazy_results import LazyResults
from likewise.stores.faiss.segment import Segment, SegmentWriter
from likewise.stores.faiss.wal_records import Delete, Upsert
from likewise.stores.field_vectors import unpack_field_vectors
from likewise.stores.schema import Schema

_MASKS_KEPT = 4
_ROWS_COPIED = 8192


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One moment's rows: those of the segment come first, then those of the delta.

    All methods but `place_of` and `after` may be called from any thread at any time; those two look at places that a
    newer content may have changed.

    Attributes:
        dead: (segment.count,) bool, rows of the segment that are no more; None: all are there.
    """

    segment: Segment
    delta: Delta
    dead: np.ndarray | None = None
    _places: dict[str, int] = field(default_factory=dict, repr=False)  # id → row of the delta, if it is alive there
    _selections: dict[str, tuple[Selection, Selection]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, segment: Segment) -> "Snapshot":
        """The content of a store to which nothing was written since its segment."""
        return cls(segment, Delta.empty(segment.schema))

    @property
    def schema(self) -> Schema:
        """Of the items."""
        return self.segment.schema

    @cached_property
    def count(self) -> int:
        """The number of items."""
        return self._alive[0].count + self._alive[1].count

    def count_matching(self, condition: Condition) -> int:
        """The number of items that meet a condition."""
        return sum(part.count for part in self._select(condition))

    def search(self, queries: np.ndarray, k: int, condition: Condition | None) -> LazyResults:
        """As `Store.search`, of unit vectors."""
        among = self._alive if condition is None else self._select(condition)
        everything = condition is None and self.dead is None
        found = self.segment.search(queries, k, None if everything else among[0])
        if among[1].count:
            in_delta = None if among[1].count == len(self.delta) else among[1].rows
            scores, rows = find_nearest(self.delta.vectors, queries, k, in_delta)
            found = merge_results(found, (scores, rows + self.segment.count), k)
        return LazyResults(self.segment, self.delta, np.maximum(np.minimum(found[0], 1.0), -1.0), found[1])

    def find_places(self, ids: Sequence[str]) -> list[int | None]:
        """Each item's row, or None where there is no such item."""
        rows, old, places = self.segment.find_rows(ids), self.segment.count, self._places
        if self.dead is not None:
            rows = [row if row is None or not self.dead[row] else None for row in rows]
        return [old + places[id] if id in places else row for id, row in zip(ids, rows, strict=True)]

    def records(self, rows: Sequence[int | None], *, vectors: bool, field_vectors: bool = False) -> list[Record | None]:
        """Items by their rows; None where there is no row."""
        old, segment, delta = self.segment.count, self.segment, self.delta
        there = [row for row in rows if row is not None]
        documents = [segment.fields[row] if row < old else delta.document(row - old) for row in there]
        made = iter(
            [
                Record(
                    fields["id"],
                    fields,
                    self._vector(row).copy() if vectors else None,
                    self._field_vectors(row) if field_vectors else None,
                )
                for row, fields in zip(there, json.loads(f"[{','.join(documents)}]"), strict=True)
            ]
        )
        return [None if row is None else next(made) for row in rows]

    def _vector(self, row: int) -> np.ndarray:
        old = self.segment.count
        return self.segment.vector(row) if row < old else self.delta.vectors[row - old]

    def _field_vectors(self, row: int) -> dict[str, np.ndarray]:
        old, column = self.segment.count, self.segment.field_vectors
        if column is None:
            return {}
        blob = column[row] if row < old else self.delta.field_vectors(row - old)
        return unpack_field_vectors(blob, self.schema.field_vectors, self.schema.dim)

    def batches(self, size: int, *, vectors: bool) -> Iterator[Batch]:
        """All items, `size` at most at a time."""
        old, new = self._alive
        segment, delta = self.segment, self.delta
        for start in range(0, old.count, size):
            rows = old.rows[start : start + size]
            unit = segment.vectors_at(rows) if vectors else np.empty((len(rows), 0), np.float32)
            yield _batch(segment.ids.many(rows), segment.fields.many(rows), unit)
        for start in range(0, new.count, size):
            rows = new.rows[start : start + size]
            unit = delta.vectors[rows] if vectors else np.empty((len(rows), 0), np.float32)
            yield _batch([delta.id(row) for row in rows], [delta.document(row) for row in rows], unit)

    def stored(self, size: int) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
        """All items as an engine writes them, `size` at most at a time."""
        old, new = self._alive
        for start in range(0, old.count, size):
            yield self.segment.items(old.rows[start : start + size])
        for start in range(0, new.count, size):
            yield self.delta.items(new.rows[start : start + size])

    def write_segment(self, folder: Path) -> None:
        """Write all items as a segment into an empty folder."""
        writer = SegmentWriter(folder, self.schema)
        try:
            for items, vectors in self.stored(_ROWS_COPIED):
                writer.append(items, vectors)
            writer.finish()
        finally:
            writer.close()

    def after(self, write: Upsert | Delete) -> "Snapshot":
        """The content after a write, which is the only one that may be written to from then on."""
        return (
            self._with_upserts(write.items, write.vectors)
            if isinstance(write, Upsert)
            else self._with_deletions(write.ids)
        )

    def _with_upserts(self, items: pl.DataFrame, vectors: np.ndarray) -> "Snapshot":
        ids = items["id"].to_list()
        new = self._with_deletions(ids)
        first = len(new.delta)
        self._places.update(zip(ids, range(first, first + len(ids)), strict=True))
        return replace(new, delta=new.delta.grown(items, vectors))

    def _with_deletions(self, ids: Sequence[str]) -> "Snapshot":
        in_delta = [row for row in (self._places.pop(id, None) for id in ids) if row is not None]
        in_segment = [row for row in self.segment.find_rows(ids) if row is not None]
        dead = self.dead
        if in_segment:
            dead = np.zeros(self.segment.count, bool) if dead is None else dead.copy()
            dead[in_segment] = True
        return replace(self, delta=self.delta.without(in_delta), dead=dead, _selections={})

    @cached_property
    def _alive(self) -> tuple[Selection, Selection]:
        mask = np.ones(self.segment.count, bool) if self.dead is None else ~self.dead
        return Selection(mask), Selection(self.delta.alive)

    def _select(self, condition: Condition) -> tuple[Selection, Selection]:
        """The rows of both parts that meet a condition; people page and count within one and the same."""
        key = repr(condition)  # conditions with 1, 1.0 and true equal each other
        known = self._selections.get(key)
        if known is None:
            known = self._evaluate(condition)
            if len(self._selections) >= _MASKS_KEPT:
                self._selections.clear()
            self._selections[key] = known
        return known

    def _evaluate(self, condition: Condition) -> tuple[Selection, Selection]:
        form = normal_form(condition, self.schema)
        if form is True:
            return self._alive
        if form is False:
            return Selection(np.zeros(self.segment.count, bool)), Selection(np.zeros(len(self.delta), bool))
        old = self.segment.mask(form)
        if self.dead is not None:
            old = old & ~self.dead
        return Selection(old), Selection(evaluate_condition(form, self.delta.columns) & self.delta.alive)


def _batch(ids: list[str], documents: list[str], vectors: np.ndarray) -> Batch:
    return Batch(ids, json.loads(f"[{','.join(documents)}]"), vectors)
