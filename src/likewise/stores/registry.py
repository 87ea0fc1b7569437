"""Engines by the scheme of their URI, and which store a run uses."""

import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from likewise.errors import UserError
from likewise.files import make_folder, read_record, write_record
from likewise.progress import say
from likewise.stores.base import Store
from likewise.stores.schema import Schema
from likewise.stores.search_target import SearchTarget
from likewise.stores.uri import Credentials, Location, parse_location

ENGINES = {
    "faiss": "faiss",
    "lancedb": "lancedb",
    "milvus": "milvus",
    "qdrant": "qdrant",
    "postgresql": "pgvector",
    "postgres": "pgvector",
    "mongodb": "mongodb",
    "mongodb+srv": "mongodb",
}
_AIMING = "faiss"  # the one engine that takes targets
_REMEMBERED = "store.json"
_FORMAT = 1
_DEFAULT = Location("faiss", path="index")
_NOBODY = Credentials()


class Engine(Protocol):
    """What an engine's module offers; base.py says what both do."""

    def open_store(self, location: Location, credentials: Credentials) -> Store: ...

    def replace_store(
        self, location: Location, schema: Schema, credentials: Credentials
    ) -> AbstractContextManager[Store]: ...


def open_store(uri: str, credentials: Credentials = _NOBODY, *, folder: Path | None = None) -> Store:
    """Open the store at a URI.

    Args:
        credentials: count before those in the URI.
        folder: where relative paths start; None: the working folder.

    Raises:
        UserError: there is no store, it is damaged or cannot be reached, or the engine is unknown or not installed.
    """
    engine, location, given = _engine(uri, folder)
    return engine.open_store(location, credentials.over(given))


def replace_store(
    uri: str,
    schema: Schema,
    credentials: Credentials = _NOBODY,
    *,
    folder: Path | None = None,
    target: SearchTarget | None = None,
) -> AbstractContextManager[Store]:
    """Make a new store that takes the place of whatever is at a URI when the `with` block ends without an error.

        with replace_store("faiss:///data/products", Schema.of(items, dim=512)) as store:
            store.upsert(items, vectors)

    Args:
        target: what searches of the faiss store should aim at; None: what the URI says.

    Raises:
        UserError: the place cannot be written or reached, the engine is unknown or not installed, or a target is given
            that it does not know.
    """
    engine, location, given = _engine(uri, folder)
    if location.scheme == _AIMING:
        from likewise.stores.faiss import collection as faiss

        return faiss.replace_store(location, schema, credentials.over(given), target)
    if target is not None:
        raise _aimless(location)
    return engine.replace_store(location, schema, credentials.over(given))


def add_search_target(uri: str, aims: Mapping[str, str]) -> str:
    """A store's URI with what its searches should aim at, by the names of `target.OPTIONS`; others stay as they are.

    Raises:
        UserError: the engine knows no such thing, or a value makes no sense.
    """
    if not aims:
        return uri
    location, _ = parse_location(uri)
    if location.scheme != _AIMING:
        raise _aimless(location)
    SearchTarget.of(aims)
    return str(replace(location, options=tuple({**dict(location.options), **aims}.items())))


def remember_store(run: Path, uri: str) -> None:
    """Write into a run which store it uses, without credentials and without options that are not for others."""
    location, _ = parse_location(uri)
    if location.private:
        names = ", ".join(name for name, _ in location.private)
        say(f"The run does not remember {names} of the store's URI: give --store again where they are needed")
    make_folder(run)
    write_record(run / _REMEMBERED, {"uri": str(location)}, _FORMAT)


def remembered_store(run: Path) -> str:
    """The URI of the store that a run uses; relative paths in it start from the run folder.

    Raises:
        UserError: what is written there cannot be read.
    """
    file = run / _REMEMBERED
    try:
        uri = _checked_uri(read_record(file, _FORMAT))
        location, credentials = parse_location(uri)
    except FileNotFoundError:
        return str(_DEFAULT)
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{file} is damaged ({error}): give the store with --store URI") from None
    if credentials != _NOBODY or location.private:
        raise UserError(f"{file} holds credentials or private options, which no run remembers: give --store URI")
    return uri


def _checked_uri(content: dict[str, Any]) -> str:
    if set(content) != {"uri"}:
        raise ValueError("it does not hold a uri alone")
    if not isinstance(content["uri"], str):
        raise ValueError("its uri is no text")
    return content["uri"]


def _engine(uri: str, folder: Path | None) -> tuple[Engine, Location, Credentials]:
    location, credentials = parse_location(uri)
    if location.scheme not in ENGINES:
        raise UserError(f"{location.scheme}: is no store that likewise knows: {', '.join(ENGINES)}")
    module = importlib.import_module(f"likewise.stores.{ENGINES[location.scheme]}.collection")
    return cast(Engine, module), location.within(folder or Path.cwd()), credentials


def _aimless(location: Location) -> UserError:
    return UserError(
        "--target-recall, --memory and --index-kind (in a URI target_recall, memory and kind) are for the faiss store, "
        f"not for {location.scheme}"
    )
