"""A `Store` over any engine that keeps collections: what all such engines have to do is done here once.

Inputs are checked, filters brought into their normal form, empty queries and impossible filters answered, approximate
searches that found too little repeated exactly, stored items decoded, and a collection that was replaced is followed.
What is left to an engine is a `Collection` and a `Connection`; docs/stores/writing_an_engine.md shows one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.files import DamageError
from likewise.parsing import parse_json
from likewise.stores.base import Batch, Record, SearchResult
from likewise.stores.conditions import normal_form
from likewise.stores.current_collection import PATIENCE, CurrentCollection
from likewise.stores.damage import explain_damaged_store
from likewise.stores.field_vectors import unpack_field_vectors
from likewise.stores.inputs import check_k, normalise_vectors, prepare_items
from likewise.stores.results import no_results
from likewise.stores.schema import ID, Schema
from likewise.stores.uri import Location

Result = TypeVar("Result")


@dataclass(frozen=True)
class StoredItem:
    """One item as an engine holds it.

    Attributes:
        fields: the column "fields" as it was written, a JSON object.
        vector: (dim,), if it was asked for.
        field_vectors: the column "field_vectors" as it was written, if it was asked for.
    """

    id: str
    fields: str
    vector: np.ndarray | Sequence[float] | None = None
    field_vectors: bytes | None = None


class Collection(Protocol):
    """What an engine does with one collection of items; it need not check what it is given."""

    @property
    def schema(self) -> Schema:
        """As it was when the collection was created."""

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray) -> None:
        """Write items, which replace those of the same id.

        Args:
            items: at least one row, distinct ids: the columns of `schema.stored_types`, then "fields" (String), then,
                if the schema names fields, "field_vectors" (Binary).
            vectors: (n, dim) float32, unit norm.
        """

    def delete(self, ids: list[str]) -> int:
        """Remove items by their distinct ids; returns how many were there."""

    def search(
        self, queries: np.ndarray, k: int, condition: Condition | None, *, exact: bool
    ) -> Sequence[SearchResult]:
        """The k nearest items of each query.

        Args:
            queries: (q, dim) float32, unit norm, at least one.
            condition: in the normal form of conditions.py; None: all items count.
            exact: no item may be missed; otherwise an index may be used.
        """

    def fetch(self, ids: list[str], *, vectors: bool, field_vectors: bool) -> Iterable[StoredItem]:
        """Those of some distinct ids that are there, in any order."""

    def count(self, condition: Condition | None) -> int:
        """How many items meet a condition in its normal form."""

    def walk(self, size: int, *, vectors: bool) -> Iterator[list[StoredItem]]:
        """All items, `size` at most at a time."""

    def optimise(self) -> None:
        """Do what makes searches fast after many writes."""


class Connection(Protocol):
    """What one handle of a store reaches its engine through."""

    @property
    def location(self) -> Location:
        """Where the engine is."""

    def explain_errors(self) -> AbstractContextManager[None]:
        """The context of all that is done with the engine: what it raises becomes a `UserError` of one sentence.

        The sentence names the location and the way out, and holds no secret.
        """

    def current_name(self) -> str | None:
        """The name of the collection in use, another one after each replacement; None where there is no store."""

    def close(self) -> None:
        """Close the connection; closing twice is allowed."""


class CollectionStore:
    """A `Store`; safe to use from several threads as far as its engine is.

    Args:
        current: the collection to read and write.
    """

    def __init__(self, connection: Connection, current: CurrentCollection[Collection]) -> None:
        self._connection, self._current = connection, current

    @property
    def schema(self) -> Schema:
        with self._connection.explain_errors():
            return self._current.get().schema

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray, field_vectors: np.ndarray | None = None) -> None:
        def write(collection: Collection) -> None:
            stored, unit = prepare_items(items, vectors, collection.schema, field_vectors)
            if len(stored):
                collection.upsert(stored, unit)

        with self._connection.explain_errors():
            self._current.write(write)

    def delete(self, ids: Sequence[str]) -> int:
        distinct = list(dict.fromkeys(ids))
        if not distinct:
            return 0
        with self._connection.explain_errors():
            return self._current.write(lambda collection: collection.delete(distinct))

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> Sequence[SearchResult]:
        k = check_k(k)

        def read(collection: Collection) -> Sequence[SearchResult]:
            queries = normalise_vectors(vectors, collection.schema.dim)
            form = True if condition is None else normal_form(condition, collection.schema)
            if len(queries) == 0 or form is False:
                return no_results(len(queries))
            return _search(collection, queries, k, None if form is True else form)

        with self._connection.explain_errors():
            return self._current.read(read)

    def fetch(self, ids: Sequence[str], *, vectors: bool = False, field_vectors: bool = False) -> list[Record | None]:
        distinct = list(dict.fromkeys(ids))

        def read(collection: Collection) -> dict[str, Record]:
            if not distinct:
                return {}
            schema, kept = collection.schema, field_vectors and bool(collection.schema.field_vectors)
            items = collection.fetch(distinct, vectors=vectors, field_vectors=kept)
            return {item.id: self._decode(item, schema, field_vectors) for item in items}

        with self._connection.explain_errors():
            records = self._current.read(read)
        return [records.get(id) for id in ids]

    def count(self, condition: Condition | None = None) -> int:
        def read(collection: Collection) -> int:
            form = True if condition is None else normal_form(condition, collection.schema)
            return 0 if form is False else collection.count(None if form is True else form)

        with self._connection.explain_errors():
            return self._current.read(read)

    def iterate(self, batch: int = 10_000, *, vectors: bool = True) -> Iterator[Batch]:
        with self._connection.explain_errors():
            pages = self._current.get(refresh=True).walk(batch, vectors=vectors)
        while True:
            with self._connection.explain_errors():
                page = next(pages, None)
            if page is None:
                return
            unit = np.array([item.vector if vectors else () for item in page], dtype=np.float32)
            yield Batch([item.id for item in page], [self._read_fields(item) for item in page], unit)

    def refresh(self) -> None:
        with self._connection.explain_errors():
            self._current.get(refresh=True)

    def optimise(self) -> None:
        with self._connection.explain_errors():
            self._current.get(refresh=True).optimise()
            self._current.get(refresh=True)  # an engine may give a collection with an index another name

    def close(self) -> None:
        self._connection.close()

    def _decode(self, item: StoredItem, schema: Schema, field_vectors: bool) -> Record:
        vector = None if item.vector is None else np.asarray(item.vector, dtype=np.float32)
        fields = self._read_fields(item)
        if not field_vectors:
            return Record(item.id, fields, vector)
        try:
            blob = item.field_vectors
            towers = {} if blob is None else unpack_field_vectors(blob, schema.field_vectors, schema.dim)
        except ValueError:
            raise self._explain_damaged(item) from None
        return Record(item.id, fields, vector, towers)

    def _read_fields(self, item: StoredItem) -> dict[str, Any]:
        """What an item's row says of its columns; whoever can write into the database can write anything there."""
        try:
            fields = parse_json(item.fields)
        except (ValueError, TypeError):
            fields = None
        if not isinstance(fields, dict) or fields.get(ID) != item.id:
            raise self._explain_damaged(item)
        return fields

    def _explain_damaged(self, item: StoredItem) -> UserError:
        error = DamageError(f"what it says of the item {item.id!r} is not what was written")
        return explain_damaged_store(self._connection.location, error)


def open_collection_store(
    connection: Connection, open_collection: Callable[[str], Collection], *, patience: float = PATIENCE
) -> CollectionStore:
    """Open the store that a connection leads to; the connection is closed if that fails.

    Args:
        open_collection: opens a collection by its name.
        patience: seconds until the connection is asked again which collection is in use; 0 where asking costs nothing.

    Raises:
        UserError: there is no store, or it cannot be read.
    """

    def name() -> str:
        current, location = connection.current_name(), connection.location
        if current is None:
            raise UserError(f"there is no store at {location}: build it with `likewise index --store {location}`")
        return current

    store = CollectionStore(connection, CurrentCollection(name, open_collection, patience=patience))
    try:
        _ = store.schema
    except BaseException:
        store.close()
        raise
    return store


def _search(collection: Collection, queries: np.ndarray, k: int, condition: Condition | None) -> Sequence[SearchResult]:
    """The k nearest items of each query; an exact search completes what an index did not find."""
    results = list(collection.search(queries, k, condition, exact=False))
    short = [number for number, result in enumerate(results) if len(result.ids) < k]
    if short:
        wanted = min(k, collection.count(condition))
        short = [number for number in short if len(results[number].ids) < wanted]
    if short:
        for number, result in zip(short, collection.search(queries[short], k, condition, exact=True), strict=True):
            results[number] = result
    return results
