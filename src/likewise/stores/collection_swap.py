"""Replacing a store in one step where an engine keeps collections, and an alias names the one in use.

shop                            the alias: what `?collection=shop` means
shop_20260131T120000_3f9a2c41   a collection; the alias moves to it when it is finished
"""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
import polars as pl

from likewise.errors import UserError
from likewise.stores.collection_store import Collection, CollectionStore, Connection
from likewise.stores.current_collection import LINGER, CurrentCollection

_TIME = "%Y%m%dT%H%M%S"
_ABANDONED = timedelta(days=1)


class AliasedConnection(Connection, Protocol):
    """A connection to an engine with collections and aliases.

    Attributes:
        alone: no other process can use the same data.
        building: names of the collections that this process is writing.
    """

    alone: bool
    building: set[str]

    def collection_names(self) -> Iterable[str]:
        """Everything that the engine holds, whoever made it."""

    def move_alias(self, name: str, previous: str | None) -> None:
        """Let the alias name another collection, in one step.

        Args:
            previous: the collection that it names now; None: there is no alias yet.
        """

    def drop_collection(self, name: str) -> None:
        """Remove a collection; a missing one is ignored."""


@contextmanager
def replace_collection(connection: AliasedConnection, create: Callable[[str], Collection]) -> Iterator[CollectionStore]:
    """Yield a store over a new collection, which is in use when the block ends without an error, and gone otherwise.

    The collection that was in use before is removed a little later. The connection is closed at the end.

    Args:
        create: makes an empty collection of a name.
    """
    with _swap(connection) as name:
        with connection.explain_errors():
            collection = create(name)
        store = CollectionStore(connection, CurrentCollection(lambda: name, lambda _: collection))
        yield store
        store.optimise()


@contextmanager
def _swap(connection: AliasedConnection) -> Iterator[str]:
    name = f"{connection.location.collection}_{datetime.now(UTC):{_TIME}}_{secrets.token_hex(4)}"
    connection.building.add(name)
    try:
        with connection.explain_errors():
            _clear_up(connection)
        try:
            yield name
            with connection.explain_errors():
                previous = connection.current_name()
                connection.move_alias(name, previous)
        except BaseException:
            with suppress(UserError), connection.explain_errors():
                connection.drop_collection(name)
            raise
        if previous is not None and _begun(previous, connection.location.collection) is not None:
            time.sleep(0 if connection.alone else LINGER)
            with suppress(UserError), connection.explain_errors():  # the next replacement tries again
                connection.drop_collection(previous)
    finally:
        connection.building.discard(name)
        connection.close()


def _clear_up(connection: AliasedConnection) -> None:
    """Remove what builds have left whose process died."""
    collection, used = connection.location.collection, connection.current_name()
    names = list(connection.collection_names())
    foreign = collection in names if used is None else _begun(used, collection) is None  # it would be removed later
    if foreign:
        raise UserError(
            f"{connection.location} is a collection that likewise did not make: name another with ?collection=NAME"
        )
    for name in find_abandoned(names, collection, connection.building | {used or ""}, alone=connection.alone):
        connection.drop_collection(name)


def find_abandoned(names: Iterable[str], collection: str, keep: Set[str], *, alone: bool) -> list[str]:
    """Collections of an alias that a process left behind when it died.

    Args:
        names: everything that the engine holds.
        keep: collections that are in use, or being written by this process.
        alone: no other process can be writing; otherwise collections younger than a day might be someone's work.
    """
    found = []
    for name in names:
        begun = _begun(name, collection)
        if begun is not None and name not in keep and (alone or datetime.now(UTC) - begun > _ABANDONED):
            found.append(name)
    return found


def _begun(name: str, collection: str) -> datetime | None:
    """When a collection of an alias was begun; None for a name that is none of ours."""
    match = re.fullmatch(rf"{re.escape(collection)}_([0-9]{{8}}T[0-9]{{6}})_[0-9a-f]{{8}}", name)
    try:
        return datetime.strptime(match[1], _TIME).replace(tzinfo=UTC) if match else None
    except ValueError:  # a month of 99
        return None


def upsert_in_parts(
    explain_errors: Callable[..., AbstractContextManager[None]],
    items: pl.DataFrame,
    vectors: np.ndarray,
    most: int,
    upsert: Callable[[pl.DataFrame, np.ndarray], object],
) -> None:
    """Upsert items in requests of limited size; an error says how many were written before it.

    Args:
        explain_errors: of the engine's connection.
        items, vectors, most: see `split_by_size`.
        upsert: writes one part.
    """
    written = 0
    for some, their_vectors in split_by_size(items, vectors, most):
        with explain_errors(after=f"{written:,} of {len(items):,} items are written" * bool(written)):
            upsert(some, their_vectors)
        written += len(some)


def split_by_size(stored: pl.DataFrame, unit: np.ndarray, most: int) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """Items in parts that a server takes in one request.

    Args:
        stored: n rows, as `prepare_items` gives them.
        unit: (n, dim).
        most: bytes of texts, blobs and vectors in a part; a larger item makes one part.
    """
    lengths = [pl.col(name).str.len_bytes().fill_null(0) for name, kind in stored.schema.items() if kind == pl.String]
    lengths += [pl.col(name).bin.size() for name, kind in stored.schema.items() if kind == pl.Binary]
    sizes = stored.select(pl.sum_horizontal(lengths)).to_series().to_numpy() + unit.shape[1] * unit.itemsize
    start = size = 0
    for row, more in enumerate(sizes.tolist()):
        if row > start and size + more > most:
            yield stored[start:row], unit[start:row]
            start, size = row, 0
        size += more
    if start < len(stored):
        yield stored[start:], unit[start:]
