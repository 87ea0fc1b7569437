"""Items on disk that never change: vectors, ids, filter columns and fields, mapped into memory or read when asked for.

vectors.f32             (count, dim) float32, unit norm
ids.text, ids.ends      every row's id
ids.hashes, ids.rows    hashes of the ids in ascending order, and the row of each
fields.text, .ends      every row's fields, a JSON object
field_vectors.bytes, .ends   every row's field vectors, if the store keeps them; see field_vectors.py
columns.arrow           what filters look at
schema.json             see schema.py
manifest.json           checksums of all of these; see checksums.py
segment.json            how many items, and how they are searched
index.faiss             candidates for a search, unless all items are compared
trained.faiss           the same without items, for the next segment
"""

import threading
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from likewise import checksums
from likewise.catalog.filters import Condition
from likewise.checksums import Blocks, IndexManifest
from likewise.parsing import read_json
from likewise.stores.faiss.approximate import Approximate, open_index
from likewise.stores.faiss.exact import find_nearest
from likewise.stores.faiss.filters import Selection, evaluate_condition, find_columns
from likewise.stores.faiss.mmap import map_array
from likewise.stores.faiss.search_plan import SearchPlan
from likewise.stores.faiss.string_column import BYTES, TEXT, BytesColumn, ColumnWriter, StringColumn
from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema

_REMEMBERED = 4096  # ids
_COPIED = 4096  # vectors that are written at a time


class SegmentWriter:
    """Writes a segment into an empty folder; the ids of all rows must differ."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._vectors = (folder / "vectors.f32").open("wb")
        self._ids = ColumnWriter(folder, "ids", TEXT)
        self._fields = ColumnWriter(folder, "fields", TEXT)
        self._field_vectors = ColumnWriter(folder, FIELD_VECTORS, BYTES) if schema.field_vectors else None
        self._columns: list[pl.DataFrame] = []
        self.count = 0

    def append(self, items: pl.DataFrame, vectors: np.ndarray) -> None:
        """Add rows: a table as `prepare_items` gives it, and as many unit vectors."""
        for start in range(0, len(vectors), _COPIED):
            block = np.ascontiguousarray(vectors[start : start + _COPIED], "<f4")
            self._vectors.write(block.data)  # not `tofile`, which is silent about what a full disk does not take
        self._ids.append(items[ID])
        self._fields.append(items[FIELDS])
        if self._field_vectors is not None:
            self._field_vectors.append(items[FIELD_VECTORS])
        self._columns.append(items[list(self._schema.stored_types)])
        self.count += len(items)

    def close(self) -> None:
        """Let go of the files, finished or not."""
        for file in (self._vectors, self._ids, self._fields, self._field_vectors):
            if file is not None:
                file.close()

    def finish(self) -> None:
        """Write what belongs to all rows together."""
        self.close()
        empty = pl.DataFrame(schema=self._schema.stored_types)
        columns = pl.concat([empty, *self._columns], rechunk=True)
        columns.write_ipc(self._folder / "columns.arrow", compression="lz4")
        hashes = hash_ids(columns[ID])
        order = np.argsort(hashes, kind="stable")
        (self._folder / "ids.hashes").write_bytes(hashes[order].astype("<u8").data)
        (self._folder / "ids.rows").write_bytes(order.astype("<i8").data)
        (self._folder / "schema.json").write_text(self._schema.to_json() + "\n", encoding="utf-8")
        SearchPlan("flat", bytes=4 * self.count * self._schema.dim, chosen_at=self.count).write(
            self._folder, self.count
        )


class Segment:
    """An opened segment; safe to use from several threads.

    Args:
        manifest: verifies the files; None for those that this process has just written.

    Raises:
        OSError, ValueError, KeyError, TypeError: a file is missing or damaged.
    """

    def __init__(self, folder: Path, manifest: IndexManifest | None = None) -> None:
        self._manifest = manifest
        self._unverified = manifest.verify(checksums.AT_OPENING) if manifest is not None else set()
        about = read_json(folder / "segment.json")
        self.schema = Schema.from_json((folder / "schema.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.count = int(about["count"])
        self.plan = SearchPlan.from_json(about)
        self.vectors = map_array(folder / "vectors.f32", np.dtype("<f4"), (self.count, self.schema.dim))
        self._vector_blocks = self._blocks("vectors.f32", self.vectors.reshape(-1).view(np.uint8))
        self._verified = np.zeros(self.count, bool)  # vectors
        self.ids = StringColumn(folder, "ids", self.count, self._blocks)
        self.fields = StringColumn(folder, "fields", self.count, self._blocks)
        self.field_vectors = (
            BytesColumn(folder, FIELD_VECTORS, self.count, self._blocks) if self.schema.field_vectors else None
        )
        self._hashes = map_array(folder / "ids.hashes", np.dtype("<u8"), (self.count,))
        self._rows = map_array(folder / "ids.rows", np.dtype("<i8"), (self.count,))
        self._table = folder / "columns.arrow"
        self._columns: dict[str, pl.Series] = {}
        _check_columns(self._table)
        self._reading = threading.Lock()
        self._found: dict[str, int] = {}
        self._index = self._opened_index()

    def gather_ids(self, rows: np.ndarray) -> list[str]:
        """The ids of rows that a search has found, which are remembered: whoever searches looks at the items next."""
        ids = self.ids.many(rows)
        if len(ids) <= _REMEMBERED:
            if len(self._found) > _REMEMBERED:
                self._found = {}
            self._found.update(zip(ids, rows.tolist(), strict=True))
        return ids

    def find_rows(self, ids: Sequence[str]) -> list[int | None]:
        """Each id's row, or None where there is no such id."""
        found = self._found
        rows = [found.get(id) for id in ids]
        return self._looked_up(ids) if None in rows else rows

    def _looked_up(self, ids: Sequence[str]) -> list[int | None]:
        if not self.count or not len(ids):
            return [None] * len(ids)
        hashes = hash_ids(ids)
        places = np.searchsorted(self._hashes, hashes)
        first = np.minimum(places, self.count - 1)
        known = self._hashes[first] == hashes
        rows = self._rows[first]
        found: list[int | None] = [None] * len(ids)
        there = np.flatnonzero(known)
        for number, row, id in zip(there.tolist(), rows[there].tolist(), self.ids.many(rows[there]), strict=True):
            found[number] = row if id == ids[number] else self._further(ids[number], int(first[number]))
        return found

    def _further(self, id: str, place: int) -> int | None:
        """The row of an id behind a place where another one has the same hash."""
        wanted = self._hashes[place]
        while place < self.count and self._hashes[place] == wanted:
            row = int(self._rows[place])
            if self.ids[row] == id:
                return row
            place += 1
        return None

    def search(self, queries: np.ndarray, k: int, among: Selection | None) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of each query, all of them or those of a selection.

        Returns:
            Scores, descending, and row numbers; both (q, as many as there are up to k).
        """
        if among is not None and not among.count:  # as in the search for what was just written
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        if self._index is not None:
            found = self._index.search(queries, k, among)
        else:
            found = find_nearest(self.vectors, queries, k, None if among is None else among.rows)
        self._check_vectors(found[1])
        return found

    def vector(self, row: int) -> np.ndarray:
        """(dim,) of one row."""
        self._check_vectors(np.array([row]))
        return self.vectors[row]

    def mask(self, condition: Condition) -> np.ndarray:
        """(count,) bool, the rows that meet a condition as conditions.py gives it."""
        return evaluate_condition(condition, self._columns_in_memory(list(find_columns(condition))))

    def vectors_at(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), dim) of some rows."""
        self._check_vectors(rows)
        return self.vectors[rows]

    def items(self, rows: np.ndarray) -> tuple[pl.DataFrame, np.ndarray]:
        """Rows as they were written: a table as `prepare_items` gives it, and vectors."""
        columns = self._columns_in_memory(list(self.schema.stored_types))[rows]
        columns = columns.with_columns(pl.Series(FIELDS, self.fields.many(rows), pl.String))
        if self.field_vectors is not None:
            columns = columns.with_columns(pl.Series(FIELD_VECTORS, self.field_vectors.many(rows), pl.Binary))
        return columns, self.vectors_at(rows)

    def _blocks(self, name: str, data: Any) -> Blocks | None:
        """What verifies the rows of a file that was too large to verify at opening."""
        if self._manifest is None or name not in self._unverified:
            return None
        return self._manifest.blocks(name, data)

    def _check_vectors(self, rows: np.ndarray) -> None:
        """Verify the vectors of some rows; numbers below 0 are gaps."""
        if self._vector_blocks is None or self._verified[rows].all():
            return
        present = rows[rows >= 0]
        starts = present * (4 * self.schema.dim)
        self._vector_blocks.check(starts, starts + 4 * self.schema.dim)
        self._verified[present] = True

    def _opened_index(self) -> Approximate | None:
        plan = self.plan
        if plan.parameters is None:
            return None
        return open_index(self.folder, plan.kind, plan.parameters, plan.bytes, self.vectors)

    def _columns_in_memory(self, names: Sequence[str]) -> pl.DataFrame:
        """Columns are read when a filter first asks for them, and kept."""
        with self._reading:
            missing = [name for name in dict.fromkeys(names) if name not in self._columns]
            if missing:
                self._columns |= self._read_columns(missing)
            return pl.DataFrame([self._columns[name] for name in dict.fromkeys(names)])

    def _read_columns(self, names: Sequence[str]) -> dict[str, pl.Series]:
        if self._table.name in self._unverified:
            blocks = self._blocks(self._table.name, self._table.read_bytes())
            if blocks is not None:
                blocks.check(np.array([0]), np.array([self._table.stat().st_size]))
            self._unverified.discard(self._table.name)
        try:
            found = pl.read_ipc(self._table, columns=list(names))
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{self._table} is damaged: {error}") from None
        if len(found) != self.count:
            raise ValueError(f"{self._table} has {len(found):,} rows, not {self.count:,}")
        return {column.name: column for column in found}


def _check_columns(path: Path) -> None:
    try:
        pl.read_ipc_schema(path)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def hash_ids(ids: Iterable[str]) -> np.ndarray:
    """(n,) uint64, the same on every machine."""
    digests = b"".join([blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest() for id in ids])
    return np.frombuffer(digests, "<u8")
