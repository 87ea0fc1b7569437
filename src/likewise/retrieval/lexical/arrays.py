"""Arrays in files: written once, mapped into memory, read by several threads."""

import threading
from pathlib import Path

import numpy as np

_parsing = threading.Lock()


def load_array(file: Path, *, mapped: bool = False) -> np.ndarray:
    """What `np.save` wrote; safe to call from several threads.

    NumPy parses a file's header as Python's syntax, and in CPython 3.11 two threads that parse at the same time may,
    rarely, end in a SystemError (seen with 3.11.7; https://github.com/python/cpython/issues/106905).

    Args:
        mapped: leave it on the disk, read only.

    Raises:
        OSError, EOFError, ValueError: the file is missing or damaged.
    """
    with _parsing:
        return np.asarray(np.load(file, mmap_mode="r" if mapped else None))  # each part of a memmap costs microseconds


def save_array(file: Path, array: np.ndarray) -> None:
    """Write what `load_array` reads; unlike `np.save`, it is not silent about what a full disk does not take.

    Raises:
        OSError: the file cannot be written.
    """
    with file.open("wb") as written:
        np.lib.format.write_array_header_1_0(written, np.lib.format.header_data_from_array_1_0(array))
        written.write(np.ascontiguousarray(array).data)
