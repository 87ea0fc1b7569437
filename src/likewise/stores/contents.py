"""Contents of a store under names of their own, where an alias of the engine names the one in use.

shop                            the alias: what `?collection=shop` means
shop_20260131T120000_3f9a2c41   a content; the alias moves to it when it is finished
"""

import re
import secrets
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
import polars as pl

from likewise.errors import UserError
from likewise.stores.following import PATIENCE
from likewise.stores.uri import Location

LINGER = 2 * PATIENCE  # seconds that a content is kept after another took its place; by then all handles have followed

_TIME = "%Y%m%dT%H%M%S"
_ABANDONED = timedelta(days=1)


class Engine(Protocol):
    """What an engine can do with contents and aliases, through one connection.

    Attributes:
        alone: no other process can use the same data.
        building: contents that this process is writing.
    """

    location: Location
    alone: bool
    building: set[str]

    def speaking(self, *, silently: bool = False) -> AbstractContextManager[None]:
        """Where the engine is used: errors become sentences, or nothing."""

    def contents(self) -> Iterable[str]:
        """Everything that the engine holds, whoever made it."""

    def used_content(self) -> str | None:
        """The content that the alias names, or None where there is no alias."""

    def use_content(self, name: str, instead_of: str | None) -> None:
        """Let the alias name another content, in one step."""

    def drop_content(self, name: str) -> None:
        """Remove a content; none of that name is no mistake."""

    def close(self) -> None:
        """Let go of the connection."""


@contextmanager
def replacing(engine: Engine) -> Iterator[str]:
    """Yield a name for a content to write; it is in use when the block ends without an error, and gone otherwise.

    The content that was in use before is removed a little later. The connection is closed at the end.
    """
    collection = engine.location.collection
    name = f"{collection}_{datetime.now(UTC):{_TIME}}_{secrets.token_hex(4)}"
    engine.building.add(name)
    try:
        with engine.speaking():
            _clear_up(engine)
        try:
            yield name
            with engine.speaking():
                previous = engine.used_content()
                engine.use_content(name, instead_of=previous)
        except BaseException:
            with engine.speaking(silently=True):
                engine.drop_content(name)
            raise
        if previous is not None:
            time.sleep(0 if engine.alone else LINGER)
            with engine.speaking(silently=True):  # the next replacement tries again
                engine.drop_content(previous)
    finally:
        engine.building.discard(name)
        engine.close()


def _clear_up(engine: Engine) -> None:
    """Remove what builds have left whose process died."""
    collection, used, names = engine.location.collection, engine.used_content(), list(engine.contents())
    if used is None and collection in names:
        raise UserError(
            f"{engine.location} is a collection that likewise did not make: name another with ?collection=NAME"
        )
    for name in abandoned(names, collection, engine.building | {used or ""}, alone=engine.alone):
        engine.drop_content(name)


def abandoned(names: Iterable[str], collection: str, keep: Collection[str], *, alone: bool) -> list[str]:
    """Contents of a collection that a process left behind when it died.

    Args:
        names: everything that the engine holds.
        keep: contents that are in use, or being written by this process.
        alone: no other process can be writing; otherwise contents younger than a day might be someone's work.
    """
    pattern = re.compile(rf"{re.escape(collection)}_(\d{{8}}T\d{{6}})_[0-9a-f]{{8}}")
    found = []
    for name in names:
        match = pattern.fullmatch(name)
        if match and name not in keep:
            begun = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
            if alone or datetime.now(UTC) - begun > _ABANDONED:
                found.append(name)
    return found


def parcels(stored: pl.DataFrame, unit: np.ndarray, most: int) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """Items in parts that a server takes in one request.

    Args:
        stored: n rows, as `prepared_items` gives them.
        unit: (n, dim).
        most: bytes of texts, blobs and vectors in a part; an item that is larger makes a part of its own.
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
