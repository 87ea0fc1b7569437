"""What was written since the segment: few items, kept in memory and searched one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema


@dataclass(frozen=True)
class Delta:
    """Rows in the order in which they were written; those that were replaced or deleted since are dead.

    A new delta shares all but the mask with the one that it grew from: rows are only ever added behind those that a
    reader of the old one can see.

    Attributes:
        alive: (count,) bool.
    """

    columns: pl.DataFrame
    alive: np.ndarray
    _vectors: np.ndarray  # with room for rows to come
    _ids: list[str] = field(default_factory=list, repr=False)
    _fields: list[str] = field(default_factory=list, repr=False)
    _field_vectors: list[bytes] = field(default_factory=list, repr=False)

    @classmethod
    def empty(cls, schema: Schema) -> "Delta":
        """A delta without rows."""
        columns = pl.DataFrame(schema=schema.stored_types)
        return cls(columns, np.empty(0, bool), np.empty((0, schema.dim), np.float32))

    def __len__(self) -> int:
        return len(self.alive)

    @property
    def vectors(self) -> np.ndarray:
        """(rows, dim) float32."""
        return self._vectors[: len(self)]

    def id(self, row: int) -> str:
        """The id of a row."""
        return self._ids[row]

    def document(self, row: int) -> str:
        """The fields of a row, a JSON object."""
        return self._fields[row]

    def field_vectors(self, row: int) -> bytes:
        """The field vectors of a row, packed; of a store that keeps them."""
        return self._field_vectors[row]

    def items(self, rows: np.ndarray) -> tuple[pl.DataFrame, np.ndarray]:
        """Rows as they were written: a table as `prepare_items` gives it, and vectors."""
        documents = [self._fields[row] for row in rows.tolist()]
        columns = self.columns[rows].with_columns(pl.Series(FIELDS, documents, pl.String))
        if self._field_vectors:
            blobs = [self._field_vectors[row] for row in rows.tolist()]
            columns = columns.with_columns(pl.Series(FIELD_VECTORS, blobs, pl.Binary))
        return columns, self._vectors[rows]

    def grown(self, items: pl.DataFrame, vectors: np.ndarray) -> "Delta":
        """This delta and some rows more. Only the newest delta may grow."""
        old, new = len(self), len(self) + len(items)
        room = self._vectors
        if new > len(room):
            room = np.empty((max(new, 2 * len(room), 64), vectors.shape[1]), np.float32)
            room[:old] = self._vectors[:old]
        room[old:new] = vectors
        self._ids.extend(items[ID])
        self._fields.extend(items[FIELDS])
        if FIELD_VECTORS in items.columns:
            self._field_vectors.extend(items[FIELD_VECTORS])
        columns = self.columns.vstack(items[self.columns.columns])
        if columns.n_chunks() > 64:
            columns = columns.rechunk()
        alive = np.concatenate([self.alive, np.ones(len(items), bool)])
        return replace(self, columns=columns, alive=alive, _vectors=room)

    def without(self, rows: Sequence[int]) -> "Delta":
        """This delta with some more rows dead."""
        if not rows:
            return self
        alive = self.alive.copy()
        alive[list(rows)] = False
        return replace(self, alive=alive)
