"""Opening and replacing the store at a URI, and which store a run uses."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from likewise.errors import UserError
from likewise.files import make_folder, read_record, write_record
from likewise.progress import say
from likewise.stores.base import Store
from likewise.stores.engines import load_engine
from likewise.stores.schema import Schema
from likewise.stores.search_target import SearchTarget
from likewise.stores.uri import Credentials, Location, parse_location

_TUNABLE = "faiss"  # the one engine that takes a search target
_REMEMBERED = "store.json"
_FORMAT = 1
DEFAULT = Location("faiss", path="index")
_NOBODY = Credentials()


class StoreEngine(Protocol):
    """What an engine's module offers; base.py says what both functions do."""

    def open_store(self, location: Location, credentials: Credentials) -> Store: ...

    def replace_store(
        self, location: Location, schema: Schema, credentials: Credentials
    ) -> AbstractContextManager[Store]: ...


def open_store(place: str | Location, credentials: Credentials = _NOBODY, *, folder: Path | None = None) -> Store:
    """Open the store at a URI.

        with contextlib.closing(open_store("faiss:///data/products")) as store:
            (result,) = store.search(vectors, k=10)

    Args:
        credentials: count before those in the URI.
        folder: where relative paths start; None: the working folder.

    Raises:
        UserError: there is no store, it is damaged or cannot be reached, or the engine is unknown or not installed.
    """
    engine, location, credentials = _find_engine(place, credentials, folder)
    return engine.open_store(location, credentials)


def replace_store(
    place: str | Location,
    schema: Schema,
    credentials: Credentials = _NOBODY,
    *,
    folder: Path | None = None,
    target: SearchTarget | None = None,
) -> AbstractContextManager[Store]:
    """Make a new store that takes the place of the one at a URI when the `with` block ends without an error.

        with replace_store("faiss:///data/products", Schema.of(items, dim=512)) as store:
            store.upsert(items, vectors)

    Args:
        target: what searches of the faiss store should aim at; None: what the URI says.

    Raises:
        UserError: the place cannot be written or reached, the engine is unknown or not installed, or a target is given
            that it does not know.
    """
    engine, location, credentials = _find_engine(place, credentials, folder)
    if location.scheme == _TUNABLE:
        from likewise.stores.faiss import collection as faiss

        return faiss.replace_store(location, schema, credentials, target)
    if target is not None:
        raise _not_tunable(location)
    return engine.replace_store(location, schema, credentials)


def add_search_target(location: Location, options: Mapping[str, str]) -> Location:
    """A store's place with what its searches should aim at, by the names of `search_target.OPTIONS`.

    Raises:
        UserError: the engine knows no such thing, or a value makes no sense.
    """
    if not options:
        return location
    if location.scheme != _TUNABLE:
        raise _not_tunable(location)
    SearchTarget.parse(options)
    return replace(location, options=tuple({**dict(location.options), **options}.items()))


def remember_store(run: Path, location: Location) -> None:
    """Write into a run which store it uses, without options that are not for others."""
    if location.private:
        names = ", ".join(name for name, _ in location.private)
        say(f"The run does not remember {names} of the store's URI: give --store again where they are needed")
    make_folder(run)
    write_record(run / _REMEMBERED, {"uri": str(location)}, _FORMAT)


def remembers_store(run: Path) -> bool:
    """Whether a run has been indexed: the store is written down last."""
    return (run / _REMEMBERED).is_file()


def remembered_store(run: Path) -> Location:
    """The store that a run uses; relative paths start from the run folder.

    Raises:
        UserError: what is written there cannot be read.
    """
    file = run / _REMEMBERED
    try:
        location, credentials = parse_location(_read_uri(read_record(file, _FORMAT)))
    except FileNotFoundError:
        return DEFAULT
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{file} is damaged ({error}): give the store with --store URI") from None
    if credentials != _NOBODY or location.private:
        raise UserError(f"{file} holds credentials or private options, which no run remembers: give --store URI")
    return location


def _read_uri(content: dict[str, Any]) -> str:
    if set(content) != {"uri"}:
        raise ValueError("it does not hold a uri alone")
    if not isinstance(content["uri"], str):
        raise ValueError("its uri is no text")
    return content["uri"]


def _find_engine(
    place: str | Location, credentials: Credentials, folder: Path | None
) -> tuple[StoreEngine, Location, Credentials]:
    if isinstance(place, str):
        place, given = parse_location(place)
        credentials = credentials.over(given)
    return cast(StoreEngine, load_engine(place.scheme)), place.within(folder or Path.cwd()), credentials


def _not_tunable(location: Location) -> UserError:
    return UserError(
        "--target-recall, --memory and --index-kind (in a URI target_recall, memory and kind) are for the faiss store, "
        f"not for {location.scheme}"
    )
