"""Contents of a store under names of their own, where an alias of the engine names the one in use.

shop                            the alias: what `?collection=shop` means
shop_20260131T120000_3f9a2c41   a content; the alias moves to it when it is finished
"""

import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from likewise.retrieval.stores.following import PATIENCE

LINGER = 2 * PATIENCE  # seconds that a content is kept after another took its place; by then all handles have followed

_TIME = "%Y%m%dT%H%M%S"
_ABANDONED = timedelta(days=1)


def new_content(collection: str) -> str:
    """A name for a content that is about to be written."""
    return f"{collection}_{datetime.now(UTC):{_TIME}}_{secrets.token_hex(4)}"


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
        stored: n rows, as `stored_columns` gives them.
        unit: (n, dim).
        most: bytes of texts and vectors in a part; an item that is larger makes a part of its own.
    """
    texts = [pl.col(name).str.len_bytes().fill_null(0) for name, kind in stored.schema.items() if kind == pl.String]
    sizes = stored.select(pl.sum_horizontal(texts)).to_series().to_numpy() + unit.shape[1] * unit.itemsize
    start = size = 0
    for row, more in enumerate(sizes.tolist()):
        if row > start and size + more > most:
            yield stored[start:row], unit[start:row]
            start, size = row, 0
        size += more
    if start < len(stored):
        yield stored[start:], unit[start:]
