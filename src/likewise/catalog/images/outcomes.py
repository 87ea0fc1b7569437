"""Outcomes of all picture sources, in an SQLite file that may be damaged without harm.

    FOLDER/index-2.sqlite            url → sha256 or cause of failure; local path, size and time → sha256
    FOLDER/index-2.1.sqlite, …       the same, begun anew because the one before was damaged; the latest counts
    FOLDER/.opening                  held by whoever opens the file, or begins a new one

Whatever is in it can be found out again, so what was damaged is left behind, not repaired: a file that SQLite cannot
read gives way to a new one, and a row whose checksum does not fit counts as absent. A file keeps its name for good, as
other processes may still have it open, and SQLite clears logs away by name.
"""

import contextlib
import errno
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from likewise.catalog.images.picture import is_key
from likewise.errors import UserError
from likewise.files import cannot_write, hold_lock

T = TypeVar("T")

_SECONDS_TO_WAIT_FOR_ANOTHER_PROCESS = 30.0
_OLD = 86_400.0  # seconds after which nobody has an abandoned file open
_NAME = re.compile(r"index-2(?:\.(\d+))?\.sqlite")
# Errors that say nothing about the file: busy, locked, out of memory, full, …; all others mean damage.
_SYSTEM_ERRORS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
}
_HARMLESS = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_AUTH,
    }
)
_SHORT_READS = (sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)
_TABLES = """
CREATE TABLE IF NOT EXISTS urls (
    url TEXT PRIMARY KEY, key TEXT, size INTEGER, pixels INTEGER, private INTEGER, cause TEXT, limits TEXT,
    checksum BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, key TEXT, pixels INTEGER, checksum BLOB
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Remembered:
    """The outcome of a download.

    Attributes:
        key: SHA-256 of the bytes in hexadecimal digits; None for a failure.
        size: bytes.
        measure: of a picture its pixels (width times height), of a recording its milliseconds.
        private: whether a private host took part, so that only a run that allows those may use it.
        cause: why it failed; None for a success.
        limits: the limits under which it failed.
    """

    key: str | None = None
    size: int = 0
    measure: int = 0
    private: bool = False
    cause: str | None = None
    limits: str = ""


@dataclass(frozen=True)
class KnownFile:
    """A local file as it was when its bytes were last read."""

    path: str
    size: int
    modified: int  # nanoseconds; of its bytes or its name, whichever is later
    key: str
    measure: int  # pixels, or milliseconds


class Outcomes:
    """The file in a folder; to be used from one thread.

    Raises:
        UserError: the folder cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection: sqlite3.Connection | None = None
        self._number = 0
        with self._translate_errors():
            self._open()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def recall(self, url: str) -> Remembered | None:
        """Look up the outcome of a download; None: never tried, or no longer known."""
        query = "SELECT key, size, pixels, private, cause, limits, checksum FROM urls WHERE url = ?"
        row = self._run(lambda index: index.execute(query, (url,)).fetchone())
        if row is None or row[-1] != _checksum(url, *row[:-1]) or not (row[0] is None or is_key(row[0])):
            return None
        return Remembered(row[0], row[1], row[2], bool(row[3]), row[4], row[5])

    def remember(self, url: str, known: Remembered) -> None:
        """Record the outcome of a download; on disk when this returns."""
        values = (url, known.key, known.size, known.measure, int(known.private), known.cause, known.limits)
        row = (*values, _checksum(*values))
        self._run(lambda index: index.execute("INSERT OR REPLACE INTO urls VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row))

    def recall_file(self, path: str, size: int, modified: int) -> KnownFile | None:
        """Look up a local file; None if it is unknown or has changed since."""
        values = (os.fsencode(path), size, modified)
        query = "SELECT key, pixels, checksum FROM files WHERE path = ? AND size = ? AND modified = ?"
        row = self._run(lambda index: index.execute(query, values).fetchone())
        if row is None or row[-1] != _checksum(*values, *row[:-1]) or not is_key(row[0]):
            return None
        return KnownFile(path, size, modified, row[0], row[1])

    def remember_files(self, known: Iterable[KnownFile]) -> None:
        """Record local files, in one transaction."""
        values = [(os.fsencode(file.path), file.size, file.modified, file.key, file.measure) for file in known]
        rows = [(*row, _checksum(*row)) for row in values]

        def write(index: sqlite3.Connection) -> None:
            index.execute("BEGIN IMMEDIATE")
            index.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)
            index.execute("COMMIT")

        self._run(write)

    def forget_file(self, path: str) -> None:
        """Forget a local file, so that it is read again even if its size and time are unchanged."""
        self._run(lambda index: index.execute("DELETE FROM files WHERE path = ?", (os.fsencode(path),)))

    def _run(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on the file, or on a new one if it is damaged."""
        with self._translate_errors():
            try:
                return ask(self._get_connection())
            except sqlite3.DatabaseError as error:
                if not self._means_damage(error):
                    raise
            self._begin_anew()
            return ask(self._get_connection())

    def _get_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            self._open()
        assert self._connection is not None  # noqa: S101 - for the type checker
        return self._connection

    def _open(self) -> None:
        """Open the latest file, or create one."""
        with hold_lock(self._folder / ".opening"):  # SQLite refuses to turn on its log while another process does so
            self._number = max(self._list_numbers(), default=0)
            for _ in range(3):  # a new file may lie beside a log of its name that is damaged
                try:
                    self._connection = _connect(self._path())
                    break
                except sqlite3.DatabaseError as error:
                    if not self._means_damage(error):
                        raise
                    self._number += 1
            else:
                raise UserError(
                    f"the picture cache {self._folder} cannot be used: its index is damaged again and again"
                )
            self._remove_abandoned()

    def _begin_anew(self) -> None:
        """Abandon the file, unless another process has already done so."""
        self.close()
        with hold_lock(self._folder / ".opening"):
            if max(self._list_numbers(), default=0) <= self._number:
                self._path(self._number + 1).touch()
        self._open()

    def _path(self, number: int | None = None) -> Path:
        number = self._number if number is None else number
        return self._folder / (f"index-2.{number}.sqlite" if number else "index-2.sqlite")

    def _list_numbers(self) -> list[int]:
        names = (_NAME.fullmatch(path.name) for path in self._folder.glob("index-2*.sqlite"))
        return [int(name[1] or 0) for name in names if name]

    def _remove_abandoned(self) -> None:
        before = [self._path(number) for number in self._list_numbers() if number < self._number]
        for path in (file for name in before for file in (name, Path(f"{name}-wal"), Path(f"{name}-shm"))):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - _OLD:
                    path.unlink()

    def _means_damage(self, error: sqlite3.DatabaseError) -> bool:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # without: a text that is no UTF-8
        if code & 0xFF == sqlite3.SQLITE_READONLY:  # what a damaged header may say of a file that can be written
            return os.access(self._path(), os.W_OK) and os.access(self._folder, os.W_OK)
        return code in _SHORT_READS or code & 0xFF not in _HARMLESS

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._folder, error) from None
        except sqlite3.Error as error:
            number = _SYSTEM_ERRORS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
            cause = error if number is None else OSError(number, os.strerror(number))
            raise cannot_write(self._folder, cause) from None


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


def _checksum(*values: Any) -> bytes:
    return blake2b(ascii(values).encode(), digest_size=8).digest()
