# ruff: noqa: S608 (table and column names are made of ASCII letters, digits and _; all else is a parameter)
"""Items in PostgreSQL with pgvector; `postgresql://host:5432/database?collection=name`.

The URI is libpq's own, so its options work as well: `?sslmode=require`, or `postgresql:///database?host=/run/postgresql`
for a socket. What a store is made of there is told in versions.py.

An item is found by its key (see filters.py). Its vector is there once, in float32; the index, a graph, holds a copy in
half of the precision, which takes half of the memory and up to 4,000 dimensions. So candidates come from the index, and
scores from the vectors.

PostgreSQL does not choose well between the graph and comparing with all that match, since it does not know what reading
a vector costs. So that is decided here, from its estimate of how many match.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.stores.base import SearchResult
from likewise.stores.collection_store import CollectionStore, StoredItem, open_collection_store
from likewise.stores.current_collection import CurrentCollection, ReplacedError
from likewise.stores.pgvector.connection import CANDIDATES, ConnectionPool
from likewise.stores.pgvector.filters import ESCAPED, item_key, unescape, where_clause
from likewise.stores.pgvector.versions import Versions, index_name
from likewise.stores.results import rank_hits
from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema
from likewise.stores.uri import Credentials, Location

if TYPE_CHECKING:
    import psycopg

MOST_DIMENSIONS = 16_000  # of pgvector's type; its index takes fewer
INDEX_FROM = 10_000  # items; comparing with all of them is quick enough until there

_GRAPH = "m = 24, ef_construction = 128"

# Measured with 512 dimensions: comparing with a vector takes 4 µs, a step in the graph 30, reading a row 0.1.
_STEP_COSTS = 8
_ROW_COSTS = 1 / 40

_MOST_INDEXED_DIMENSIONS = 4_000
_MORE_CANDIDATES = 5  # than hits, since halved precision may have changed their order
_QUERIES_AT_ONCE = 500  # a statement has 65,535 parameters at most, of which a filter takes some thousands
_GRAPH_BYTES = 1_500  # of an item's neighbours and headers while the index is built
_MOST_BUILDING_BYTES = 2**30  # that a build takes unasked

_KEY, _VECTOR = "key", "vector"
_TYPES = {pl.String: 'text COLLATE "C"', pl.Int64: "bigint", pl.Float64: "double precision", pl.Boolean: "boolean"}


def open_store(location: Location, credentials: Credentials) -> CollectionStore:
    """See base.py."""
    versions = Versions(ConnectionPool(location, credentials), location)
    return open_collection_store(versions, partial(PostgresCollection, versions))


@contextmanager
def replace_store(location: Location, schema: Schema, credentials: Credentials) -> Iterator[CollectionStore]:
    """See base.py."""
    if schema.dim > MOST_DIMENSIONS:
        raise UserError(f"pgvector holds vectors of at most {MOST_DIMENSIONS:,} dimensions, not {schema.dim:,}")
    with (
        closing(Versions(ConnectionPool(location, credentials), location)) as versions,
        versions.build(schema, lambda table: _creation_statements(table, schema)) as table,
    ):
        name = partial(versions.find_building, table)
        store = CollectionStore(versions, CurrentCollection(name, lambda name: PostgresCollection(versions, name)))
        yield store
        store.optimise()


class PostgresCollection:
    """The items of a table; several processes may read and write it at a time."""

    def __init__(self, versions: Versions, table: str) -> None:
        self._versions, self._pool = versions, versions.pool
        self._table, self.schema = table, versions.read_schema(table)

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray) -> None:
        texts = [name for name, kind in items.schema.items() if kind == pl.String and name != FIELDS]
        escapes = [pl.col(name).str.replace_many(ESCAPED) for name in texts]
        keys = [item_key(id) for id in items[ID]]
        columns = [_KEY, *items.columns, _VECTOR]
        changes = ", ".join(f"{column} = EXCLUDED.{column}" for column in columns[1:])
        statement = (
            f"INSERT INTO {self._table} ({', '.join(columns)}) VALUES ({', '.join(['%b'] * len(columns))})"
            f" ON CONFLICT ({_KEY}) DO UPDATE SET {changes}"
        )
        rows = zip(keys, items.with_columns(escapes).iter_rows(), vectors, strict=True)
        # All writers lock rows in the order of their keys, so that no two wait for each other.
        in_order = sorted(rows, key=lambda row: row[0])
        with self._transaction() as connection, connection.cursor() as cursor:
            cursor.executemany(statement, ((key, *cells, vector) for key, cells, vector in in_order))

    def delete(self, ids: list[str]) -> int:
        doomed = f"SELECT {_KEY} FROM {self._table} WHERE {_KEY} = ANY(%s) ORDER BY {_KEY} FOR UPDATE"
        statement = (
            f"WITH doomed AS ({doomed}) DELETE FROM {self._table} item USING doomed WHERE item.{_KEY} = doomed.{_KEY}"
        )
        with self._transaction() as connection:
            return connection.execute(statement, (_keys(ids),)).rowcount

    def search(self, queries: np.ndarray, k: int, condition: Condition | None, *, exact: bool) -> list[SearchResult]:
        with self._pool.use() as connection:
            if not exact:
                indexed = self._versions.is_indexed(self._table)
                exact = not indexed or self._exact_is_quicker(connection, k, condition)
            results: list[SearchResult] = []
            for start in range(0, len(queries), _QUERIES_AT_ONCE):
                part = queries[start : start + _QUERIES_AT_ONCE]
                results += self._search(connection, part, k, condition, exact)
            return results

    def fetch(self, ids: list[str], *, vectors: bool, field_vectors: bool) -> Iterator[StoredItem]:
        vector, blob = _VECTOR if vectors else "NULL", FIELD_VECTORS if field_vectors else "NULL"
        statement = f"SELECT {ID}, {FIELDS}, {vector}, {blob} FROM {self._table} WHERE {_KEY} = ANY(%s)"
        with self._pool.use() as connection:
            rows = connection.execute(statement, (_keys(ids),), binary=True).fetchall()
        return (StoredItem(unescape(id), *rest) for id, *rest in rows)

    def count(self, condition: Condition | None) -> int:
        parameters: list[object] = []
        limit = where_clause(condition, parameters)
        with self._pool.use() as connection:
            return int(connection.execute(f"SELECT count(*) FROM {self._table}{limit}", parameters).fetchone()[0])

    def walk(self, size: int, *, vectors: bool) -> Iterator[list[StoredItem]]:
        """All items; a connection is in a transaction for as long as the walk takes."""
        columns = f"{ID}, {FIELDS}, {_VECTOR if vectors else 'NULL'}"
        with (
            self._pool.use() as connection,
            connection.transaction(),
            connection.cursor("walk", binary=True) as cursor,
        ):
            cursor.execute(f"SELECT {columns} FROM {self._table}")
            while rows := cursor.fetchmany(size):
                yield [StoredItem(unescape(id), fields, vector) for id, fields, vector in rows]

    def optimise(self) -> None:
        """Tidy up, and index the vectors if there are many."""
        from psycopg.errors import DiskFull

        with self._pool.use() as connection:
            connection.execute(f"VACUUM (ANALYZE) {self._table}")
        count = self.count(None)
        if count < INDEX_FROM or self.schema.dim > _MOST_INDEXED_DIMENSIONS:
            return
        with self._pool.use() as connection:
            try:
                self._index(connection, count)
            except DiskFull:  # in a container, parallel workers find 64 MB of shared memory
                self._index(connection, count, "SET LOCAL max_parallel_maintenance_workers = 0")

    @contextmanager
    def _transaction(self) -> Iterator["psycopg.Connection"]:
        """A connection in a transaction that the table is not replaced in.

        Raises:
            ReplacedError: it was replaced before.
        """
        with self._pool.use() as connection, connection.transaction():
            if not self._versions.hold(connection, self._table):
                raise ReplacedError
            yield connection

    def _index(self, connection: "psycopg.Connection", count: int, setting: str = "") -> None:
        memory = min(count * (2 * self.schema.dim + _GRAPH_BYTES), _MOST_BUILDING_BYTES)
        with connection.transaction():
            connection.execute(
                "SELECT set_config('maintenance_work_mem', pg_size_pretty(greatest(%s,"
                " pg_size_bytes(current_setting('maintenance_work_mem')))), true)",
                (memory,),
            )
            connection.execute(setting)
            connection.execute(f"LOCK TABLE {self._table} IN SHARE ROW EXCLUSIVE MODE")  # others who do the same wait
            connection.execute(
                f"CREATE INDEX IF NOT EXISTS {index_name(self._table)} ON {self._table}"
                f" USING hnsw (({_VECTOR}::halfvec({self.schema.dim})) halfvec_ip_ops)"
                f" WITH ({_GRAPH})"
            )

    def _exact_is_quicker(self, connection: "psycopg.Connection", k: int, condition: Condition | None) -> bool:
        """Whether comparing with all items that match takes less time than finding k of them through the graph."""
        wanted = k + _MORE_CANDIDATES
        if condition is None and _STEP_COSTS * max(CANDIDATES, wanted) < INDEX_FROM:
            return False
        parameters: list[object] = []
        limit = where_clause(condition, parameters)
        with connection.pipeline():
            size = connection.execute("SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)", (self._table,))
            plan = connection.execute(f"EXPLAIN (FORMAT JSON) SELECT FROM {self._table}{limit}", parameters)
            rows, matches = max(1, size.fetchone()[0]), max(1, plan.fetchone()[0][0]["Plan"]["Plan Rows"])
        steps = max(CANDIDATES, wanted * rows / matches)
        return bool(matches + _ROW_COSTS * rows < _STEP_COSTS * steps)

    def _search(
        self, connection: "psycopg.Connection", queries: np.ndarray, k: int, condition: Condition | None, exact: bool
    ) -> list[SearchResult]:
        statement, parameters = self._search_statement(queries, k, condition, exact)
        with connection.pipeline(), connection.transaction():
            if not exact:
                connection.execute("SET LOCAL enable_sort = off")  # so the order has to come from the graph
            rows = connection.execute(statement, parameters, binary=True).fetchall()
        ids: list[list[str]] = [[] for _ in queries]
        scores: list[list[float]] = [[] for _ in queries]
        for number, id, distance in rows:
            ids[number].append(unescape(id))
            scores[number].append(-distance)
        return [rank_hits(*hits, k) for hits in zip(ids, scores, strict=True)]

    def _search_statement(
        self, queries: np.ndarray, k: int, condition: Condition | None, exact: bool
    ) -> tuple[str, list[object]]:
        """A statement and its parameters; its rows are the number of a query, an id and a distance."""
        parameters: list[object] = [parameter for numbered in enumerate(queries) for parameter in numbered]
        limit = where_clause(condition, parameters)
        distance, half = f"item.{_VECTOR} <#> query.vector", f"halfvec({self.schema.dim})"
        order = "distance" if exact else f"item.{_VECTOR}::{half} <#> query.vector::{half}"
        parameters.append(k if exact else k + _MORE_CANDIDATES)
        return (
            f"SELECT query.number, hit.{ID}, hit.distance"
            f" FROM (VALUES {', '.join(['(%s, %s)'] * len(queries))}) AS query (number, vector) CROSS JOIN LATERAL"
            f" (SELECT {ID}, {distance} AS distance FROM {self._table} item{limit} ORDER BY {order} LIMIT %s) AS hit",
            parameters,
        )


def _creation_statements(table: str, schema: Schema) -> str:
    """The statements that make a new table."""
    columns = [f"{name} {_TYPES[kind]}" for name, kind in schema.stored_types.items()]
    columns = [f"{_KEY} bytea PRIMARY KEY", *columns, f"{FIELDS} text NOT NULL"]
    columns += [f"{_VECTOR} vector({schema.dim}) NOT NULL"]
    if not schema.field_vectors:
        return f"CREATE TABLE {table} ({', '.join(columns)})"
    # Out of the way of searches, and not compressed: half-precision numbers hardly get smaller.
    return (
        f"CREATE TABLE {table} ({', '.join(columns)}, {FIELD_VECTORS} bytea NOT NULL);"
        f" ALTER TABLE {table} ALTER COLUMN {FIELD_VECTORS} SET STORAGE EXTERNAL"
    )


def _keys(ids: Sequence[str]) -> list[bytes]:
    return [item_key(id) for id in ids]
