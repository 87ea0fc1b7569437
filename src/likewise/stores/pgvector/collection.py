"""Items in PostgreSQL with pgvector; `postgresql://host:5432/database?collection=name`.

The URI is libpq's own, so its options work as well: `?sslmode=require`, or `postgresql:///database?host=/run/postgresql`
for a socket. What a store is made of there is told in pgvector/versions.py.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.stores.base import Batch, Found, Record
from likewise.stores.conditions import normal_form
from likewise.stores.following import Following
from likewise.stores.inputs import checked_k, prepared_items, unit_vectors
from likewise.stores.pgvector.connection import Connections
from likewise.stores.pgvector.content import MOST_DIMENSIONS, Content
from likewise.stores.pgvector.versions import Versions
from likewise.stores.results import in_order, nothing
from likewise.stores.schema import Schema
from likewise.stores.uri import Credentials, Location

if TYPE_CHECKING:
    import psycopg

Result = TypeVar("Result")


def open_store(location: Location, credentials: Credentials) -> "PostgresStore":
    """See base.py."""
    connections = Connections(location, credentials)
    versions = Versions(connections, location)
    store = PostgresStore(connections, versions, Following(versions.in_use, versions.content))
    try:
        _ = store.schema
    except BaseException:
        store.close()
        raise
    return store


@contextmanager
def replace_store(location: Location, schema: Schema, credentials: Credentials) -> Iterator["PostgresStore"]:
    """See base.py."""
    if schema.dim > MOST_DIMENSIONS:
        raise UserError(f"pgvector holds vectors of at most {MOST_DIMENSIONS:,} dimensions, not {schema.dim:,}")
    with closing(Connections(location, credentials)) as connections:
        versions = Versions(connections, location)
        with versions.building(schema) as table:
            store = PostgresStore(connections, versions, Following(lambda: versions.built(table), versions.content))
            yield store
            store.optimise()


class PostgresStore:
    """A `Store`; several processes may read and write it at a time."""

    def __init__(self, connections: Connections, versions: Versions, following: Following[Content]) -> None:
        self._connections, self._versions, self._following = connections, versions, following

    @property
    def schema(self) -> Schema:
        return self._following.current().schema

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray, field_vectors: np.ndarray | None = None) -> None:
        def write(connection: "psycopg.Connection", content: Content) -> None:
            stored, unit = prepared_items(items, vectors, content.schema, field_vectors)
            content.upsert(connection, stored, unit)

        self._write(write)

    def delete(self, ids: Sequence[str]) -> int:
        return self._write(lambda connection, content: content.delete(connection, ids))

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> list[Found]:
        def read(connection: "psycopg.Connection", content: Content) -> list[Found]:
            queries = unit_vectors(vectors, content.schema.dim)
            limit = _normal_form(condition, content.schema)
            if len(queries) == 0 or limit is False:
                return nothing(len(queries))
            return content.search(connection, queries, checked_k(k), limit)

        return self._read(read)

    def fetch(self, ids: Sequence[str], *, vectors: bool = False, field_vectors: bool = False) -> list[Record | None]:
        return in_order(
            ids, self._read(lambda connection, content: content.fetch(connection, ids, vectors, field_vectors))
        )

    def count(self, condition: Condition | None = None) -> int:
        return self._read(
            lambda connection, content: content.count(connection, _normal_form(condition, content.schema))
        )

    def iterate(self, batch: int = 10_000, *, vectors: bool = True) -> Iterator[Batch]:
        with self._versions.naming_damage():
            content = self._following.current(asking=True)
            with self._connections.use() as connection, connection.transaction():
                yield from content.batches(connection, batch, vectors)

    def optimise(self) -> None:
        self._read(lambda connection, content: content.optimise(connection))
        self._following.current(asking=True)

    def close(self) -> None:
        self._connections.close()

    def _read(self, operation: Callable[["psycopg.Connection", Content], Result]) -> Result:
        def read(content: Content) -> Result:
            with self._connections.use() as connection:
                return operation(connection, content)

        with self._versions.naming_damage():
            return self._following.read(read)

    def _write(self, operation: Callable[["psycopg.Connection", Content], Result]) -> Result:
        """Run something in a transaction, and again if the content was replaced before it began."""
        with self._versions.naming_damage():
            while True:
                content = self._following.current(asking=True)
                with self._connections.use() as connection, connection.transaction():
                    if self._versions.held(connection, content):
                        return operation(connection, content)


def _normal_form(condition: Condition | None, schema: Schema) -> Condition | bool:
    return True if condition is None else normal_form(condition, schema)
