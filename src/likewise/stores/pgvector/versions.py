# ruff: noqa: S608 (table and column names are made of ASCII letters, digits and _; all else is a parameter)
"""Contents of a store side by side, each in a table of its own; another table names the one in use.

likewise_versions      a row for each content: its table, the collection it belongs to, its schema, and its state
products_3f9a2c41b7d0  a content of the collection "products"
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from likewise.errors import UserError
from likewise.stores.damage import explain_damaged_store
from likewise.stores.pgvector.connection import Connections
from likewise.stores.pgvector.content import Content, creation, index_of
from likewise.stores.schema import Schema
from likewise.stores.uri import Location

if TYPE_CHECKING:
    import psycopg

# A content's states, in their order.
_BUILDING, _IN_USE, _REPLACED = "building", "in use", "replaced"

_INDEXED = " indexed"
_PATIENCE = "2s"  # with those who still read a content that is to be dropped; after that, the next build drops it


class Versions:
    """The contents of one collection.

    A content goes by a name that changes once it has an index, so that handles follow that as well.
    """

    def __init__(self, connections: Connections, location: Location) -> None:
        self._connections, self._location = connections, location
        self._collection = location.collection
        self._schemas: dict[str, str] = {}  # as they were read together with the names

    def in_use(self) -> str:
        """The name of the content in use.

        Raises:
            UserError: there is none.
        """
        name = self._name("collection = %s AND state = %s", self._collection, _IN_USE)
        if name is None:
            raise UserError(
                f"there is no store at {self._location}: build it with `likewise index --store {self._location}`"
            )
        return name

    def built(self, table: str) -> str:
        """The name of a content that is being built.

        Raises:
            UserError: it has been removed.
        """
        name = self._name("table_name = %s AND state <> %s", table, _REPLACED)
        if name is None:
            raise self._lost()
        return name

    def content(self, name: str) -> Content:
        """The content of a name.

        Raises:
            UserError: what is known of it cannot be read.
        """
        table = name.removesuffix(_INDEXED)
        try:
            return Content(table, Schema.from_json(self._schemas[name]), indexed=name != table)
        except (ValueError, KeyError, TypeError) as error:
            raise explain_damaged_store(self._location, error) from None

    @contextmanager
    def naming_damage(self) -> Iterator[None]:
        """Around what is done with a content: its table may have gone, although it is in use."""
        try:
            yield
        except (self._connections.errors.UndefinedTable, self._connections.errors.UndefinedColumn) as error:
            raise explain_damaged_store(self._location, error) from None

    def held(self, connection: "psycopg.Connection", content: Content) -> bool:
        """Keep a content from being replaced until the end of the transaction; False if it has been."""
        known = "SELECT 1 FROM likewise_versions WHERE table_name = %s AND state <> %s FOR SHARE"
        return connection.execute(known, (content.table, _REPLACED)).fetchone() is not None

    @contextmanager
    def building(self, schema: Schema) -> Iterator[str]:
        """Yield the table of a new, empty content, which is in use once the block ends without an error.

        Others that build the same collection wait here. What a block that fails leaves is removed, and what a process
        leaves that dies in it is removed by the next one.
        """
        with self._connections.locked(f"likewise {self._collection}"):
            table = self._created(schema)
            try:
                yield table
                self._switch(table)
            finally:
                with suppress(UserError):  # the next build tries again
                    self._sweep()

    def _name(self, condition: str, *values: str) -> str | None:
        known = "SELECT table_name, schema, to_regclass(index_name) FROM likewise_versions WHERE"
        with self._connections.use() as connection:
            try:
                row = connection.execute(f"{known} {condition}", values).fetchone()
            except self._connections.errors.UndefinedTable:
                return None
        if row is None:
            return None
        table, schema, index = row
        name = table + (_INDEXED if index else "")
        self._schemas[name] = schema
        return name

    def _created(self, schema: Schema) -> str:
        table = f"{self._collection.lower()}_{secrets.token_hex(6)}"
        with self._connections.use() as connection, connection.transaction():
            # Two processes that create the same table at a time would fail, IF NOT EXISTS or not.
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('likewise_versions', 0))")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS likewise_versions (table_name text PRIMARY KEY, index_name text NOT NULL,"
                " collection text NOT NULL, schema text NOT NULL, state text NOT NULL)"
            )
            connection.execute(creation(table, schema))
            connection.execute(
                "INSERT INTO likewise_versions VALUES (%s, %s, %s, %s, %s)",
                (table, index_of(table), self._collection, schema.to_json(), _BUILDING),
            )
        return table

    def _switch(self, table: str) -> None:
        with self._connections.use() as connection, connection.transaction():
            change = "UPDATE likewise_versions SET state = %s WHERE"
            connection.execute(f"{change} collection = %s AND state = %s", (_REPLACED, self._collection, _IN_USE))
            if connection.execute(f"{change} table_name = %s", (_IN_USE, table)).rowcount == 0:
                raise self._lost()

    def _sweep(self) -> None:
        """Remove what is not in use."""
        with self._connections.use() as connection:
            others = "collection = %s AND state <> %s"
            values = self._collection, _IN_USE
            connection.execute(f"UPDATE likewise_versions SET state = %s WHERE {others}", (_REPLACED, *values))
            for (table,) in connection.execute(f"SELECT table_name FROM likewise_versions WHERE {others}", values):
                with suppress(self._connections.errors.LockNotAvailable), connection.transaction():
                    connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
                    connection.execute(f"DROP TABLE IF EXISTS {table}")
                    connection.execute("DELETE FROM likewise_versions WHERE table_name = %s", (table,))

    def _lost(self) -> UserError:
        return UserError(f"what was being built for {self._location} has been removed: build it again")
