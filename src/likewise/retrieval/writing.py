"""How items get into a store and its words: all of them into a new one, or the few that changed into the old one."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from likewise.catalog.filters import Compare
from likewise.catalog.images.picture import Picture
from likewise.progress import Bar
from likewise.retrieval.items import OwnColumns
from likewise.retrieval.lexical.bm25 import Stamp, Words
from likewise.retrieval.lexical.writer import Draft
from likewise.stores.base import Store
from likewise.stores.schema import Schema

_BATCH = 10_000


@dataclass(frozen=True)
class Entries:
    """Items with all that is written of them.

    Attributes:
        items: n rows with "id".
        vectors: (n, dim); a NaN row is an item of which there is nothing to encode.
        pictures, seen, rows: see `OwnColumns.add`.
    """

    items: pl.DataFrame
    vectors: np.ndarray
    pictures: Sequence[Picture | None]
    seen: Sequence[str | None]
    rows: Sequence[str]

    def __len__(self) -> int:
        return len(self.items)

    def at(self, places: Sequence[int]) -> "Entries":
        """Some of them."""
        return Entries(
            self.items[list(places)],
            self.vectors[list(places)],
            [self.pictures[place] for place in places],
            [self.seen[place] for place in places],
            [self.rows[place] for place in places],
        )

    def encoded(self) -> "Entries":
        """Those that have a vector."""
        finite = np.isfinite(self.vectors.sum(axis=1))
        return self if finite.all() else self.at(np.flatnonzero(finite).tolist())

    def batches(self) -> Iterator["Entries"]:
        """All of them, in parts."""
        for start in range(0, len(self), _BATCH):
            yield self.at(range(start, min(start + _BATCH, len(self))))


def now(after: int = 0) -> int:
    """Microseconds, later than anything written before."""
    return max(time.time_ns() // 1_000, after + 1)


def write_entries(store: Store, own: OwnColumns, entries: Entries, written: int, words: Draft | None) -> None:
    """Upsert entries, and note their words in a draft."""
    with Bar("Storing items", len(entries)) as bar:
        for batch in entries.batches():
            table = own.add(batch.items, batch.pictures, batch.seen, batch.rows, written)
            store.upsert(table, batch.vectors)
            if words is not None:
                words.add(batch.items["id"].to_list(), list(batch.items.iter_rows(named=True)))
            bar.advance(len(batch))


def schema_of(items: pl.DataFrame, own: OwnColumns, dim: int, about: dict[str, object]) -> Schema:
    """The schema of a table with our own columns."""
    none = [None] * len(items)
    return Schema.of(own.add(items, none, none, [""] * len(items), 0), dim, about)


def fits(items: Schema, store: Schema) -> bool:
    """Whether items of one schema can join a store of another without changing what its columns are."""
    known = {column.name: column for column in store.columns}
    if {column.name for column in items.columns} != set(known):
        return False
    return all(
        column.kind == known[column.name].kind and column.numbers <= known[column.name].numbers
        for column in items.columns
    )


def in_step(words: Words, store: Store, own: OwnColumns, build: str) -> bool:
    """Whether words know all that is in a store; they may not where something was killed, or another machine wrote."""
    stamp = words.stamp
    if stamp.build != build or stamp.count != store.count():
        return False
    return store.count(Compare(own.written, ">", stamp.written)) == 0


def read_words(store: Store, own: OwnColumns, build: str, words: Draft) -> None:
    """Read all items of a store into a draft of its words."""
    words.clear()
    newest = 0
    with Bar("Reading words", store.count()) as bar:
        for batch in store.iterate():
            words.add(batch.ids, [own.without(fields) for fields in batch.fields])
            newest = max([newest, *(int(fields.get(own.written) or 0) for fields in batch.fields)])
            bar.advance(len(batch.ids))
    words.stamp = Stamp(build, newest)
