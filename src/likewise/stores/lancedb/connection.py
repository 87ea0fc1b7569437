"""A folder of versions of a LanceDB table: what is in use there, who writes, and whether its files are whole."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock

from likewise import checksums
from likewise.checksums import MANIFEST, IndexManifest
from likewise.errors import MissingExtraError, UserError
from likewise.files import DamageError, hold_lock, reason
from likewise.stores.damage import explain_damaged_store
from likewise.stores.schema import Schema
from likewise.stores.uri import Location
from likewise.stores.versions import current_version

TABLE, SCHEMA = "items", b"likewise"
UNLISTED = (".writing", f"{TABLE}.lance/_versions/latest_version_hint.json")  # LanceDB looks past a wrong hint
_ENDINGS = {".lance": b"LANC", ".manifest": b"LANC", ".arrow": b"ARROW1"}
_PATIENCE = 20.0  # seconds that a reader waits for a writer before it calls a table damaged


class Connection:
    """A folder that holds a store; several processes may have it open.

    Args:
        building: the version to use, which is not in use yet; None: the one in use.
    """

    def __init__(self, location: Location, building: Path | None = None) -> None:
        load_library()
        self.location = location
        self._building = building

    @contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Turn what LanceDB raises where it cannot read into one sentence."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise explain_damaged_store(self.location, error) from None

    def current_name(self) -> str | None:
        """The folder of the version in use."""
        version = self._building or current_version(self.location.file)
        return None if version is None else str(version)

    def close(self) -> None:
        """Nothing stays open between two calls."""


class Table:
    """The table of a version.

    Args:
        building: it is being written, and has no manifest yet.

    Attributes:
        is_large: it was too large to be verified when it was opened.

    Raises:
        UserError: it is damaged, or of another version of likewise.
    """

    def __init__(self, folder: Path, location: Location, *, building: bool = False) -> None:
        database = load_library()
        self._location = location
        self._folder, self._lock = folder, threading.Lock()
        try:
            self._manifest = None if building else IndexManifest(folder)
            self.is_large = bool(self._verify())
            # An interval of zero sees what other processes wrote at the next read.
            self.lance: Any = database.connect(str(folder), read_consistency_interval=timedelta(0)).open_table(TABLE)
            self.schema = Schema.from_json(self.lance.schema.metadata[SCHEMA].decode())
        except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
            raise explain_damaged_store(location, error) from None

    @contextmanager
    def lock_for_writing(self) -> Iterator[None]:
        """One writer at a time: two that insert the same new id at once would both succeed."""
        with explain_write_errors(self._location), self._lock, hold_lock(self._folder / ".writing"):
            if self._manifest is not None:  # another process may have written meanwhile
                self._manifest = IndexManifest(self._folder)
            try:
                yield
            finally:
                self._list_new_files()

    def _list_new_files(self) -> None:
        """Bring the manifest up to date; undo a write of which LanceDB has lost a part without a word.

        Raises:
            OSError: a file that was written is not whole.
        """
        known = set() if self._manifest is None else set(self._manifest.names)
        names = (path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file())
        new = [name for name in names if name not in known and name not in (*UNLISTED, MANIFEST)]
        broken = next((name for name in new if not _is_whole(self._folder / name)), None)
        if broken is not None:
            for name in sorted(new, key=lambda name: not name.endswith(".manifest")):  # these name all others
                (self._folder / name).unlink(missing_ok=True)
            raise OSError(errno.EIO, f"{broken} was not written as a whole")
        if self._manifest is not None:
            self._manifest.refresh(UNLISTED)

    def _verify(self) -> set[str]:
        """The files that were too large to be verified; a writer may be about to list new ones."""
        if self._manifest is None:
            return set()
        try:
            return self._manifest.verify(checksums.AT_OPENING)
        except DamageError:
            with contextlib.suppress(OSError), FileLock(self._folder / ".writing").acquire(timeout=_PATIENCE):
                pass
            self._manifest = IndexManifest(self._manifest.folder)
            return self._manifest.verify(checksums.AT_OPENING)


def _is_whole(path: Path) -> bool:
    """Whether a file of LanceDB's ends as such files do."""
    ending = _ENDINGS.get(path.suffix, b"")
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(ending)))
        return file.read() == ending if ending else size > 0


@contextmanager
def explain_write_errors(location: Location) -> Iterator[None]:
    """Turn what LanceDB and the system raise where they cannot write into one sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"cannot write the store at {location}: {reason(error)}") from None


def load_library() -> Any:
    """LanceDB, or one sentence that names what to install."""
    try:
        import lancedb
    except ImportError:
        raise MissingExtraError("lancedb", "lancedb") from None
    return lancedb
