"""A connection to a Qdrant server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from likewise.errors import MissingExtraError, UserError
from likewise.parsing import parse_json
from likewise.stores.uri import Credentials, Location

_WAIT = 60  # seconds for an answer
_LONGEST_REASON = 300


class Connection:
    """What one handle of a store speaks through; see `AliasedConnection` in collection_swap.py.

    Attributes:
        client: a `QdrantClient`.
    """

    alone = False

    def __init__(self, location: Location, credentials: Credentials) -> None:
        self.location = location
        self.building: set[str] = set()
        self._credentials = credentials
        self.client = _client(location, credentials.token or credentials.password)
        with self.explain_errors():
            self.client.get_aliases()

    @contextmanager
    def explain_errors(self, *, after: str = "") -> Iterator[None]:
        """Turn what goes wrong with Qdrant into one sentence.

        Args:
            after: what has been done before.
        """
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException

        try:
            yield
        except (ApiException, QdrantException) as error:
            raise UserError("; ".join(filter(None, (self._sentence(error), after)))) from None

    def collection_names(self) -> list[str]:
        """All collections."""
        return [collection.name for collection in self.client.get_collections().collections]

    def current_name(self) -> str | None:
        """The collection that the alias names, or None where there is none."""
        names = {alias.alias_name: alias.collection_name for alias in self.client.get_aliases().aliases}
        return names.get(self.location.collection)

    def move_alias(self, name: str, previous: str | None) -> None:
        """Let the alias name another collection."""
        from qdrant_client import models

        alias = self.location.collection
        changes: list[Any] = []
        if previous is not None:
            changes.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        create = models.CreateAlias(collection_name=name, alias_name=alias)
        changes.append(models.CreateAliasOperation(create_alias=create))
        self.client.update_collection_aliases(changes)

    def drop_collection(self, name: str) -> None:
        """Remove a collection."""
        self.client.delete_collection(name)

    def close(self) -> None:
        """Let go of the connection."""
        self.client.close()

    def _sentence(self, error: Exception) -> str:
        import httpx  # comes with qdrant-client

        reason = self._credentials.mask(_reason(error))
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            return f"Qdrant at {self.location} does not accept the API key: set LIKEWISE_STORE_TOKEN"
        if isinstance(getattr(error, "source", None), httpx.TransportError):
            return f"Qdrant at {self.location} does not answer: is it running, and are its host and port right?"
        return f"Qdrant at {self.location} refuses: {reason[:_LONGEST_REASON]}"


def connect(location: Location, credentials: Credentials) -> Connection:
    """Reach the Qdrant server at a location.

    Raises:
        UserError: the URI names no server, or it cannot be reached, or refuses; or the library is not installed.
    """
    if not location.host:
        raise UserError(
            f"{location} names no server: likewise uses Qdrant as a server (qdrant://host:6333); to keep a store in a "
            "folder, use faiss:path"
        )
    _library()
    _ = location.collection  # which must be a name
    return Connection(location, credentials)


def _client(location: Location, key: str | None) -> Any:
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
            return str(parse_json(content)["status"]["error"])
        except (ValueError, KeyError, TypeError):
            return content.decode(errors="replace")
    return " ".join(str(error).split())


def _library() -> Any:
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise MissingExtraError("qdrant-client", "qdrant") from None
    return QdrantClient
