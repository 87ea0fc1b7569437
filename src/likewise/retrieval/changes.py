"""What differs between a catalogue and the items of an index, told from digests alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture
from likewise.retrieval.items import OwnColumns, digest_of, row_digests
from likewise.retrieval.writing import Entries
from likewise.stores.base import Store


@dataclass(frozen=True)
class Snapshot:
    """A catalogue as an index keeps it.

    Attributes:
        items: its table.
        pictures: the one that a hit shows, for each item.
        seen: a digest of what the model sees of each item; None where that is nothing at all.
        rows: a digest of all that is kept of each.
    """

    items: pl.DataFrame
    pictures: list[Picture | None]
    seen: list[str | None]
    rows: list[str]

    @classmethod
    def of(cls, catalog: Catalog, fields: Sequence[str]) -> "Snapshot":
        """Look at a catalogue with the eyes of a model that knows some fields; pictures are looked up if need be."""
        pictures = catalog.pictures
        texts = [catalog.texts(field) for field in fields if field != "image"]
        keys = [[picture.key for picture in shown] for shown in pictures] if "image" in fields else [[]] * len(pictures)
        seen = [
            digest_of([*words, shown]) if shown or any(text is not None for text in words) else None
            for *words, shown in zip(*texts, keys, strict=True)
        ]
        first = [shown[0] if shown else None for shown in pictures]
        return cls(catalog.table, first, seen, row_digests(catalog.table, first))

    def entries(self, rows: Sequence[int], vectors: np.ndarray) -> Entries:
        """Some of its rows as they are written, with the vector of each."""
        return Entries(
            self.items[list(rows)],
            vectors,
            [self.pictures[row] for row in rows],
            [self.seen[row] for row in rows],
            [self.rows[row] for row in rows],
        )


@dataclass(frozen=True)
class Changes:
    """Rows of a catalogue beside the items of an index.

    Attributes:
        new: rows of items that the index lacks.
        changed: rows of which the model now sees something else.
        rewritten: rows of which only metadata changed.
        unchanged: all other rows that have something to see.
        removed: ids of items that the catalogue lacks, or of which nothing is left to see.
        empty: how many rows have nothing to see.
    """

    new: list[int]
    changed: list[int]
    rewritten: list[int]
    unchanged: list[int]
    removed: list[str]
    empty: int

    @classmethod
    def between(cls, snapshot: Snapshot, store: Store, own: OwnColumns) -> "Changes":
        """Compare in one walk through the store."""
        known = {
            id: own.digests(fields)
            for batch in store.iterate()
            for id, fields in zip(batch.ids, batch.fields, strict=True)
        }
        rows: dict[str, list[int]] = {"new": [], "changed": [], "rewritten": [], "unchanged": []}
        empty = 0
        for row, (id, seen, digest) in enumerate(zip(snapshot.items["id"], snapshot.seen, snapshot.rows, strict=True)):
            if seen is None:
                empty += 1
                continue
            before = known.pop(id, None)
            if before is None:
                rows["new"].append(row)
            elif before[0] != seen:
                rows["changed"].append(row)
            else:
                rows["unchanged" if before[1] == digest else "rewritten"].append(row)
        return cls(**rows, removed=list(known), empty=empty)

    @property
    def to_encode(self) -> list[int]:
        """The rows that the model has to see."""
        return sorted([*self.new, *self.changed])

    @property
    def size(self) -> int:
        """How many items have to be written or removed."""
        return len(self.new) + len(self.changed) + len(self.rewritten) + len(self.removed)

    def __str__(self) -> str:
        parts = {
            "new": len(self.new),
            "changed": len(self.changed),
            "with other metadata": len(self.rewritten),
            "removed": len(self.removed),
            "unchanged": len(self.unchanged),
        }
        return ", ".join(f"{number:,} {what}" for what, number in parts.items())
