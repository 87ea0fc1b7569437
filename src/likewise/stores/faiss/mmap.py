"""Files as memory: only what is touched is read, and processes share it."""

import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from likewise.stores.damage import explain_damaged_store


def map_bytes(path: Path, size: int) -> mmap.mmap | bytes:
    """The bytes of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it has another size.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) != size:
            raise ValueError(f"{path} has {file.tell()} bytes, not {size}")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""


def map_array(path: Path, kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """An array that lies in a file without a header, read only.

    Raises:
        OSError: it cannot be read.
        ValueError: it has another size.
    """
    content = map_bytes(path, math.prod(shape) * kind.itemsize)
    return np.frombuffer(content, kind).reshape(shape)


@contextmanager
def explain_damage_in(folder: Path) -> Iterator[None]:
    """Turn what reading a damaged store raises into its sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise explain_damaged_store(folder, error) from None
