"""Features on disk, computed once: found by content, read through memory mapping.

A cache is one folder for one encoder (by fingerprint) and one variant of its inputs, with two files that only ever
grow: `features.f16`, row after row, and `keys`, which has a header and a record for every finished row: its content
key, a CRC-32 of the row, and one of the record. A row counts once its record is written, and records are written after
the rows have reached the disk. So a writer that is killed leaves at most bytes that nobody reads, which the next writer
overwrites. Writers take turns by a lock file; readers need none.

A row is verified when it is first asked for. One that is damaged counts as missing, so that it is computed and written
again.
"""

import errno
import hashlib
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from likewise.encoders.base import Encoder
from likewise.errors import UserError
from likewise.files import cannot_write, hold_lock, make_folder, sync

_FORMAT = 2
_HEADER = b"likewise keys %2d\n" % _FORMAT
_RECORD = struct.Struct("<32sII")  # key, checksum of the row, checksum of the record and its number
_ROWS_AT_ONCE = 256


class FeatureCache:
    """Features of one encoder by content key, as float16.

    Args:
        folder: where caches lie; this one gets a subfolder.
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
        self._checksums: list[int] = []  # of every row, whether or not its record is damaged
        self._verified = bytearray()  # 1 for rows that are known to be what was written
        self._features = np.empty((0, *self.shape), dtype=np.float16)
        self._mutex = threading.RLock()
        make_folder(self.folder)
        self.refresh()

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: str) -> bool:
        return self._slot(_digest(key)) is not None

    @property
    def features(self) -> np.ndarray:
        """All rows, memory-mapped and read-only: (n, *shape) float16."""
        return self._features

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that have no features yet, each once, in order."""
        return [key for key in dict.fromkeys(keys) if self._slot(_digest(key)) is None]

    def bytes_needed(self, count: int) -> int:
        """Bytes on disk that `count` more rows take."""
        return count * (self.row_bytes + _RECORD.size) + (0 if self._rows else len(_HEADER))

    def check_space(self, count: int) -> None:
        """Raises UserError where the disk has no room for `count` more rows."""
        if shutil.disk_usage(self.folder).free < self.bytes_needed(count):
            raise self._full(count)

    def slots(self, keys: Sequence[str]) -> np.ndarray:
        """Row numbers for `gather`: (len(keys),) int64. A row keeps its number for ever.

        Raises:
            KeyError: a key has no features yet; see `missing`.
        """
        slots = [self._slot(_digest(key)) for key in keys]
        if None in slots:
            raise KeyError(keys[slots.index(None)])
        return np.array(slots, np.int64)

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
        with self._mutex, hold_lock(self.folder / "lock"):
            self.refresh()
            digests = [_digest(key) for key in keys]
            fresh = {digest: row for row, digest in enumerate(digests) if self._slot(digest) is None}
            if not fresh:
                return
            self.check_space(len(fresh))
            try:
                self._append(fresh, features)
            except OSError as error:
                raise (
                    self._full(len(fresh)) if error.errno == errno.ENOSPC else cannot_write(self.folder, error)
                ) from None
            self.refresh()

    def refresh(self) -> None:
        """See the rows that other processes have added since.

        Raises:
            UserError: a newer version of likewise wrote them.
        """
        with self._mutex:
            known = self._count_records()
            rows = min(known, _size(self._features_path) // self.row_bytes)
            if rows <= self._rows:
                return
            with self._keys_path.open("rb") as file:
                file.seek(len(_HEADER) + self._rows * _RECORD.size)
                content = file.read((rows - self._rows) * _RECORD.size)
            mapped = np.memmap(self._features_path, dtype=np.float16, mode="r", shape=(rows, *self.shape))
            self._features = mapped.view(np.ndarray)
            for slot, (key, row, record) in enumerate(_RECORD.iter_unpack(content), self._rows):
                self._checksums.append(row)
                self._verified.append(0)
                if record == _record_checksum(key, row, slot):
                    self._slots[key] = slot
            self._rows = rows

    def _slot(self, digest: bytes) -> int | None:
        """Where a key's row lies; None where it has none, or where that is damaged."""
        slot = self._slots.get(digest)
        if slot is None or self._verified[slot]:
            return slot
        with self._mutex:
            if zlib.crc32(self._features[slot]) == self._checksums[slot]:
                self._verified[slot] = 1
                return slot
            self._slots.pop(digest, None)
            return None

    def _count_records(self) -> int:
        """The number of whole records; a file without our header holds none."""
        size = _size(self._keys_path)
        if size < len(_HEADER):
            return 0
        with self._keys_path.open("rb") as file:
            header = file.read(len(_HEADER))
        if header == _HEADER:
            return (size - len(_HEADER)) // _RECORD.size
        name, _, format = header.decode("latin-1").rstrip("\n").rpartition(" ")
        if name.strip() == "likewise keys" and format.isdigit() and int(format) > _FORMAT:
            raise UserError(f"{self.folder} was written by a newer version of likewise: update likewise")
        return 0

    def _append(self, fresh: dict[bytes, int], features: np.ndarray) -> None:
        rows, checksums = list(fresh.values()), []
        if not self._rows and self._count_records() == 0:  # whoever has damaged files open reads on in them
            self._keys_path.unlink(missing_ok=True)
            self._features_path.unlink(missing_ok=True)
        with _open_to_append(self._features_path) as file:
            file.seek(self._rows * self.row_bytes)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                with np.errstate(over="ignore"):  # the next lines say it better
                    block = np.ascontiguousarray(features[rows[start : start + _ROWS_AT_ONCE]], dtype=np.float16)
                if not np.isfinite(block).all():
                    raise UserError(
                        f"the encoder {self._encoder_name} produces values that are not finite in half precision: "
                        "choose another one, choose another cut, or train it with --regime full"
                    )
                checksums += [zlib.crc32(row) for row in block]
                file.write(block.data)
            file.flush()
            os.fsync(file.fileno())
        with _open_to_append(self._keys_path) as file:
            file.write(_HEADER)
            file.seek(len(_HEADER) + self._rows * _RECORD.size)
            for slot, (key, row) in enumerate(zip(fresh, checksums, strict=True), self._rows):
                file.write(_RECORD.pack(key, row, _record_checksum(key, row, slot)))
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        sync(self.folder)

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


def _record_checksum(key: bytes, row: int, slot: int) -> int:
    return zlib.crc32(struct.pack("<32sIQ", key, row, slot))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _open_to_append(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")
