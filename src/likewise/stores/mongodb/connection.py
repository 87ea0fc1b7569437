"""A connection to MongoDB: which collection is in use there, and what it refuses in one sentence.

likewise_stores        {_id: "products", content: the collection in use}; see collection_swap.py for how that changes
products_2026…_3f9a…   a collection: items, and a document about them
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from likewise.errors import MissingExtraError, UserError
from likewise.stores.uri import Credentials, Location

if TYPE_CHECKING:
    from pymongo.database import Database

_STORES = "likewise_stores"
_DATABASE = "likewise"
_SECONDS = 5  # for the first answer; pymongo waits longer for a server that it has met before
_OWN_OPTIONS = frozenset({"collection"})  # all others are pymongo's; see ../options.py

# What mongod says where it has no mongot beside it: that the command is unknown, or that search is not set up.
_WITHOUT_SEARCH = frozenset({59, 115, 31082, 40324, 6047401})
_DROPPED = 175


class Connection:
    """The database of a location, after its server has answered.

    Raises:
        UserError: the location cannot be read, or its server cannot be reached or does not let us in.
    """

    alone = False

    def __init__(self, location: Location, credentials: Credentials) -> None:
        pymongo = _library()
        self.location = location
        self.building: set[str] = set()
        given = (*location.options, *location.private)
        options = [(name, value) for name, value in given if name not in _OWN_OPTIONS]
        question = f"?{urlencode(options, quote_via=quote)}" if options else ""
        settings: dict[str, Any] = {"appname": "likewise"}
        if credentials.user:
            settings["username"] = credentials.user
        if credentials.password:
            settings["password"] = credentials.password
        if not any(name.lower() == "w" for name, _ in options):
            settings["w"] = "majority"  # what has been acknowledged survives the loss of a server
        with self.explain_errors():
            try:
                self._client = pymongo.MongoClient(f"{location.scheme}://{location.host}/{question}", **settings)
            except ValueError as error:
                raise UserError(f"{location} cannot be read: {_sentence(error)}") from None
            try:
                with pymongo.timeout(_SECONDS):
                    self._client.admin.command("ping")
                self.database: Database[dict[str, Any]] = self._client[location.path.strip("/") or _DATABASE]
            except BaseException:
                self.close()
                raise

    @contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Turn what MongoDB refuses into one sentence."""
        with _refusals(self.location):
            yield

    def collection_names(self) -> list[str]:
        """All collections that may be ours, under this name."""
        return self.database.list_collection_names(filter={"name": {"$regex": f"^{self.location.collection}_"}})

    def current_name(self) -> str | None:
        """The collection in use."""
        store = self.database[_STORES].find_one({"_id": self.location.collection})
        return None if store is None else str(store["content"])

    def move_alias(self, name: str, previous: str | None) -> None:
        """Have all handles use another collection from now on."""
        key = {"_id": self.location.collection}
        self.database[_STORES].update_one(key, {"$set": {"content": name}}, upsert=True)

    def drop_collection(self, name: str) -> None:
        """Remove a collection, and its index with it."""
        self.database.drop_collection(name)

    def close(self) -> None:
        """Let go of the server."""
        self._client.close()


@contextmanager
def _refusals(location: Location) -> Iterator[None]:
    errors = _library().errors
    try:
        yield
    except errors.InvalidOperation:
        raise UserError(f"the store at {location} is closed") from None
    except errors.ConfigurationError as error:
        raise UserError(f"{location} cannot be read: {_sentence(error)}") from None
    except errors.OperationFailure as error:
        if error.code == _DROPPED:
            raise UserError(f"the store at {location} was replaced meanwhile: begin again") from None
        if error.code in _WITHOUT_SEARCH:
            raise UserError(
                f"MongoDB (experimental) at {location} has no vector search: "
                "use Atlas, or MongoDB 8.2 or newer with mongot"
            ) from None
        raise UserError(f"MongoDB (experimental) at {location} refuses: {_sentence(error)}") from None
    except errors.ConnectionFailure as error:
        raise UserError(f"MongoDB (experimental) at {location} cannot be reached: {_sentence(error)}") from None
    except errors.PyMongoError as error:
        raise UserError(f"MongoDB (experimental) at {location} cannot do this: {_sentence(error)}") from None


def _sentence(error: Exception) -> str:
    """What went wrong, without the settings and the list of servers that pymongo adds."""
    details = getattr(error, "details", None) or {}
    text = str(details.get("errmsg") or error).strip()
    first = (text.splitlines() or [type(error).__name__])[0]
    return first.partition(" (configured timeouts")[0].partition(", Timeout: ")[0]


def _library() -> Any:
    try:
        import pymongo
        import pymongo.errors
    except ImportError:
        raise MissingExtraError("pymongo", "mongodb") from None
    return pymongo
