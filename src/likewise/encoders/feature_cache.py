"""Features on disk, computed once: found by content, read through memory mapping.

A cache is one folder for one encoder (by fingerprint) and one variant of its inputs, with two files that only ever
grow: `features.f16`, row after row, and `keys`, 32 bytes for every finished row. A row counts once its key is written,
and keys are written after the rows have reached the disk. So a writer that is killed leaves at most bytes that nobody
reads, which the next writer overwrites. Writers take turns by a lock file; readers need none.
"""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from likewise.encoders.base import Encoder
from likewise.errors import UserError

_KEY_BYTES = 32
_ROWS_AT_ONCE = 256


class FeatureCache:
    """Features of one encoder by content key, as float16.

    Args:
        folder: where caches lie; this one gets a folder of its own in it.
        encoder: its fingerprint and feature shape; changed weights give another cache.
        variant: what was done to the inputs before, or where the encoder was cut, such as "cut-11-mirror".
        shape: of a row; the encoder's `feature_shape` for None.
    """

    def __init__(
        self, folder: Path, encoder: Encoder, variant: str = "plain", shape: tuple[int, ...] | None = None
    ) -> None:
        self.folder = folder / f"{encoder.fingerprint()[:32]}-{variant}"
        self._features_path = self.folder / "features.f16"
        self._keys_path = self.folder / "keys"
        self.shape = encoder.feature_shape if shape is None else shape
        self.row_bytes = 2 * int(np.prod(self.shape))
        self._encoder_name = encoder.name
        self._rows = 0
        self._slots: dict[bytes, int] = {}
        self._features = np.empty((0, *self.shape), dtype=np.float16)
        self._mutex = threading.RLock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write the feature cache {self.folder}: {error.strerror}") from None
        self.refresh()

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: str) -> bool:
        return _digest(key) in self._slots

    @property
    def features(self) -> np.ndarray:
        """All rows, memory-mapped and read-only: (n, *shape) float16."""
        return self._features

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that have no features yet, each once, in order."""
        return [key for key in dict.fromkeys(keys) if _digest(key) not in self._slots]

    def bytes_needed(self, count: int) -> int:
        """Bytes on disk that `count` more rows take."""
        return count * (self.row_bytes + _KEY_BYTES)

    def check_space(self, count: int) -> None:
        """Raises UserError where the disk has no room for `count` more rows."""
        if shutil.disk_usage(self.folder).free < self.bytes_needed(count):
            raise self._full(count)

    def slots(self, keys: Sequence[str]) -> np.ndarray:
        """Row numbers for `gather`: (len(keys),) int64. A row keeps its number for ever.

        Raises:
            KeyError: a key has no features yet; see `missing`.
        """
        return np.fromiter((self._slots[_digest(key)] for key in keys), dtype=np.int64, count=len(keys))

    def gather(self, keys: Sequence[str] | np.ndarray) -> np.ndarray:
        """Copies of the rows of some keys, or slots: (len(keys), *shape) float16, contiguous."""
        slots = keys if isinstance(keys, np.ndarray) else self.slots(keys)
        rows = np.empty((len(slots), *self.shape), dtype=np.float16)
        if len(slots):
            np.take(self._features, slots, axis=0, out=rows, mode="clip")  # any other mode copies twice
        return rows

    def add(self, keys: Sequence[str], features: np.ndarray) -> None:
        """Store the rows `features` (len(keys), *shape) under `keys`; keys that are known already are left as they are.

        Returns once the rows are on disk: a few hundred rows a call are quick, a few are not.

        Raises:
            UserError: the disk is full, or the encoder gave values that are not finite.
            ValueError: `features` has another shape.
        """
        if features.shape != (len(keys), *self.shape):
            raise ValueError(f"features of shape {features.shape} instead of {(len(keys), *self.shape)}")
        with self._mutex, FileLock(self.folder / "lock"):
            self.refresh()
            digests = [_digest(key) for key in keys]
            fresh = {digest: row for row, digest in enumerate(digests) if digest not in self._slots}
            if not fresh:
                return
            self.check_space(len(fresh))
            try:
                self._append(fresh, features)
            except OSError as error:
                raise (
                    self._full(len(fresh))
                    if error.errno == errno.ENOSPC
                    else UserError(f"cannot write the feature cache {self.folder}: {error.strerror}")
                ) from None
            self.refresh()

    def refresh(self) -> None:
        """See the rows that other processes have added since."""
        with self._mutex:
            rows = min(_size(self._keys_path) // _KEY_BYTES, _size(self._features_path) // self.row_bytes)
            if rows <= self._rows:
                return
            with self._keys_path.open("rb") as file:
                file.seek(self._rows * _KEY_BYTES)
                content = file.read((rows - self._rows) * _KEY_BYTES)
            mapped = np.memmap(self._features_path, dtype=np.float16, mode="r", shape=(rows, *self.shape))
            self._features = mapped.view(np.ndarray)
            for start in range(0, len(content), _KEY_BYTES):
                self._slots[content[start : start + _KEY_BYTES]] = self._rows + start // _KEY_BYTES
            self._rows = rows

    def _append(self, fresh: dict[bytes, int], features: np.ndarray) -> None:
        rows = list(fresh.values())
        with _open_to_append(self._features_path) as file:
            file.seek(self._rows * self.row_bytes)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                with np.errstate(over="ignore"):  # the next lines say it better
                    block = np.ascontiguousarray(features[rows[start : start + _ROWS_AT_ONCE]], dtype=np.float16)
                if not np.isfinite(block).all():
                    raise UserError(
                        f"the encoder {self._encoder_name} gives values that are not finite in half precision: "
                        "choose another one, cut it elsewhere, or train it with --regime full"
                    )
                file.write(block.data)
            file.flush()
            os.fsync(file.fileno())
        with _open_to_append(self._keys_path) as file:
            file.seek(self._rows * _KEY_BYTES)
            file.write(b"".join(fresh))
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    def _full(self, count: int) -> UserError:
        megabytes = max(1, round(self.bytes_needed(count) / 1e6))
        return UserError(
            f"no room for {megabytes:,} MB of features in {self.folder}: free some space, "
            "or put the cache on another disk"
        )


def _digest(key: str) -> bytes:
    """Content keys are sha256 in hex already; any other string is hashed."""
    if len(key) == 64:
        try:
            return bytes.fromhex(key)
        except ValueError:
            pass
    return hashlib.sha256(key.encode()).digest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _open_to_append(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")
