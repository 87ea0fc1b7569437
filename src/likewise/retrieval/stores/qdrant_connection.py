"""A connection to a Qdrant server, or to a folder through the client's local mode, inside this process."""

import json
import pickle
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from likewise.errors import MissingExtraError, UserError
from likewise.retrieval.stores.location import Credentials, Location
from likewise.retrieval.stores.sharing import Shared, Sharing

_WAIT = 60  # seconds for an answer
_LONGEST_REASON = 300
_LOCAL_ERRORS = (ValueError, RuntimeError, sqlite3.Error, OSError)
_META = "meta.json"


class Connection:
    """What one handle of a store speaks through; see `Engine` in contents.py."""

    def __init__(self, location: Location, credentials: Credentials) -> None:
        self.location = location
        self.alone = not location.host
        self.building: set[str] = set()
        self._secrets = [secret for secret in (credentials.password, credentials.token) if secret]
        self._lock: Any = nullcontext()
        self._let_go = lambda: None
        if self.alone:
            self._shared, self._let_go = _local.take(location.file, self)
            self.building, self._lock = self._shared.building, self._shared.lock
        else:
            self._shared = Shared(_client_of_server(location, credentials.token or credentials.password))
            with self.speaking():
                self.client.get_aliases()

    @property
    def client(self) -> Any:
        """A `QdrantClient`."""
        return self._shared.database

    @contextmanager
    def speaking(self, *, after: str = "", silently: bool = False) -> Iterator[None]:
        """Turn what goes wrong with Qdrant into one sentence; in local mode, one thread at a time.

        Args:
            after: what has been done before.
            silently: do not raise it.
        """
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException

        expected = _LOCAL_ERRORS if self.alone else (ApiException, QdrantException)
        with self._lock:
            try:
                yield
            except expected as error:
                if not silently:
                    raise UserError("; ".join(filter(None, (self._sentence(error), after)))) from None

    def contents(self) -> list[str]:
        """All collections."""
        return [collection.name for collection in self.client.get_collections().collections]

    def used_content(self) -> str | None:
        """The collection that the alias names, or None where there is none."""
        names = {alias.alias_name: alias.collection_name for alias in self.client.get_aliases().aliases}
        return names.get(self.location.collection)

    def use_content(self, name: str, instead_of: str | None) -> None:
        """Let the alias name another collection."""
        from qdrant_client import models

        alias = self.location.collection
        changes: list[Any] = []
        if instead_of is not None:
            changes.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        create = models.CreateAlias(collection_name=name, alias_name=alias)
        changes.append(models.CreateAliasOperation(create_alias=create))
        self.client.update_collection_aliases(changes)

    def drop_content(self, name: str) -> None:
        """Remove a collection."""
        self.client.delete_collection(name)

    @contextmanager
    def one_transaction(self, name: str) -> Iterator[None]:
        """Local mode: write all points to the disk at once, or none. It would commit each by itself, which is slow."""
        if not self.alone:
            yield
            return
        persistence = self.client._client.collections[name].storage
        database = persistence.storage
        persistence.storage = _Uncommitted(database)
        try:
            yield
            database.commit()
        except BaseException:
            database.rollback()
            persistence.storage = database
            self.client.close()  # since what it has in memory is not what is on the disk
            self._shared.database = _open_local(self.location.file)
            raise
        persistence.storage = database

    def close(self) -> None:
        """Let go; the last to do so closes the local mode's files."""
        if not self.alone:
            self.client.close()
        self._let_go()

    def _sentence(self, error: Exception) -> str:
        import httpx  # comes with qdrant-client

        reason = _reason(error)
        for secret in self._secrets:
            reason = reason.replace(secret, "…")
        if self.alone:
            return f"the store at {self.location} cannot be read or written: {reason[:_LONGEST_REASON]}"
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            return f"Qdrant at {self.location} does not accept the API key: set LIKEWISE_STORE_TOKEN"
        if isinstance(getattr(error, "source", None), httpx.TransportError):
            return f"Qdrant at {self.location} does not answer: is it running, and are its host and port right?"
        return f"Qdrant at {self.location} refuses: {reason[:_LONGEST_REASON]}"


class _Uncommitted:
    """A connection to SQLite whose `with` blocks leave the transaction open."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.execute = database.execute

    def __enter__(self) -> "_Uncommitted":
        return self

    def __exit__(self, *error: object) -> None:
        pass


def connect(location: Location, credentials: Credentials, *, create: bool) -> Connection:
    """Reach the Qdrant at a location.

    Args:
        create: make the folder of the local mode where there is none.

    Raises:
        UserError: it cannot be reached, refuses, or is no Qdrant; or the library is not installed.
    """
    _library()
    _ = location.collection  # which must be a name
    if not location.host:
        _check_folder(location, create)
    return Connection(location, credentials)


def _check_folder(location: Location, create: bool) -> None:
    folder = location.file
    if folder.is_file():
        raise UserError(f"{location} is a file, but Qdrant's local mode keeps a store in a folder: name another place")
    if (folder / _META).is_file():
        return
    if not create:
        raise UserError(f"there is no store at {location}: build it with `likewise index --store {location}`")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{location} is a folder with other things in it: name another place")


def _open_local(folder: Path) -> Any:
    try:
        return _library()(path=str(folder), force_disable_check_same_thread=True)
    except RuntimeError:
        raise UserError(
            f"qdrant:{folder} is open in another process, and Qdrant's local mode serves one at a time: close it "
            "there, or run a Qdrant server"
        ) from None
    except OSError as error:
        raise UserError(f"qdrant:{folder} cannot be opened: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, sqlite3.Error, pickle.UnpicklingError):
        raise UserError(f"the store at qdrant:{folder} is damaged: build it again") from None


def _close_local(client: Any) -> None:
    client.close()


_local = Sharing(_open_local, _close_local)


def _client_of_server(location: Location, key: str | None) -> Any:
    scheme = "https" if location.option("tls", "false") == "true" else "http"
    try:
        return _library()(
            url=f"{scheme}://{location.host}{location.path}", api_key=key, timeout=_WAIT, check_compatibility=False
        )
    except ValueError as error:
        raise UserError(f"{location} names no Qdrant server: {error}") from None


def _reason(error: Exception) -> str:
    content = getattr(error, "content", None)
    if isinstance(content, bytes):
        try:
            return str(json.loads(content)["status"]["error"])
        except (ValueError, KeyError, TypeError):
            return content.decode(errors="replace")
    return " ".join(str(error).split())


def _library() -> Any:
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise MissingExtraError("qdrant-client", "qdrant") from None
    warnings.filterwarnings("ignore", message="Local mode is not recommended")  # our guide says how many items it bears
    return QdrantClient
