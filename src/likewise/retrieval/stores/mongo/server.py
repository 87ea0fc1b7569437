"""A MongoDB server, and what it refuses in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from likewise.errors import MissingExtraError, UserError
from likewise.retrieval.stores.location import Credentials, Location

if TYPE_CHECKING:
    from pymongo.database import Database

_DATABASE = "likewise"
_SECONDS = 5  # for the first answer; pymongo waits longer for a server that it has met before
_OWN_OPTIONS = frozenset({"collection"})  # all others are pymongo's

# What mongod says where it has no mongot beside it: that the command is unknown, or that search is not set up.
_WITHOUT_SEARCH = frozenset({59, 115, 31082, 40324, 6047401})


def connected(location: Location, credentials: Credentials) -> "Database[dict[str, Any]]":
    """The database of a location, after its server has answered.

    Raises:
        UserError: the location cannot be read, or its server cannot be reached or does not let us in.
    """
    pymongo = _library()
    options = [(name, value) for name, value in location.options if name not in _OWN_OPTIONS]
    question = f"?{urlencode(options, quote_via=quote)}" if options else ""
    settings: dict[str, Any] = {"appname": "likewise"}
    if credentials.user:
        settings["username"] = credentials.user
    if credentials.password:
        settings["password"] = credentials.password
    if not any(name.lower() == "w" for name, _ in options):
        settings["w"] = "majority"  # what has been acknowledged survives the loss of a server
    with refusals(location):
        try:
            client = pymongo.MongoClient(f"{location.scheme}://{location.host}/{question}", **settings)
        except ValueError as error:
            raise UserError(f"{location} cannot be read: {_sentence(error)}") from None
        try:
            with pymongo.timeout(_SECONDS):
                client.admin.command("ping")
            return client[location.path.strip("/") or _DATABASE]
        except BaseException:
            client.close()
            raise


@contextmanager
def refusals(location: Location) -> Iterator[None]:
    """Say in one sentence what pymongo raises."""
    errors = _library().errors
    try:
        yield
    except errors.InvalidOperation:
        raise UserError(f"the store at {location} is closed") from None
    except errors.ConfigurationError as error:
        raise UserError(f"{location} cannot be read: {_sentence(error)}") from None
    except errors.OperationFailure as error:
        if error.code in _WITHOUT_SEARCH:
            raise UserError(
                f"MongoDB at {location} has no vector search: use Atlas, or MongoDB 8.2 or newer with mongot beside it"
            ) from None
        raise UserError(f"MongoDB at {location} refuses: {_sentence(error)}") from None
    except errors.ConnectionFailure as error:
        raise UserError(f"MongoDB at {location} cannot be reached: {_sentence(error)}") from None
    except errors.PyMongoError as error:
        raise UserError(f"MongoDB at {location} cannot do this: {_sentence(error)}") from None


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
