"""A connection to a Milvus server, or to Milvus Lite, which is a server inside this process for one folder of data."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from likewise.errors import MissingExtraError, UserError
from likewise.stores.shared_database import SharedDatabases
from likewise.stores.uri import Credentials, Location

CONNECTING = 5.0  # seconds
_NO_ALIAS = (100, 1600)  # Milvus Lite, and servers
_LONGEST_REASON = 300


class Connection:
    """What one handle of a store speaks through; see `AliasedConnection` in collection_swap.py.

    Attributes:
        client: a pymilvus `MilvusClient`.
    """

    def __init__(self, location: Location, credentials: Credentials) -> None:
        self.location = location
        self.alone = not location.host
        self.building: set[str] = set()
        self._credentials = credentials
        self._lock: Any = nullcontext()
        self._let_go = lambda: None
        try:
            with self.explain_errors():
                self.client = self._client(credentials)
        except BaseException:
            self._let_go()
            raise

    def _client(self, credentials: Credentials) -> Any:
        if self.alone:
            shared, self._let_go = _lite.take(self.location.file, self)
            self.building, self._lock = shared.building, shared.lock
            return _library()(f"http://127.0.0.1:{shared.database[2]}", timeout=CONNECTING)
        token = credentials.token or ":".join(filter(None, (credentials.user, credentials.password)))
        scheme = "https" if self.location.option("tls", "false") == "true" else "http"
        uri, database = f"{scheme}://{self.location.host}", self.location.path.strip("/")
        try:
            return _library()(uri, token=token, db_name=database, timeout=CONNECTING)
        except ValueError as error:
            raise UserError(f"{self.location} names no Milvus server: {error}") from None

    @contextmanager
    def explain_errors(self, *, after: str = "") -> Iterator[None]:
        """Turn what goes wrong with Milvus into one sentence; with Milvus Lite, one thread at a time.

        Args:
            after: what has been done before.
        """
        import grpc
        from pymilvus.exceptions import MilvusException

        with self._lock:
            try:
                yield
            except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
                raise UserError("; ".join(filter(None, (self._sentence(error), after)))) from None

    def current_name(self) -> str | None:
        """The collection that the alias names, or None where there is none."""
        from pymilvus.exceptions import MilvusException

        try:
            return str(self.client.describe_alias(self.location.collection)["collection_name"])
        except MilvusException as error:
            if error.code in _NO_ALIAS:
                return None
            raise

    def move_alias(self, name: str, previous: str | None) -> None:
        """Let the alias name another collection."""
        if previous is None:
            self.client.create_alias(name, self.location.collection)
        else:
            self.client.alter_alias(name, self.location.collection)

    @property
    def indexed(self) -> bool:
        """Whether indexes pay. Milvus Lite compares with everything, also where it runs as a server of its own."""
        return not self.alone and not str(self.client.get_server_version()).startswith("milvus_lite")

    def collection_names(self) -> list[str]:
        """All collections of the database."""
        return list(self.client.list_collections())

    def drop_collection(self, name: str) -> None:
        """Remove a collection."""
        self.client.drop_collection(name)

    def close(self) -> None:
        """Let go; the last to do so closes Milvus Lite."""
        self.client.close()
        self._let_go()

    def _sentence(self, error: Exception) -> str:
        reason = self._credentials.mask(" ".join(str(getattr(error, "message", "") or error).split()))
        if self.alone:
            return f"the store at {self.location} cannot be read or written: {reason[:_LONGEST_REASON]}"
        lower = reason.lower()
        if "unauthenticated" in lower or "auth check failure" in lower:
            return (
                f"Milvus at {self.location} does not accept the credentials: set LIKEWISE_STORE_USER and "
                "LIKEWISE_STORE_PASSWORD, or LIKEWISE_STORE_TOKEN"
            )
        if any(sign in lower for sign in ("fail connecting", "unavailable", "deadline", "timeout", "retry run out")):
            return f"Milvus at {self.location} does not answer: is it running, and are its host and port right?"
        return f"Milvus at {self.location} refuses: {reason[:_LONGEST_REASON]}"


def connect(location: Location, credentials: Credentials, *, create: bool) -> Connection:
    """Reach the Milvus at a location.

    Args:
        create: make the folder of a Milvus Lite where there is none.

    Raises:
        UserError: it cannot be reached, refuses, or is no Milvus; or a library is not installed.
    """
    _library()
    _ = location.collection  # which must be a name
    if not location.host:
        _check_folder(location, create)
    return Connection(location, credentials)


def _check_folder(location: Location, create: bool) -> None:
    folder = location.file
    if folder.is_file():
        raise UserError(f"{location} is a file, but Milvus Lite keeps a store in a folder: name another place")
    if (folder / "collections").is_dir():
        return
    if not create:
        raise UserError(f"there is no store at {location}: build it with `likewise index --store {location}`")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{location} is a folder with other things in it: name another place")


def _start_lite(folder: Path) -> tuple[Any, Any, int]:
    try:
        from milvus_lite.adapter.grpc.server import start_server_in_thread
        from milvus_lite.exceptions import DataDirLockedError
    except ImportError:
        raise MissingExtraError("milvus-lite", "milvus") from None
    try:
        return start_server_in_thread(str(folder))
    except DataDirLockedError:
        raise UserError(
            f"milvus:{folder} is open in another process, and Milvus Lite serves one at a time: close it there, or "
            "run a Milvus server"
        ) from None
    except OSError as error:
        raise UserError(f"milvus:{folder} cannot be opened: {error}") from None


def _stop_lite(started: tuple[Any, Any, int]) -> None:
    server, database, _ = started
    server.stop(grace=1).wait(timeout=5)
    database.close()


_lite = SharedDatabases(_start_lite, _stop_lite)


def _library() -> Any:
    try:
        from pymilvus import MilvusClient
    except ImportError:
        raise MissingExtraError("pymilvus", "milvus") from None
    # Both libraries print tracebacks of what they also raise; our own sentences say it.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    logging.getLogger("milvus_lite").setLevel(logging.CRITICAL)
    return MilvusClient
