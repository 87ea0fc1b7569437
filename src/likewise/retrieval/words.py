"""The words of an index that items are written into: those on the disk, and in memory those written since.

The store is what counts. Words only suggest items, so they are never part of a write: they are caught up from the
store, by the items whose timestamp is later than the newest that is known. Whoever has the index open does so for
himself, a moment after others have written, and at once after his own writes. Once there are many, they are
written to the disk in the background, for all who open the index later. Items that others have deleted may go on to
be counted; they are never a hit, because their fields are read from the store.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from filelock import Timeout

from likewise.catalog.filters import Compare
from likewise.errors import UserError
from likewise.progress import Bar
from likewise.retrieval.items import BookkeepingColumns
from likewise.retrieval.lexical.bm25 import BM25Index, Stamp
from likewise.retrieval.lexical.recent import RecentTable
from likewise.retrieval.lexical.segment import Segment
from likewise.retrieval.lexical.tokenizing import lexical_tokens, searchable_text
from likewise.retrieval.lexical.writer import LexicalDraft, LexicalIndex
from likewise.retrieval.timestamps import next_timestamp
from likewise.stores.base import Record, Store

_GLANCE = 0.2  # seconds between looks at what others have written
_MANY_RECENT = 2_000  # rows in memory, after which they are written to the disk
_TOO_MANY = 10_000  # that are not read into memory, but written to the disk at once
_WORTH_WRITING = 100  # rows at closing; fewer are read again in an instant by whoever opens the index next
_MARGIN = 10_000_000  # microseconds that a write may take from its timestamp to the store
_MOST_GONE = 0.25  # share of items that others have deleted before all are read again
_TRIES = 3
_FETCHED = 1_000


class IndexWords:
    """The words of an open index; safe to use from several threads.

    Args:
        lexical: the words on the disk.
    """

    def __init__(self, lexical: LexicalIndex) -> None:
        self._lexical = lexical
        self._refreshing = threading.Lock()  # held by the one thread that reads on
        self._state = threading.Lock()  # held for moments only
        self._base = BM25Index()
        self._segments: tuple[Segment, ...] = ()  # of the base, less what was replaced or deleted since
        self._recent = RecentTable()
        self._recent_alive = np.zeros(64, bool)
        self._build = ""
        self._seen = 0  # timestamp of the newest item that is known
        self._view: BM25Index | None = None
        self._refreshed = 0.0
        self._own = 0  # timestamp of the newest item that was written through this index
        self._caught_up = 0  # what that was when all items were last known
        self._forgotten: dict[str, None] = {}
        self._deletions = 0
        self._persisting: threading.Thread | None = None
        self._written = 0  # rows through this index since the disk has them

    def current(self, store: Store, bookkeeping: BookkeepingColumns, build: str) -> BM25Index:
        """The words of the content in use; rebuilt from the store where they were lost or never written.

        Args:
            build: of the content, see `IndexMetadata`.
        """
        view = self._view
        if view is not None and self._build == build and self._own <= self._caught_up:
            if time.monotonic() - self._refreshed < _GLANCE or not self._refreshing.acquire(blocking=False):
                return view
        else:
            self._refreshing.acquire()
        try:
            return self._refresh(store, bookkeeping, build)
        finally:
            self._refreshing.release()

    def note_write(self, written: int, rows: int) -> None:
        """Items were written through this index: the next search looks for them at once."""
        with self._state:
            self._own = max(self._own, written)
            self._written += rows

    def note_update(self) -> None:
        """The index was updated from a catalogue: the next search looks at once what has changed."""
        with self._state:
            self._own += 1

    def forget(self, ids: Sequence[str]) -> None:
        """Items were deleted through this index; while no other writer can write them again."""
        with self._state:
            if self._view is None:
                return
            self._forgotten.update(dict.fromkeys(ids))
            self._deletions += len(ids)
            self._written += len(ids)
            self._mark_deleted(ids)
            self._publish()

    def close(self) -> None:
        """Write to the disk what is worth it."""
        thread = self._persisting
        if thread is not None:
            thread.join()
        if self._written >= _WORTH_WRITING:
            self._persist()

    def _refresh(self, store: Store, bookkeeping: BookkeepingColumns, build: str) -> BM25Index:
        self._refreshed, own = time.monotonic(), self._own
        on_disk = self._lexical.current(asking=True)
        if on_disk is not self._base or self._build != build:
            if on_disk.stamp.build == build:
                self._adopt(on_disk)
            elif self._build != build or self._view is None:
                return self._rebuild(store, bookkeeping, build, own)
        for _ in range(_TRIES):
            there, deletions = store.count(), self._deletions
            if not self._catch_up(store, bookkeeping):
                return self._usable_view()
            known = self._usable_view().count + self._deletions - deletions
            if there <= known and known - there <= _MOST_GONE * max(there, _WORTH_WRITING):
                break
        else:
            return self._rebuild(store, bookkeeping, build, own, anew=True)
        self._caught_up = own
        if len(self._recent) >= _MANY_RECENT:
            self._persist_in_background()
        return self._usable_view()

    def _usable_view(self) -> BM25Index:
        return self._view if self._view is not None else BM25Index()

    def _catch_up(self, store: Store, bookkeeping: BookkeepingColumns) -> bool:
        """Read the items that were written since; False: they are many, and somebody else is writing them down."""
        if store.count(Compare(bookkeeping.written, ">", self._seen)) > _TOO_MANY:
            return self._catch_up_on_disk(store, bookkeeping)
        records = find_written_since(store, bookkeeping, self._seen)
        found = [(record, _words(bookkeeping.strip(record.fields))) for record in records]
        with self._state:
            for record in records:
                self._forgotten.pop(record.id, None)
                self._seen = max(self._seen, _read_timestamp(record, bookkeeping))
            self._add_rows([(record.id, words, _read_timestamp(record, bookkeeping)) for record, words in found])
            if records or self._view is None:
                self._publish()
        return True

    def _catch_up_on_disk(self, store: Store, bookkeeping: BookkeepingColumns) -> bool:
        try:
            with self._lexical.update(wait=False) as draft:
                if draft.stamp.build == self._build:
                    add_written_since(store, bookkeeping, draft)
        except (Timeout, UserError):
            return False
        on_disk = self._lexical.current(asking=True)
        if on_disk.stamp.build != self._build:
            return False
        self._adopt(on_disk)
        return True

    def _rebuild(
        self, store: Store, bookkeeping: BookkeepingColumns, build: str, own: int, *, anew: bool = False
    ) -> BM25Index:
        """Read all items; where another process is at it, the old words will do meanwhile.

        Args:
            anew: those on the disk are of this build, but lack items.
        """
        try:
            with self._lexical.update(wait=self._usable_view().count == 0) as draft:
                if anew or draft.before.stamp.build != build:  # nobody else did it while we waited
                    rebuild_words(store, bookkeeping, build, draft)
        except Timeout:
            return self._usable_view()
        self._adopt(self._lexical.current(asking=True))
        if self._catch_up(store, bookkeeping):
            self._caught_up = own
        return self._usable_view()

    def _adopt(self, base: BM25Index, persisted: Sequence[str] | None = None) -> None:
        """Use other words from the disk, and keep in memory what they lack.

        Args:
            persisted: the deleted ids that they know of; None: somebody else has written them.
        """
        with self._state:
            same = base.stamp.build == self._build
            before, alive = self._recent, self._recent_alive
            newer = [
                row
                for row in range(len(before) if same else 0)
                if alive[row] and before.written[row] > base.stamp.written
            ]
            self._recent, self._recent_alive = RecentTable(), np.zeros(64, bool)
            if same and base.stamp.written >= self._base.stamp.written:
                self._seen = max(self._seen, base.stamp.written)
            else:
                self._seen = base.stamp.written
            deleted = [] if persisted is None else [id for id in self._forgotten if id not in set(persisted)]
            self._forgotten = dict.fromkeys(deleted)
            self._base, self._segments, self._build = base, base.parts, base.stamp.build
            self._add_rows([(before.ids[row], before.words[row], before.written[row]) for row in newer])
            self._mark_deleted(deleted)
            self._written = min(self._written, len(newer))
            self._publish()

    def _add_rows(self, rows: Sequence[tuple[str, Sequence[str], int]]) -> None:
        """Add the ids, words and timestamps of different items, which replace those of the same ids."""
        self._mark_deleted([id for id, _, _ in rows])
        for id, words, written in rows:
            row = len(self._recent)
            if row == len(self._recent_alive):
                self._recent_alive = np.concatenate([self._recent_alive, np.zeros(row, bool)])
            self._recent.add(id, words, written)
            self._recent_alive[row] = True

    def _mark_deleted(self, ids: Sequence[str]) -> None:
        self._segments = tuple(segment.without(ids) for segment in self._segments)
        rows = self._recent.view().find_rows(ids)
        self._recent_alive[rows[rows >= 0]] = False

    def _publish(self) -> None:
        """Let searches see what is there now."""
        parts = list(self._segments)
        if len(self._recent):
            view = self._recent.view()
            parts.append(Segment("recent", view, self._recent_alive[: len(view)].copy()))
        self._view = BM25Index(parts, Stamp(self._build, self._seen))

    def _persist_in_background(self) -> None:
        if self._persisting is None or not self._persisting.is_alive():
            self._persisting = threading.Thread(target=self._persist, name="likewise-words", daemon=True)
            self._persisting.start()

    def _persist(self) -> None:
        """Write to the disk what is in memory, unless somebody else is writing, or nobody may."""
        with self._state:
            base, segments, build, seen = self._base, self._segments, self._build, self._seen
            recent, count, forgotten = self._recent, len(self._recent), list(self._forgotten)
            alive = self._recent_alive[:count].copy()
        try:
            with self._lexical.update(wait=False) as draft:
                if draft.before is not base:
                    raise _OvertakenError
                draft.delete_as_in(segments)
                rows = np.flatnonzero(alive).tolist()
                draft.add_words([recent.ids[row] for row in rows], [recent.words[row] for row in rows])
                draft.stamp = Stamp(build, seen)
        except (_OvertakenError, Timeout, UserError):
            return
        on_disk = self._lexical.current(asking=True)
        with self._refreshing:
            if self._base is base and on_disk.stamp == Stamp(build, seen, on_disk.count):
                self._adopt(on_disk, forgotten)


class _OvertakenError(Exception):
    """Other words came to the disk before ours."""


def find_written_since(store: Store, bookkeeping: BookkeepingColumns, after: int) -> list[Record]:
    """The items of a store that were written later than a timestamp, in the order in which they were written.

    Those that are written meanwhile may or may not be among them; one that is not is newer than all that are.
    """
    condition = Compare(bookkeeping.written, ">", after)
    nothing = np.zeros((1, store.schema.dim), np.float32)
    known: set[str] | None = None
    records: list[Record] = []
    while True:
        count = store.count(condition)
        if not count:
            return []
        (found,) = store.search(nothing, count + _FETCHED, condition)
        ids = set(found.ids)
        if ids == known:  # nothing came while they were fetched, so what comes now is newer than all of them
            break
        known = ids
        records = _fetch(store, sorted(ids))
    return sorted(records, key=lambda record: _read_timestamp(record, bookkeeping))


def _fetch(store: Store, ids: Sequence[str]) -> list[Record]:
    records = []
    for start in range(0, len(ids), _FETCHED):
        records += [record for record in store.fetch(ids[start : start + _FETCHED]) if record is not None]
    return records


def add_written_since(store: Store, bookkeeping: BookkeepingColumns, draft: LexicalDraft) -> None:
    """Bring a draft of the words up to date with a store of which it knows an earlier state."""
    if store.count(Compare(bookkeeping.written, ">", draft.stamp.written)) > _TOO_MANY:
        rebuild_words(store, bookkeeping, draft.stamp.build, draft)
        return
    records = find_written_since(store, bookkeeping, draft.stamp.written)
    if records:
        draft.catch_up([record.id for record in records], [bookkeeping.strip(record.fields) for record in records])
        draft.stamp = Stamp(draft.stamp.build, _read_timestamp(records[-1], bookkeeping))


def rebuild_words(store: Store, bookkeeping: BookkeepingColumns, build: str, draft: LexicalDraft) -> None:
    """Read every item of a store into a draft of its words."""
    draft.clear()
    begun = next_timestamp(store, bookkeeping, 0) - _MARGIN
    newest = oldest = 0
    with Bar("Reading words", store.count()) as bar:
        for batch in store.iterate(vectors=False):
            draft.add(batch.ids, [bookkeeping.strip(fields) for fields in batch.fields])
            times = [int(fields.get(bookkeeping.written) or 0) for fields in batch.fields]
            newest, oldest = max([newest, *times]), min([oldest or times[0], *times])
            bar.advance(len(batch.ids))
    draft.stamp = Stamp(build, max(min(newest, begun), oldest))


def _read_timestamp(record: Record, bookkeeping: BookkeepingColumns) -> int:
    return int(record.fields.get(bookkeeping.written) or 0)


def _words(fields: Mapping[str, Any]) -> list[str]:
    return lexical_tokens(searchable_text(fields))
