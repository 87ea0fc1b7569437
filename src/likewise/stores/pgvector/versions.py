# ruff: noqa: S608 (table and column names are made of ASCII letters, digits and _; all else is a parameter)
"""Tables of a store side by side; another table names the one in use.

likewise_versions      a row for each table: its name, the collection it belongs to, its schema, and its state
products_3f9a2c41b7d0  a table of the collection "products"
"""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from likewise.errors import UserError
from likewise.stores.damage import explain_damaged_store
from likewise.stores.pgvector.connection import ConnectionPool
from likewise.stores.schema import Schema
from likewise.stores.uri import Location

if TYPE_CHECKING:
    import psycopg

# A table's states, in their order.
_BUILDING, _IN_USE, _REPLACED = "building", "in use", "replaced"

_PATIENCE = "2s"  # with those who still read a table that is to be dropped; after that, the next build drops it


class Versions:
    """The tables of one collection, and which one is in use; a `Connection` as collection_store.py wants it."""

    def __init__(self, pool: ConnectionPool, location: Location) -> None:
        self.pool, self.location = pool, location
        self._collection = location.collection
        self._known: dict[str, tuple[str, bool]] = {}  # schema and index of a table, as of when its name was asked for

    def current_name(self) -> str | None:
        """The name of the table in use."""
        return self._name("collection = %s AND state = %s", self._collection, _IN_USE)

    def find_building(self, table: str) -> str:
        """The name of a table that is being built.

        Raises:
            UserError: it has been removed.
        """
        name = self._name("table_name = %s AND state <> %s", table, _REPLACED)
        if name is None:
            raise self._lost()
        return name

    def is_indexed(self, table: str) -> bool:
        """Whether a table has an index of the vectors, as of when its name was asked for."""
        return self._known[table][1]

    def read_schema(self, table: str) -> Schema:
        """The schema of a table.

        Raises:
            UserError: it cannot be read.
        """
        try:
            return Schema.from_json(self._known[table][0])
        except (ValueError, KeyError, TypeError) as error:
            raise explain_damaged_store(self.location, error) from None

    @contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Around what is done with a table: it may have gone, although it is in use; see also `ConnectionPool.use`."""
        try:
            yield
        except (self.pool.errors.UndefinedTable, self.pool.errors.UndefinedColumn) as error:
            raise explain_damaged_store(self.location, error) from None

    def hold(self, connection: "psycopg.Connection", table: str) -> bool:
        """Keep a table from being replaced until the end of the transaction; False if it has been."""
        known = "SELECT 1 FROM likewise_versions WHERE table_name = %s AND state <> %s FOR SHARE"
        return connection.execute(known, (table, _REPLACED)).fetchone() is not None

    def close(self) -> None:
        """Close the connections."""
        self.pool.close()

    @contextmanager
    def build(self, schema: Schema, creation_statements: Callable[[str], str]) -> Iterator[str]:
        """Yield the name of a new, empty table, which is in use once the block ends without an error.

        Others that build the same collection wait here. What a block that fails leaves is removed, and what a process
        leaves that dies in it is removed by the next one.

        Args:
            creation_statements: the SQL that creates a table of a name.
        """
        with self.pool.lock(f"likewise {self._collection}"):
            table = self._create(schema, creation_statements)
            try:
                yield table
                self._switch(table)
            finally:
                with suppress(UserError):  # the next build tries again
                    self._sweep()

    def _name(self, condition: str, *values: str) -> str | None:
        known = "SELECT table_name, schema FROM likewise_versions WHERE"
        with self.pool.use() as connection:
            try:
                row = connection.execute(f"{known} {condition}", values).fetchone()
            except self.pool.errors.UndefinedTable:
                return None
            if row is None:
                return None
            table, schema = row
            if not self._is_ours(table):
                raise UserError(
                    f"the store at {self.location} is damaged: likewise_versions names a table that likewise did not "
                    "make; build it again"
                )
            (index,) = connection.execute("SELECT to_regclass(%s)", (index_name(table),)).fetchone()
        self._known[table] = schema, index is not None
        return str(table)

    def _is_ours(self, table: str) -> bool:
        """Whether a name from the database is one that `_create` gives, and may stand in a statement as it is."""
        return re.fullmatch(rf"{re.escape(self._collection.lower())}_[0-9a-f]{{12}}", table) is not None

    def _create(self, schema: Schema, creation_statements: Callable[[str], str]) -> str:
        table = f"{self._collection.lower()}_{secrets.token_hex(6)}"
        with self.pool.use() as connection, connection.transaction():
            # Two processes that create the same table at a time would fail, IF NOT EXISTS or not.
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('likewise_versions', 0))")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS likewise_versions (table_name text PRIMARY KEY, index_name text NOT NULL,"
                " collection text NOT NULL, schema text NOT NULL, state text NOT NULL)"
            )
            connection.execute(creation_statements(table))
            connection.execute(
                "INSERT INTO likewise_versions VALUES (%s, %s, %s, %s, %s)",
                (table, index_name(table), self._collection, schema.to_json(), _BUILDING),
            )
        return table

    def _switch(self, table: str) -> None:
        with self.pool.use() as connection, connection.transaction():
            change = "UPDATE likewise_versions SET state = %s WHERE"
            connection.execute(f"{change} collection = %s AND state = %s", (_REPLACED, self._collection, _IN_USE))
            if connection.execute(f"{change} table_name = %s", (_IN_USE, table)).rowcount == 0:
                raise self._lost()

    def _sweep(self) -> None:
        """Remove what is not in use."""
        with self.pool.use() as connection:
            others = "collection = %s AND state <> %s"
            values = self._collection, _IN_USE
            connection.execute(f"UPDATE likewise_versions SET state = %s WHERE {others}", (_REPLACED, *values))
            for (table,) in connection.execute(f"SELECT table_name FROM likewise_versions WHERE {others}", values):
                with suppress(self.pool.errors.LockNotAvailable), connection.transaction():
                    connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
                    if self._is_ours(table):
                        connection.execute(f"DROP TABLE IF EXISTS {table}")
                    connection.execute("DELETE FROM likewise_versions WHERE table_name = %s", (table,))

    def _lost(self) -> UserError:
        return UserError(f"what was being built for {self.location} has been removed: build it again")


def index_name(table: str) -> str:
    """The name of a table's index of vectors."""
    return f"{table}_vectors"
