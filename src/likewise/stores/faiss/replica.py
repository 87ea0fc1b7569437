"""The content of a folder in this process, kept in step with what others write to it."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import polars as pl
from filelock import FileLock, Timeout

from likewise.checksums import IndexManifest
from likewise.errors import UserError
from likewise.files import DamageError, acquire_lock, cannot_write
from likewise.stores.damage import explain_damaged_store
from likewise.stores.faiss import wal
from likewise.stores.faiss.indexing import index_next_segment
from likewise.stores.faiss.segment import Segment
from likewise.stores.faiss.snapshot import Snapshot
from likewise.stores.faiss.wal_records import Delete, Upsert, decode, encode
from likewise.stores.versions import WRITE_LOCK, current_version, new_version

WAL_FILE = "wal"
_GLANCE = 0.2  # seconds between looks at what others have written
_LONGEST_DELTA = 10_000  # items, or a part of the segment, that are searched one by one before they join it
_LONGEST_PART = 0.02
_MOST_DEAD = 0.2
_MOST_BEHIND = 5  # times that length, after which writes wait for the compaction


class Replica:
    """A folder's content; safe to use from several threads.

    Raises:
        UserError: there is no store in the folder, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing = threading.RLock()
        self._publishing = threading.Lock()  # held for moments only, so that readers never wait for a disk
        self._file_lock = FileLock(folder / WRITE_LOCK)
        self._version = folder
        self._end = wal.Position()
        self._glanced = 0.0
        self._starting = threading.Lock()
        self._compacting: threading.Thread | None = None
        self._content: Snapshot
        with self._writing:
            self._follow()

    def content(self) -> Snapshot:
        """The content as of now; what other processes wrote may be a moment late."""
        if time.monotonic() - self._glanced > _GLANCE and self._writing.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._writing.release()
        return self._content

    def refresh(self) -> None:
        """Bring the content up to date with what other processes have written until now."""
        with self._writing:
            self._follow()

    def locate(self, ids: Sequence[str]) -> tuple[Snapshot, list[int | None]]:
        """The content and the rows of some ids in it."""
        self.content()
        with self._publishing:
            content = self._content
            return content, content.find_places(ids)

    def write(self, write: Upsert | Delete) -> int:
        """Make a write last, then let readers see it.

        Returns:
            The number of ids deleted; of an upsert 0.

        Raises:
            UserError: the disk refuses it; nothing was written then.
        """
        with self._only_writer():
            if isinstance(write, Delete):
                ids = list(dict.fromkeys(write.ids))
                present = [id for id, row in zip(ids, self._content.find_places(ids), strict=True) if row is not None]
                if not present:
                    return 0
                write = Delete(present)
            try:
                end = wal.append(self._version / WAL_FILE, self._end, encode(write))
            except OSError as error:
                raise cannot_write(self._folder, error) from None
            self._apply(write, end)
            content = self._content
        if _is_long(content):
            self._compact_in_background(wait=_is_long(content, _MOST_BEHIND))
        return len(write.ids) if isinstance(write, Delete) else 0

    def compact(self, *, wait: bool = True) -> None:
        """Write segment and delta as a new version and switch to it; others read and write meanwhile.

        Args:
            wait: for whoever builds a version now; otherwise leave it to them.
        """
        try:
            with ExitStack() as switching:
                with new_version(self._folder, wait=wait, unlisted=[WAL_FILE]) as building:
                    with self._only_writer():
                        before, version, end = self._content, self._version, self._end
                    before.write_segment(building)
                    index_next_segment(building, before.segment, appended=before.dead is None)
                    switching.enter_context(self._only_writer())
                    if self._version != version:
                        raise _OvertakenError
                    written_meanwhile = (record for record, _ in wal.read(version / WAL_FILE, end))
                    wal.create(building / WAL_FILE, written_meanwhile)
                self._follow()
        except (_OvertakenError, Timeout):
            return
        except DamageError as error:
            raise explain_damaged_store(self._folder, error) from None
        except OSError as error:
            raise cannot_write(self._folder, error) from None

    def _compact_in_background(self, *, wait: bool) -> None:
        """Compact in a thread, since a write takes milliseconds and this takes seconds.

        Args:
            wait: for its end, because writes come faster than they can be compacted.
        """

        def compact() -> None:
            with contextlib.suppress(UserError):  # the writes are safe, whatever becomes of this
                self.compact(wait=False)

        with self._starting:
            if self._compacting is None or not self._compacting.is_alive():
                self._compacting = threading.Thread(target=compact, name="likewise-compaction", daemon=True)
                self._compacting.start()
            thread = self._compacting
        if wait:
            thread.join()

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Keep other writers away, in this process and elsewhere, and know all that they wrote."""
        with self._writing:
            acquire_lock(self._file_lock)
            try:
                self._follow(alone=True)
                yield
            finally:
                self._file_lock.release()

    def _follow(self, *, alone: bool = False) -> None:
        """Bring the content up to date.

        Args:
            alone: nobody else writes, so a whole record that a killed writer left counts.
        """
        self._glanced = time.monotonic()
        for last in (False, False, True):
            version = None
            try:
                version = current_version(self._folder)
                if version is None:
                    if self._version == self._folder:
                        raise UserError(f"there is no store in {self._folder}")
                    return  # the folder has gone, but what we have open serves on
                if version != self._version:
                    self._open(version)
                self._read_on(alone=alone)
                return
            except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
                if last or version is None or version == self._named_now():  # else it was removed under our feet
                    raise explain_damaged_store(self._folder, error) from None

    def _named_now(self) -> Path | None:
        with contextlib.suppress(DamageError):
            return current_version(self._folder)
        return None

    def _open(self, version: Path) -> None:
        content, end = Snapshot.of(Segment(version, IndexManifest(version))), wal.Position()
        with self._alone_if_possible() as alone:
            for record, after in wal.read(version / WAL_FILE, end, beyond=alone):
                content, end = content.after(decode(record, content.schema.dim)), after
            if alone:
                wal.recover(version / WAL_FILE, end)
        with self._publishing:
            self._content, self._version, self._end = content, version, end

    @contextmanager
    def _alone_if_possible(self) -> Iterator[bool]:
        """Keep writers away for a moment, unless one is writing or the folder is read-only."""
        try:
            self._file_lock.acquire(timeout=0)
        except (OSError, NotImplementedError):  # a timeout is an OSError
            yield False
            return
        try:
            yield True
        finally:
            self._file_lock.release()

    def _read_on(self, *, alone: bool) -> None:
        path = self._version / WAL_FILE
        if not alone and wal.find_end(path) == self._end:
            return
        before = self._end
        for record, end in wal.read(path, before, beyond=alone):
            self._apply(decode(record, self._content.schema.dim), end)
        if alone and self._end != before:
            wal.recover(path, self._end)

    def _apply(self, write: Upsert | Delete, end: wal.Position) -> None:
        with self._publishing:
            self._content, self._end = self._content.after(write), end


class _OvertakenError(Exception):
    """Another version came into use before ours was finished."""


def _is_long(content: Snapshot, times: int = 1) -> bool:
    rows = content.segment.count
    dead = 0 if content.dead is None else int(content.dead.sum())
    longest, most_dead = max(_LONGEST_DELTA, _LONGEST_PART * rows), max(_LONGEST_DELTA, _MOST_DEAD * rows)
    return len(content.delta) > times * longest or dead > times * most_dead
