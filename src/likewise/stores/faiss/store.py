"""The embedded store as the protocol wants it: inputs checked, then left to the replica."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.stores.base import Batch, Found, Record
from likewise.stores.faiss.content import Content
from likewise.stores.faiss.mmap import refusing_damage
from likewise.stores.faiss.replica import Replica
from likewise.stores.faiss.writes import Delete, Upsert
from likewise.stores.inputs import checked_k, prepared_items, unit_vectors
from likewise.stores.schema import Schema


class EmbeddedStore:
    """A store in a folder of this machine; see base.py for what its methods promise."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._replica: Replica | None = Replica(folder)

    @property
    def schema(self) -> Schema:
        return self._opened.content().schema

    @property
    def kind(self) -> str:
        """How the items are searched."""
        return self._opened.content().segment.plan.kind

    @property
    def about(self) -> dict[str, Any]:
        """How the items are searched, with what was measured, and why; JSON values."""
        return self._opened.content().segment.plan.about

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray, field_vectors: np.ndarray | None = None) -> None:
        stored, unit = prepared_items(items, vectors, self.schema, field_vectors)
        if len(stored):
            self._opened.write(Upsert(stored, unit))

    def delete(self, ids: Sequence[str]) -> int:
        return self._opened.write(Delete(list(ids)))

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> Sequence[Found]:
        content = self._opened.content()
        queries, k = unit_vectors(vectors, content.schema.dim), checked_k(k)
        with refusing_damage(self._folder):
            return content.search(queries, k, condition)

    def fetch(self, ids: Sequence[str], *, vectors: bool = False, field_vectors: bool = False) -> list[Record | None]:
        with refusing_damage(self._folder):
            content, rows = self._opened.located(ids)
            return content.records(rows, vectors=vectors, field_vectors=field_vectors)

    def count(self, condition: Condition | None = None) -> int:
        content = self._opened.content()
        if condition is None:
            return content.count
        with refusing_damage(self._folder):
            return content.counted(condition)

    def iterate(self, batch: int = 10_000, *, vectors: bool = True) -> Iterator[Batch]:
        batches = self._opened.content().batches(batch, vectors=vectors)
        while True:
            with refusing_damage(self._folder):
                found = next(batches, None)
            if found is None:
                return
            yield found

    def content(self) -> Content:
        """What the store holds now."""
        return self._opened.content()

    def optimise(self) -> None:
        self._opened.compact()

    def close(self) -> None:
        self._replica = None

    @property
    def _opened(self) -> Replica:
        if self._replica is None:
            raise UserError(f"the store in {self._folder} is closed")
        return self._replica
