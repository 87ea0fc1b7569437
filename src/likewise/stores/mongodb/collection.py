"""Items in MongoDB, searched with `$vectorSearch`; `mongodb://host:27017/database?collection=name`.

The URI is MongoDB's own, so `mongodb+srv://` and options such as `?authSource=admin` work as well. What a store is made
of there is told in mongo/connection.py and mongo/documents.py.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.stores.base import Batch, Found, Record
from likewise.stores.conditions import normal_form
from likewise.stores.contents import LINGER, replacing
from likewise.stores.damage import explain_damaged_store
from likewise.stores.following import PATIENCE, Following
from likewise.stores.inputs import checked_k, prepared_items, unit_vectors
from likewise.stores.mongodb.connection import Connection
from likewise.stores.mongodb.content import MOST_DIMENSIONS, Content
from likewise.stores.results import in_order, nothing
from likewise.stores.schema import Schema
from likewise.stores.uri import Credentials, Location

Result = TypeVar("Result")

_INDEXED = " indexed"


def open_store(location: Location, credentials: Credentials) -> "MongoStore":
    """See base.py."""
    connection = Connection(location, credentials)
    store = MongoStore(connection, Following(lambda: _name(connection), lambda name: _opened(connection, name)))
    try:
        _ = store.schema
    except BaseException:
        store.close()
        raise
    return store


@contextmanager
def replace_store(location: Location, schema: Schema, credentials: Credentials) -> Iterator["MongoStore"]:
    """See base.py."""
    if schema.dim > MOST_DIMENSIONS:
        raise UserError(f"MongoDB searches vectors of at most {MOST_DIMENSIONS:,} dimensions, not {schema.dim:,}")
    connection = Connection(location, credentials)
    with replacing(connection) as name:
        with connection.speaking():
            content = Content.created(connection.database, name, schema)
        store = MongoStore(connection, Following(lambda: "", lambda _: content))
        yield store
        store.optimise()


class MongoStore:
    """A `Store`; several processes may read and write it at a time."""

    def __init__(self, connection: Connection, following: Following[Content]) -> None:
        self._connection, self._following = connection, following

    @property
    def schema(self) -> Schema:
        return self._read(lambda content: content.schema)

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray, field_vectors: np.ndarray | None = None) -> None:
        def write(content: Content) -> None:
            content.upsert(*prepared_items(items, vectors, content.schema, field_vectors))
            content.wait_for_index()

        self._write(write)

    def delete(self, ids: Sequence[str]) -> int:
        return self._write(lambda content: content.delete(ids))  # what mongod lacks is not found, index or not

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> list[Found]:
        def read(content: Content) -> list[Found]:
            queries = unit_vectors(vectors, content.schema.dim)
            limit = _normal_form(condition, content.schema)
            if len(queries) == 0 or limit is False:
                return nothing(len(queries))
            return content.search(queries, checked_k(k), limit)

        return self._read(read)

    def fetch(self, ids: Sequence[str], *, vectors: bool = False, field_vectors: bool = False) -> list[Record | None]:
        return in_order(ids, self._read(lambda content: content.fetch(ids, vectors, field_vectors)))

    def count(self, condition: Condition | None = None) -> int:
        return self._read(lambda content: content.count(_normal_form(condition, content.schema)))

    def iterate(self, batch: int = 10_000, *, vectors: bool = True) -> Iterator[Batch]:
        with self._connection.speaking():
            yield from self._following.current(asking=True).batches(batch, vectors)

    def optimise(self) -> None:
        with self._connection.speaking():
            self._following.current(asking=True).optimise()
            self._following.current(asking=True)

    def close(self) -> None:
        self._connection.close()

    def _read(self, operation: Callable[[Content], Result]) -> Result:
        """Run something, and again if the content may have gone meanwhile: MongoDB answers as from an empty one."""
        with self._connection.speaking():
            while True:
                content, begun = self._following.current(), time.monotonic()
                result = self._following.read(operation)
                if time.monotonic() - begun < LINGER - PATIENCE or self._following.current(asking=True) is content:
                    return result

    def _write(self, operation: Callable[[Content], Result]) -> Result:
        """Run something, and again if the content was replaced meanwhile: it may have come too late to be copied."""
        with self._connection.speaking():
            while True:
                content = self._following.current(asking=True)
                result = operation(content)
                if self._following.current(asking=True) is content:
                    return result


def _name(connection: Connection) -> str:
    """The content in use, by a name that changes once it has an index, so that handles follow that as well."""
    used = connection.used_content()
    if used is None:
        location = connection.location
        raise UserError(f"there is no store at {location}: build it with `likewise index --store {location}`")
    return used + (_INDEXED if Content.is_indexed(connection.database[used]) else "")


def _opened(connection: Connection, name: str) -> Content:
    try:
        return Content.opened(connection.database[name.removesuffix(_INDEXED)])
    except (ValueError, KeyError, TypeError) as error:
        raise explain_damaged_store(connection.location, error) from None


def _normal_form(condition: Condition | None, schema: Schema) -> Condition | bool:
    return True if condition is None else normal_form(condition, schema)
