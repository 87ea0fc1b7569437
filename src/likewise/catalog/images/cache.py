"""Downloaded pictures on disk, named by their content, and an index of what every source turned out to be.

    FOLDER/objects/<aa>/<sha256>     the bytes of one picture
    FOLDER/index-2.sqlite, …         what every source turned out to be; see outcomes.py
    FOLDER/tmp/                      files that are being written, or were when their process was killed

Objects appear by a rename and the index is written after them: whatever moment a process is killed at, what the index
names is there and whole. Several processes may share a folder.
"""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from likewise.catalog.images.outcomes import KnownFile, Outcomes, Remembered
from likewise.catalog.images.picture import check_key, compute_key
from likewise.files import make_folder, write_file

_OLD_TEMPORARY_FILE = 86_400.0  # seconds: its process is gone


class PictureCache:
    """The folder; use it as a context manager. `keep` and `path` may be called from any thread, the rest from one.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder / "objects")
        make_folder(folder / "tmp")
        self._outcomes = Outcomes(folder)
        self._remove_leftovers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._outcomes.close()

    def path(self, key: str) -> Path:
        """The path of the picture with this SHA-256, whether or not it exists.

        Raises:
            PictureError: the key is none.
        """
        return self.folder / "objects" / check_key(key)[:2] / key

    def keep(self, data: bytes) -> str:
        """Store bytes and return their SHA-256; a second call with the same bytes writes nothing, if they are intact.

        Raises:
            UserError: the disk is full or read-only.
        """
        key = compute_key(data)
        if not self._holds_exactly(key, data):
            make_folder(self.path(key).parent)
            write_file(self.path(key), data, temporary_in=self.folder / "tmp", durable=False)
        return key

    def holds(self, key: str, size: int) -> bool:
        """Whether an object of this size exists; its bytes are verified when they are read."""
        try:
            return self.path(key).stat().st_size == size
        except OSError:
            return False

    def _holds_exactly(self, key: str, data: bytes) -> bool:
        try:
            return self.holds(key, len(data)) and self.path(key).read_bytes() == data
        except OSError:
            return False

    def recall(self, url: str) -> Remembered | None:
        """Look up the outcome of a download in an earlier run; None: never tried, or its bytes are gone."""
        known = self._outcomes.recall(url)
        return known if known is None or known.key is None or self.holds(known.key, known.size) else None

    def remember(self, url: str, known: Remembered) -> None:
        """Record the outcome of a download; on disk when this returns."""
        self._outcomes.remember(url, known)

    def recall_file(self, path: str, size: int, modified: int) -> KnownFile | None:
        """Look up a local file; None if it is unknown or has changed since."""
        return self._outcomes.recall_file(path, size, modified)

    def remember_files(self, known: Iterable[KnownFile]) -> None:
        """Record local files, in one transaction."""
        self._outcomes.remember_files(known)

    def forget_file(self, path: str) -> None:
        """Forget a local file, so that the next run reads it again."""
        self._outcomes.forget_file(path)

    def _remove_leftovers(self) -> None:
        limit = time.time() - _OLD_TEMPORARY_FILE
        for leftover in (self.folder / "tmp").iterdir():
            with contextlib.suppress(OSError):
                if leftover.stat().st_mtime < limit:
                    leftover.unlink()
