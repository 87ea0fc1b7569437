"""The embedded store: a folder on this machine, as fast as FAISS itself and safe to kill at any moment.

PATH/current                       the name of the version in use
PATH/20260131T120000-3f9a2c41/     a version: a segment that never changes, and a log of what was written since

A write goes to the write-ahead log, and is answered for once the disk has it; in memory it is a small delta that every
search looks through, and rows of the segment that count as dead. Compaction writes segment and delta as a new version
next to the old one and switches, while both reads and writes go on. Other processes look at the log now and then.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.files import cannot_write, hold_lock
from likewise.stores.base import Batch, Record, SearchResult, Store
from likewise.stores.faiss.bulk_load import BulkLoad
from likewise.stores.faiss.mmap import explain_damage_in
from likewise.stores.faiss.replica import WAL_FILE, Replica
from likewise.stores.faiss.snapshot import Snapshot
from likewise.stores.faiss.wal_records import Delete, Upsert
from likewise.stores.inputs import check_k, normalise_vectors, prepare_items
from likewise.stores.schema import Schema
from likewise.stores.search_target import SearchTarget
from likewise.stores.uri import Credentials, Location
from likewise.stores.versions import WRITE_LOCK, new_version


def open_store(location: Location, credentials: Credentials) -> Store:
    """Open the store in a folder; see base.py."""
    return FaissStore(location.file)


@contextmanager
def replace_store(
    location: Location, schema: Schema, credentials: Credentials, target: SearchTarget | None = None
) -> Iterator[Store]:
    """Fill a folder afresh; see base.py.

    Args:
        target: what searches should aim at; None: what the URI says, such as `?target_recall=0.95&memory=2GB`.
    """
    target = target if target is not None else SearchTarget.parse(dict(location.options))
    folder = location.file
    with ExitStack() as switching, ExitStack() as building:
        with _naming_errors(folder):
            version = building.enter_context(new_version(folder, unlisted=[WAL_FILE]))
            loading = BulkLoad(version, schema, target, FaissStore)
        building.callback(loading.close)
        yield loading
        with _naming_errors(folder):
            loading.finish()
            switching.enter_context(hold_lock(folder / WRITE_LOCK))  # nobody writes into the old version meanwhile
            building.close()


@contextmanager
def _naming_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise cannot_write(folder, error) from None


class FaissStore:
    """A store in a folder of this machine; see base.py for what its methods promise."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._replica: Replica | None = Replica(folder)

    @property
    def schema(self) -> Schema:
        return self._replica_in_use.content().schema

    @property
    def kind(self) -> str:
        """How the items are searched."""
        return self._replica_in_use.content().segment.plan.kind

    @property
    def about(self) -> dict[str, Any]:
        """How the items are searched, with what was measured, and why; JSON values."""
        return self._replica_in_use.content().segment.plan.about

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray, field_vectors: np.ndarray | None = None) -> None:
        stored, unit = prepare_items(items, vectors, self.schema, field_vectors)
        if len(stored):
            self._replica_in_use.write(Upsert(stored, unit))

    def delete(self, ids: Sequence[str]) -> int:
        return self._replica_in_use.write(Delete(list(ids)))

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> Sequence[SearchResult]:
        content = self._replica_in_use.content()
        queries, k = normalise_vectors(vectors, content.schema.dim), check_k(k)
        with explain_damage_in(self._folder):
            return content.search(queries, k, condition)

    def fetch(self, ids: Sequence[str], *, vectors: bool = False, field_vectors: bool = False) -> list[Record | None]:
        with explain_damage_in(self._folder):
            content, rows = self._replica_in_use.locate(ids)
            return content.records(rows, vectors=vectors, field_vectors=field_vectors)

    def count(self, condition: Condition | None = None) -> int:
        content = self._replica_in_use.content()
        if condition is None:
            return content.count
        with explain_damage_in(self._folder):
            return content.count_matching(condition)

    def iterate(self, batch: int = 10_000, *, vectors: bool = True) -> Iterator[Batch]:
        batches = self._replica_in_use.content().batches(batch, vectors=vectors)
        while True:
            with explain_damage_in(self._folder):
                found = next(batches, None)
            if found is None:
                return
            yield found

    def content(self) -> Snapshot:
        """What the store holds now."""
        return self._replica_in_use.content()

    def refresh(self) -> None:
        self._replica_in_use.refresh()

    def optimise(self) -> None:
        self._replica_in_use.compact()

    def close(self) -> None:
        self._replica = None

    @property
    def _replica_in_use(self) -> Replica:
        if self._replica is None:
            raise UserError(f"the store in {self._folder} is closed")
        return self._replica
