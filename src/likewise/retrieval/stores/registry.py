"""Engines by the scheme of their URI, and which store a run uses."""

import importlib
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, cast

from likewise.errors import UserError
from likewise.retrieval.stores.base import Store
from likewise.retrieval.stores.location import Credentials, Location, parse_location
from likewise.retrieval.stores.schema import Schema

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
_REMEMBERED = "store.json"
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
    uri: str, schema: Schema, credentials: Credentials = _NOBODY, *, folder: Path | None = None
) -> AbstractContextManager[Store]:
    """Make a new store that takes the place of whatever is at a URI when the `with` block ends without an error.

        with replace_store("faiss:///data/products", Schema.of(items, dim=512)) as store:
            store.upsert(items, vectors)

    Raises:
        UserError: the place cannot be written or reached, or the engine is unknown or not installed.
    """
    engine, location, given = _engine(uri, folder)
    return engine.replace_store(location, schema, credentials.over(given))


def remember_store(run: Path, uri: str) -> None:
    """Write into a run which store it uses, without credentials."""
    location, _ = parse_location(uri)
    beside = run / f".{_REMEMBERED}.new"
    run.mkdir(parents=True, exist_ok=True)
    beside.write_text(json.dumps({"uri": str(location)}) + "\n", encoding="utf-8")
    beside.replace(run / _REMEMBERED)


def remembered_store(run: Path) -> str:
    """The URI of the store that a run uses; relative paths in it start from the run folder.

    Raises:
        UserError: what is written there cannot be read.
    """
    try:
        return str(json.loads((run / _REMEMBERED).read_text(encoding="utf-8"))["uri"])
    except FileNotFoundError:
        return str(_DEFAULT)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{run / _REMEMBERED} is damaged: give the store with --store URI") from None


def _engine(uri: str, folder: Path | None) -> tuple[Engine, Location, Credentials]:
    location, credentials = parse_location(uri)
    if location.scheme not in ENGINES:
        raise UserError(f"{location.scheme}: is no store that likewise knows: {', '.join(ENGINES)}")
    module = importlib.import_module(f"likewise.retrieval.stores.{ENGINES[location.scheme]}")
    return cast(Engine, module), location.within(folder or Path.cwd()), credentials
