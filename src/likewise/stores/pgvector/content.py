# ruff: noqa: S608 (table and column names are made of ASCII letters, digits and _; all else is a parameter)
"""One table of items, in SQL.

An item is found by its key (see values.py). Its vector is there once, in float32; the index, a graph, holds a copy in
half of the precision, which takes half of the memory and up to 4,000 dimensions. So candidates come from the index, and
scores from the vectors.

PostgreSQL does not choose well between the graph and comparing with all that match, since it does not know what reading
a vector costs. So that is decided here, from its estimate of how many match.
"""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition, Value
from likewise.stores.base import Batch, Found, Record
from likewise.stores.field_vectors import unpack_field_vectors
from likewise.stores.pgvector.values import ESCAPED, escaped, key_of, unescaped
from likewise.stores.results import found, record
from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema
from likewise.stores.sql import where

if TYPE_CHECKING:
    import psycopg

MOST_DIMENSIONS = 16_000  # of pgvector's type; its index takes fewer
INDEX_FROM = 10_000  # items; comparing with all of them is quick enough until there

# How many candidates a search of the graph looks at. Of the true ten best among 50,000 clustered vectors in 512
# dimensions, 100 find 93 %, 200 find 98 % and 300 find 99 %. In pgvector's own graph (m = 16, ef_construction = 64)
# they find 83, 94 and 97 %.
CANDIDATES = 200
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


class Content:
    """The items of a table; methods take the connection to use, and leave transactions to their callers.

    Attributes:
        indexed: there is an index of the vectors.
    """

    def __init__(self, table: str, schema: Schema, indexed: bool) -> None:
        self.table, self.schema, self.indexed = table, schema, indexed

    def upsert(self, connection: "psycopg.Connection", stored: pl.DataFrame, unit: np.ndarray) -> None:
        """Write what `prepared_items` gives."""
        texts = [name for name, kind in stored.schema.items() if kind == pl.String and name != FIELDS]
        escapes = [pl.col(name).str.replace_many(ESCAPED) for name in texts]
        keys = [key_of(id) for id in stored[ID]]
        columns = [_KEY, *stored.columns, _VECTOR]
        changes = ", ".join(f"{column} = EXCLUDED.{column}" for column in columns[1:])
        statement = (
            f"INSERT INTO {self.table} ({', '.join(columns)}) VALUES ({', '.join(['%b'] * len(columns))})"
            f" ON CONFLICT ({_KEY}) DO UPDATE SET {changes}"
        )
        rows = zip(keys, stored.with_columns(escapes).iter_rows(), unit, strict=True)
        # All writers lock rows in the order of their keys, so that no two wait for each other.
        in_order = sorted(rows, key=lambda row: row[0])
        with connection.cursor() as cursor:
            cursor.executemany(statement, ((key, *cells, vector) for key, cells, vector in in_order))

    def delete(self, connection: "psycopg.Connection", ids: Sequence[str]) -> int:
        """Remove items; returns how many were there."""
        doomed = f"SELECT {_KEY} FROM {self.table} WHERE {_KEY} = ANY(%s) ORDER BY {_KEY} FOR UPDATE"
        statement = (
            f"WITH doomed AS ({doomed}) DELETE FROM {self.table} item USING doomed WHERE item.{_KEY} = doomed.{_KEY}"
        )
        return connection.execute(statement, (_keys(ids),)).rowcount

    def search(
        self, connection: "psycopg.Connection", queries: np.ndarray, k: int, condition: Condition | bool
    ) -> list[Found]:
        """The k nearest items of each query, through the index where it finds as many.

        Args:
            queries: (q, dim) unit vectors.
            condition: in its normal form.
        """
        if not self.indexed or self._exact_is_quicker(connection, k, condition):
            return self._hits(connection, queries, k, condition, exact=True)
        results = self._hits(connection, queries, k, condition, exact=False)
        short = [number for number, result in enumerate(results) if len(result.ids) < k]
        if short:  # fewer match than was estimated, or the graph was left before they had been found
            again = self._hits(connection, queries[short], k, condition, exact=True)
            for number, result in zip(short, again, strict=True):
                results[number] = result
        return results

    def fetch(
        self, connection: "psycopg.Connection", ids: Sequence[str], vectors: bool, field_vectors: bool
    ) -> dict[str, Record]:
        """The items there are, by their ids."""
        vector = _VECTOR if vectors else "NULL"
        blob = FIELD_VECTORS if field_vectors and self.schema.field_vectors else "NULL"
        statement = f"SELECT {ID}, {FIELDS}, {vector}, {blob} FROM {self.table} WHERE {_KEY} = ANY(%s)"
        records: dict[str, Record] = {}
        for id, fields, unit, packed in connection.execute(statement, (_keys(ids),), binary=True):
            towers = self._field_vectors(packed) if field_vectors else None
            records[unescaped(id)] = record(unescaped(id), fields, unit, towers)
        return records

    def count(self, connection: "psycopg.Connection", condition: Condition | bool) -> int:
        """How many items meet a condition in its normal form."""
        parameters: list[object] = []
        limit = _where(condition, parameters)
        return int(connection.execute(f"SELECT count(*) FROM {self.table}{limit}", parameters).fetchone()[0])

    def batches(self, connection: "psycopg.Connection", size: int, vectors: bool) -> Iterator[Batch]:
        """All items; the connection is in a transaction for as long as the walk takes."""
        columns = f"{ID}, {FIELDS}, {_VECTOR}" if vectors else f"{ID}, {FIELDS}"
        with connection.cursor("walk", binary=True) as cursor:
            cursor.execute(f"SELECT {columns} FROM {self.table}")
            while rows := cursor.fetchmany(size):
                ids = [unescaped(row[0]) for row in rows]
                fields = [json.loads(row[1]) for row in rows]
                yield Batch(ids, fields, np.array([row[2] if vectors else () for row in rows], dtype=np.float32))

    def optimise(self, connection: "psycopg.Connection") -> None:
        """Tidy up, and index the vectors if there are many; the connection is in no transaction."""
        from psycopg.errors import DiskFull

        connection.execute(f"VACUUM (ANALYZE) {self.table}")
        count = self.count(connection, True)
        if count < INDEX_FROM or self.schema.dim > _MOST_INDEXED_DIMENSIONS:
            return
        try:
            self._index(connection, count)
        except DiskFull:  # in a container, parallel workers find 64 MB of shared memory
            self._index(connection, count, "SET LOCAL max_parallel_maintenance_workers = 0")

    def _field_vectors(self, blob: bytes | None) -> dict[str, np.ndarray]:
        return {} if blob is None else unpack_field_vectors(blob, self.schema.field_vectors, self.schema.dim)

    def _index(self, connection: "psycopg.Connection", count: int, setting: str = "") -> None:
        memory = min(count * (2 * self.schema.dim + _GRAPH_BYTES), _MOST_BUILDING_BYTES)
        with connection.transaction():
            connection.execute(
                "SELECT set_config('maintenance_work_mem', pg_size_pretty(greatest(%s,"
                " pg_size_bytes(current_setting('maintenance_work_mem')))), true)",
                (memory,),
            )
            connection.execute(setting)
            connection.execute(f"LOCK TABLE {self.table} IN SHARE ROW EXCLUSIVE MODE")  # others who do the same wait
            connection.execute(
                f"CREATE INDEX IF NOT EXISTS {index_of(self.table)} ON {self.table}"
                f" USING hnsw (({_VECTOR}::halfvec({self.schema.dim})) halfvec_ip_ops)"
                f" WITH ({_GRAPH})"
            )

    def _exact_is_quicker(self, connection: "psycopg.Connection", k: int, condition: Condition | bool) -> bool:
        """Whether comparing with all items that match takes less time than finding k of them through the graph."""
        wanted = k + _MORE_CANDIDATES
        if condition is True and _STEP_COSTS * max(CANDIDATES, wanted) < INDEX_FROM:
            return False
        parameters: list[object] = []
        limit = _where(condition, parameters)
        with connection.pipeline():
            size = connection.execute("SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)", (self.table,))
            plan = connection.execute(f"EXPLAIN (FORMAT JSON) SELECT FROM {self.table}{limit}", parameters)
            rows, matches = max(1, size.fetchone()[0]), max(1, plan.fetchone()[0][0]["Plan"]["Plan Rows"])
        steps = max(CANDIDATES, wanted * rows / matches)
        return bool(matches + _ROW_COSTS * rows < _STEP_COSTS * steps)

    def _hits(
        self, connection: "psycopg.Connection", queries: np.ndarray, k: int, condition: Condition | bool, exact: bool
    ) -> list[Found]:
        results: list[Found] = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            part = queries[start : start + _QUERIES_AT_ONCE]
            statement, parameters = self._search(part, k, condition, exact)
            with connection.pipeline(), connection.transaction():
                if not exact:
                    connection.execute("SET LOCAL enable_sort = off")  # so the order has to come from the graph
                rows = connection.execute(statement, parameters, binary=True).fetchall()
            ids: list[list[str]] = [[] for _ in part]
            scores: list[list[float]] = [[] for _ in part]
            for number, id, distance in rows:
                ids[number].append(unescaped(id))
                scores[number].append(-distance)
            results += [found(*hits, k) for hits in zip(ids, scores, strict=True)]
        return results

    def _search(
        self, queries: np.ndarray, k: int, condition: Condition | bool, exact: bool
    ) -> tuple[str, list[object]]:
        """A statement and its parameters; its rows are the number of a query, an id and a distance."""
        parameters: list[object] = [parameter for numbered in enumerate(queries) for parameter in numbered]
        limit = _where(condition, parameters)
        distance, half = f"item.{_VECTOR} <#> query.vector", f"halfvec({self.schema.dim})"
        order = "distance" if exact else f"item.{_VECTOR}::{half} <#> query.vector::{half}"
        parameters.append(k if exact else k + _MORE_CANDIDATES)
        return (
            f"SELECT query.number, hit.{ID}, hit.distance"
            f" FROM (VALUES {', '.join(['(%s, %s)'] * len(queries))}) AS query (number, vector) CROSS JOIN LATERAL"
            f" (SELECT {ID}, {distance} AS distance FROM {self.table} item{limit} ORDER BY {order} LIMIT %s) AS hit",
            parameters,
        )


def creation(table: str, schema: Schema) -> str:
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


def index_of(table: str) -> str:
    """The name of a table's index of vectors."""
    return f"{table}_vectors"


def _where(condition: Condition | bool, parameters: list[object]) -> str:
    """A WHERE clause, or nothing; its parameters are added to the list."""
    if isinstance(condition, bool):
        return "" if condition else " WHERE false"

    def placeholder(value: Value) -> str:
        parameters.append(escaped(value) if isinstance(value, str) else value)
        return "%s"

    return f" WHERE {where(condition, placeholder)}"


def _keys(ids: Sequence[str]) -> list[bytes]:
    return [key_of(id) for id in set(ids)]
