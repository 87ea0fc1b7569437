"""Connections to one PostgreSQL database with pgvector, one for each thread that needs one at the moment."""

import os
import selectors
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import numpy as np

from likewise.errors import MissingExtraError, UserError
from likewise.stores.uri import Credentials, Location

if TYPE_CHECKING:
    import psycopg

_HEADER = struct.Struct(">HH")
_OLDEST = (0, 8)  # the first with iterative scans
_KEPT = 8  # idle connections; more are closed when they come back
_SECONDS = 10  # for a connection; libpq's option connect_timeout says otherwise
_OWN_OPTIONS = frozenset({"collection"})  # all others are libpq's; see ../options.py

# Neither PGPASSWORD nor ~/.pgpass, client certificates or Kerberos; a server that asks who we are is left.
_WITHHELD = {
    "password": "",
    "passfile": f"{os.devnull}/none",
    "require_auth": "none",
    "sslcertmode": "disable",
    "gssencmode": "disable",
}
# How many candidates a search of the graph looks at. Of the true ten best among 50,000 clustered vectors in 512
# dimensions, 100 find 93 %, 200 find 98 % and 300 find 99 %, with the graph of collection.py. In pgvector's own graph
# (m = 16, ef_construction = 64) they find 83, 94 and 97 %.
CANDIDATES = 200
_SETTINGS = f"SET hnsw.ef_search = {CANDIDATES}; SET hnsw.iterative_scan = strict_order"


class ConnectionPool:
    """A pool without a thread of its own.

    Args:
        location: libpq's URI, but for `?collection=`.
        credentials: where they are silent, libpq looks in PGPASSWORD and ~/.pgpass as for any program.

    Raises:
        UserError: the location is none that libpq understands.
    """

    def __init__(self, location: Location, credentials: Credentials) -> None:
        self._psycopg = _library()
        self._location = location
        self._settings = _settings(location, credentials)
        self._idle: list[psycopg.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def use(self) -> Iterator["psycopg.Connection"]:
        """A connection for the length of a block; each statement commits unless a transaction is open.

        Raises:
            UserError: the server cannot be reached or refuses; anything else as psycopg says it.
        """
        connection = self._take()
        try:
            yield connection
        except self._refusals as error:
            raise UserError(f"PostgreSQL at {self._location} refuses: {_sentence(error)}") from None
        finally:
            self._give_back(connection)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock of a name for the length of a block; whoever else wants it, in any process, waits."""
        with self.use() as connection:
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
            try:
                yield
            finally:
                connection.close()  # lets go of it, even where the server has hung up meanwhile

    def close(self) -> None:
        """Close what is idle now, and the others as they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @property
    def errors(self) -> Any:
        """Those that psycopg raises."""
        return self._psycopg.errors

    @property
    def _refusals(self) -> tuple[type[Exception], ...]:
        return self._psycopg.OperationalError, self.errors.InsufficientPrivilege, self.errors.ReadOnlySqlTransaction

    def _take(self) -> "psycopg.Connection":
        while True:
            with self._lock:
                if self._closed:
                    raise UserError(f"the store at {self._location} is closed")
                if not self._idle:
                    break
                connection = self._idle.pop()
            if not connection.closed and not _has_input(connection):
                return connection
            connection.close()
        return self._connect()

    def _give_back(self, connection: "psycopg.Connection") -> None:
        usable = not connection.closed and connection.info.transaction_status.name == "IDLE"
        with self._lock:
            if usable and not self._closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> "psycopg.Connection":
        try:
            connection = self._psycopg.connect(**self._settings)
        except self._psycopg.Error as error:
            raise UserError(f"PostgreSQL at {self._location} cannot be reached: {_sentence(error)}") from None
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: "psycopg.Connection") -> None:
        try:
            row = connection.execute(
                "SELECT extversion, extnamespace::regnamespace::text, t.oid::int, current_setting('server_encoding')"
                " FROM pg_extension e JOIN pg_type t ON t.typnamespace = e.extnamespace AND t.typname = 'vector'"
                " WHERE extname = 'vector'"
            ).fetchone()
            if row is None:
                raise UserError(_without_pgvector(connection, self._location))
            version, schema, oid, encoding = row
            if encoding != "UTF8":
                raise UserError(f"the database at {self._location} is encoded in {encoding}: make one with UTF8")
            if _number(version) < _OLDEST:
                raise UserError(_with_old_pgvector(connection, self._location, version))
            _register_vectors(connection, oid)
            # pgvector's operators are found wherever it was installed; tables are still made where they would be.
            path = "concat_ws(', ', nullif(current_setting('search_path'), ''), %s::text)"
            connection.execute(f"SELECT set_config('search_path', {path}, false)", (schema,))
            connection.execute(_SETTINGS)
        except self._refusals as error:
            raise UserError(f"PostgreSQL at {self._location} refuses: {_sentence(error)}") from None


def _register_vectors(connection: "psycopg.Connection", oid: int) -> None:
    """Let a connection take and give vectors as (dim,) float32.

    A vector travels as pgvector's `vector_send` writes it: its dimensions and a zero, 16 bits each, then float32, all
    of it big-endian.

    Args:
        oid: of the type `vector` in this database.
    """
    from psycopg.adapt import Buffer, Dumper, Loader
    from psycopg.pq import Format

    class VectorDumper(Dumper):
        format = Format.BINARY

        def dump(self, obj: np.ndarray) -> Buffer:
            return _HEADER.pack(len(obj), 0) + obj.astype(">f4").tobytes()

    class VectorLoader(Loader):
        format = Format.BINARY

        def load(self, data: Buffer) -> np.ndarray:
            return np.frombuffer(data, ">f4", offset=_HEADER.size).astype(np.float32)

    VectorDumper.oid = oid
    connection.adapters.register_dumper(np.ndarray, VectorDumper)
    connection.adapters.register_loader(oid, VectorLoader)


def _has_input(connection: "psycopg.Connection") -> bool:
    """Whether an idle connection has something to read: most likely that the server has hung up."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return bool(selector.select(timeout=0))


def _settings(location: Location, credentials: Credentials) -> dict[str, Any]:
    psycopg = _library()
    given = (*location.options, *location.private)
    options = [(name, value) for name, value in given if name not in _OWN_OPTIONS]
    question = f"?{urlencode(options, quote_via=quote)}" if options else ""
    try:
        settings = psycopg.conninfo.conninfo_to_dict(
            f"{location.scheme}://{location.host}{quote(location.path)}{question}"
        )
    except psycopg.Error as error:
        raise UserError(f"{location} cannot be read: {_sentence(error)}") from None
    settings = {"connect_timeout": _SECONDS, "application_name": "likewise", "keepalives_idle": 60} | settings
    usual = {option.keyword.decode(): option.val for option in psycopg.pq.Conninfo.get_defaults()}
    named = location if location.hosts else replace(location, host=(usual["host"] or b"").decode())
    if "sslmode" not in settings and "service" not in settings and named.is_remote and usual["sslmode"] == b"prefer":
        settings["sslmode"] = (
            "require"  # libpq's own default falls back to plain text where someone on the way wants it
        )
    if credentials.withheld:
        settings |= _WITHHELD
    if credentials.user:
        settings["user"] = credentials.user
    if secret := credentials.password or credentials.token:
        settings["password"] = secret
    # Plans are made for each filter afresh: a general one cannot know how rare its matches are.
    return settings | {"autocommit": True, "prepare_threshold": None, "client_encoding": "utf8"}


def _without_pgvector(connection: "psycopg.Connection", location: Location) -> str:
    first = "" if _available(connection) else "install version 0.8 or newer on the server, then "
    return f"the database at {location} lacks pgvector: {first}run CREATE EXTENSION vector in it as a superuser"


def _with_old_pgvector(connection: "psycopg.Connection", location: Location, version: str) -> str:
    newest = _available(connection) or version
    first = "" if _number(newest) >= _OLDEST else "install a newer one on the server, then "
    return f"{location} has pgvector {version}, but 0.8 is needed: {first}run ALTER EXTENSION vector UPDATE"


def _available(connection: "psycopg.Connection") -> str | None:
    row = connection.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    return None if row is None else str(row[0])


def _number(version: str) -> tuple[int, ...]:
    with suppress(ValueError):
        return tuple(int(part) for part in version.split(".")[:2])
    return _OLDEST  # a name instead of numbers is a build of someone who knows


def _sentence(error: Exception) -> str:
    """What the server or libpq says, without its hints, and without any secret, which neither repeats."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    lines = (primary or str(error)).strip().splitlines() or [type(error).__name__]
    if "SSL was required" in str(error):
        return "it has no TLS; over a network that you trust, add sslmode=disable to the URI"
    return lines[0].removeprefix("connection failed: ").removeprefix("connection is bad: ")


def _library() -> Any:
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError:
        raise MissingExtraError("psycopg", "pgvector") from None
    return psycopg
