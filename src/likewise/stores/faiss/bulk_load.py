"""A store while it is filled for the first time: items go straight into its segment, past log and delta."""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.files import cannot_write
from likewise.stores.base import Batch, Record, SearchResult, Store
from likewise.stores.faiss import wal
from likewise.stores.faiss.indexing import index_new_segment
from likewise.stores.faiss.replica import WAL_FILE, Replica
from likewise.stores.faiss.segment import SegmentWriter
from likewise.stores.inputs import prepare_items
from likewise.stores.schema import ID, Schema
from likewise.stores.search_target import SearchTarget
from likewise.stores.versions import new_version

_ORDINARY = "ordinary"
_ROWS_COPIED = 8192


class BulkLoad:
    """A store that takes items; anything else that is asked of it turns it into an ordinary one, within its folder.

    Args:
        open_ordinary: opens a store in a folder.
    """

    def __init__(
        self,
        folder: Path,
        schema: Schema,
        target: SearchTarget | None,
        open_ordinary: Callable[[Path], Store],
    ) -> None:
        self._folder = folder
        self._target = target
        self._schema = schema
        self._lock = threading.RLock()
        self._writer = SegmentWriter(folder, schema)
        self._ids: set[str] = set()
        self._open_ordinary = open_ordinary
        self._ordinary_store: Store | None = None

    @property
    def schema(self) -> Schema:
        return self._schema

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray, field_vectors: np.ndarray | None = None) -> None:
        with self._lock:
            if self._ordinary_store is None:
                stored, unit = prepare_items(items, vectors, self._schema, field_vectors)
                ids = stored[ID].to_list()
                if self._ids.isdisjoint(ids):
                    try:
                        self._writer.append(stored, unit)
                    except OSError as error:
                        raise cannot_write(self._folder.parent, error) from None
                    self._ids.update(ids)
                    return
            self._ordinary().upsert(items, vectors, field_vectors)

    def delete(self, ids: Sequence[str]) -> int:
        return self._ordinary().delete(ids)

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> Sequence[SearchResult]:
        return self._ordinary().search(vectors, k, condition)

    def fetch(self, ids: Sequence[str], *, vectors: bool = False, field_vectors: bool = False) -> list[Record | None]:
        return self._ordinary().fetch(ids, vectors=vectors, field_vectors=field_vectors)

    def count(self, condition: Condition | None = None) -> int:
        return self._ordinary().count(condition)

    def iterate(self, batch: int = 10_000, *, vectors: bool = True) -> Iterator[Batch]:
        return self._ordinary().iterate(batch, vectors=vectors)

    def refresh(self) -> None:
        """Nobody else writes here."""

    def optimise(self) -> None:
        """That is done at the end anyway."""

    def finish(self) -> None:
        """Leave a whole segment, and nothing else, in the folder."""
        with self._lock:
            if self._ordinary_store is None:
                self._writer.finish()
            else:
                Replica(self._folder / _ORDINARY).content().write_segment(self._folder)
                self._ordinary_store.close()
                shutil.rmtree(self._folder / _ORDINARY)
            index_new_segment(self._folder, self._target)
            wal.create(self._folder / WAL_FILE)

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            self._writer.close()
            if self._ordinary_store is not None:
                self._ordinary_store.close()

    def _ordinary(self) -> Store:
        with self._lock:
            if self._ordinary_store is None:
                self._writer.finish()
                written = list(self._folder.iterdir())
                with new_version(self._folder / _ORDINARY, unlisted=[WAL_FILE]) as version:
                    for file in written:
                        file.rename(version / file.name)
                    wal.create(version / WAL_FILE)
                self._ids.clear()
                self._ordinary_store = self._open_ordinary(self._folder / _ORDINARY)
            return self._ordinary_store
