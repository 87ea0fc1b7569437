"""Downloaded pictures on disk, named by their content, and an index of what every source turned out to be.

    FOLDER/objects/<aa>/<sha256>     the bytes of one picture
    FOLDER/index-1.sqlite            url → sha256 or cause of failure; local path, size and time → sha256
    FOLDER/.opening                  held by whoever opens the index
    FOLDER/tmp/                      files that are being written, or were when their process was killed

Objects appear by a rename and the index is written after them: whatever moment a process is killed at, what the index
names is there and whole. Several processes may share a folder.
"""

import contextlib
import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from filelock import FileLock

from likewise.errors import UserError

_SECONDS_TO_WAIT_FOR_ANOTHER_PROCESS = 30.0
_OLD_TEMPORARY_FILE = 86_400.0  # seconds: its process is gone
_TABLES = """
CREATE TABLE IF NOT EXISTS urls (
    url TEXT PRIMARY KEY, key TEXT, size INTEGER, pixels INTEGER, private INTEGER, cause TEXT, limits TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, key TEXT, pixels INTEGER
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Remembered:
    """What became of a download.

    Attributes:
        key: SHA-256 of the bytes in hexadecimal digits; None for a failure.
        size: bytes.
        pixels: width times height.
        private: whether a private host took part, so that only a run that allows those may use it.
        cause: why it failed; None for a success.
        limits: the limits under which it failed.
    """

    key: str | None = None
    size: int = 0
    pixels: int = 0
    private: bool = False
    cause: str | None = None
    limits: str = ""


@dataclass(frozen=True)
class KnownFile:
    """A local picture as it was when its bytes were last read."""

    path: str
    size: int
    modified: int  # nanoseconds
    key: str
    pixels: int


class PictureCache:
    """The folder; use it as a context manager. `keep` and `path` may be called from any thread, the rest from one.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            (folder / "objects").mkdir(parents=True, exist_ok=True)
            (folder / "tmp").mkdir(exist_ok=True)
            self._index = self._open_index()
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"the picture cache {folder} cannot be written: {error}") from None
        self._remove_leftovers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._index.close()

    def path(self, key: str) -> Path:
        """Where the picture with this SHA-256 lies, or would lie."""
        return self.folder / "objects" / key[:2] / key

    def keep(self, data: bytes) -> str:
        """Store bytes and return their SHA-256; a second call with the same bytes writes nothing.

        Raises:
            UserError: the disk is full or read-only.
        """
        key = hashlib.sha256(data).hexdigest()
        if not self.holds(key, len(data)):
            write_atomically(self.path(key), data, temporary=self.folder / "tmp")
        return key

    def holds(self, key: str, size: int) -> bool:
        """Whether the object is there, with all its bytes."""
        try:
            return self.path(key).stat().st_size == size
        except OSError:
            return False

    def recall(self, url: str) -> Remembered | None:
        """What became of this download in an earlier run; None: never tried, or its bytes are gone."""
        row = self._index.execute(
            "SELECT key, size, pixels, private, cause, limits FROM urls WHERE url = ?", (url,)
        ).fetchone()
        if row is None:
            return None
        known = Remembered(row[0], row[1], row[2], bool(row[3]), row[4], row[5])
        return known if known.key is None or self.holds(known.key, known.size) else None

    def remember(self, url: str, known: Remembered) -> None:
        """Write down what became of a download; on disk when this returns."""
        values = (url, known.key, known.size, known.pixels, known.private, known.cause, known.limits)
        with self._writing():
            self._index.execute("INSERT OR REPLACE INTO urls VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def recall_file(self, path: str, size: int, modified: int) -> KnownFile | None:
        """What a local file was found to be, if it has not changed since."""
        row = self._index.execute(
            "SELECT key, pixels FROM files WHERE path = ? AND size = ? AND modified = ?",
            (os.fsencode(path), size, modified),
        ).fetchone()
        return None if row is None else KnownFile(path, size, modified, *row)

    def remember_files(self, known: Iterable[KnownFile]) -> None:
        """Write down what local files were found to be, in one transaction."""
        rows = [(os.fsencode(file.path), file.size, file.modified, file.key, file.pixels) for file in known]
        with self._writing():
            self._index.execute("BEGIN IMMEDIATE")
            self._index.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)
            self._index.execute("COMMIT")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UserError(f"the picture cache {self.folder} cannot be written: {error}") from None

    def _open_index(self) -> sqlite3.Connection:
        path = self.folder / "index-1.sqlite"
        with FileLock(self.folder / ".opening"):  # SQLite refuses to turn on its log while another process does so
            try:
                return _connect(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # not a database: what it knew is lost, the next run finds it out again
                path.replace(self.folder / "tmp" / f"damaged-{time.time_ns()}")
                return _connect(path)

    def _remove_leftovers(self) -> None:
        limit = time.time() - _OLD_TEMPORARY_FILE
        for leftover in (self.folder / "tmp").iterdir():
            with contextlib.suppress(OSError):
                if leftover.stat().st_mtime < limit:
                    leftover.unlink()


def _connect(path: Path) -> sqlite3.Connection:
    index = sqlite3.connect(path, timeout=_SECONDS_TO_WAIT_FOR_ANOTHER_PROCESS, isolation_level=None)
    try:
        index.execute("PRAGMA journal_mode = WAL")
        index.execute("PRAGMA synchronous = NORMAL")  # a power cut may forget the last downloads, never corrupts
        index.executescript(_TABLES)
    except sqlite3.Error:
        index.close()
        raise
    return index


def write_atomically(path: Path, data: bytes, temporary: Path) -> None:
    """Write a file so that it is either absent or whole, even if the process is killed.

    Args:
        path: the file; its folder is made.
        data: its bytes.
        temporary: an existing folder on the same disk.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=temporary)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
