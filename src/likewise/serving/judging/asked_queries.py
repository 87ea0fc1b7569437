"""Queries that people ask, collected where the operator wants that: distinct texts, how often and when last.

They are kept in a record that all worker processes share. Each counts in memory, and adds its counts every few seconds
and at the end, so a process that is killed loses the last seconds.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from likewise.catalog.text import normalize_text
from likewise.errors import UserError
from likewise.files import DamageError, explain_damage, hold_lock, prepare_file, read_record, write_record

log = logging.getLogger(__name__)

MOST_QUERIES = 10_000  # of which those that were asked longest ago are forgotten
LONGEST_QUERY = 200  # characters: longer texts are no queries that somebody would judge
_FORMAT = 1
_SECONDS_BETWEEN_WRITES = 10.0
_SECONDS_TO_TYPE = 3.0  # within which a longer or shorter text is the same query, still being typed
_MOST_CLIENTS = 1_000


@dataclass(frozen=True)
class AskedQuery:
    """A query and how often it was asked.

    Attributes:
        text: as it was last typed, with single spaces.
        last: when, in ISO 8601.
    """

    text: str
    count: int
    last: str | None = None


class AskedQueries:
    """The record of queries that were asked.

    Args:
        path: of the record.
        collect: add to it; or else it is only read.

    Raises:
        UserError: it is damaged or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        collect: bool = False,
        most: int = MOST_QUERIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.collects = collect
        self._most = most
        self._clock = clock
        self._lock = path.with_name(f".{path.name}.lock")
        self._mutex = threading.Lock()
        self._typing: OrderedDict[str, tuple[str, float]] = OrderedDict()  # what a client asked last, and when
        self._counted: dict[str, AskedQuery] = {}  # by normalised text, not yet in the record
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._read()
        if collect:
            prepare_file(path)
            self._thread = threading.Thread(target=self._write_now_and_then, name="asked-queries", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what was counted."""
        if self._thread is not None:
            self._closing.set()
            self._thread.join()
            self.flush(everything=True)

    def note(self, text: str, client: str) -> None:
        """Count a query; what a client types letter by letter is one."""
        shown = " ".join(text.split())
        if not shown or len(shown) > LONGEST_QUERY:
            return
        now = self._clock()
        with self._mutex:
            before = self._typing.pop(client, None)
            if before is not None and not (
                now - before[1] < _SECONDS_TO_TYPE and (shown.startswith(before[0]) or before[0].startswith(shown))
            ):
                self._count(before[0])
            self._typing[client] = shown, now
            if len(self._typing) > _MOST_CLIENTS:
                _, (oldest, _) = self._typing.popitem(last=False)
                self._count(oldest)

    def list(self) -> list[AskedQuery]:
        """All that were asked, the most frequent first.

        Raises:
            UserError: the record is damaged.
        """
        if self.collects:
            self.flush()
        return sorted(self._read().values(), key=lambda query: (-query.count, query.text))

    def flush(self, *, everything: bool = False) -> None:
        """Add what was counted to the record.

        Args:
            everything: also what may still be typed.

        Raises:
            UserError: it cannot be written.
        """
        with self._mutex:
            now = self._clock()
            for client, (text, asked) in list(self._typing.items()):
                if everything or now - asked >= _SECONDS_TO_TYPE:
                    self._count(text)
                    del self._typing[client]
            counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            with self._giving_back(counted), hold_lock(self._lock):
                known = self._read()
                for key, query in counted.items():
                    known[key] = _add(known.pop(key, None), query)
                latest = sorted(known.values(), key=lambda query: query.last or "")[-self._most :]
                rows = [[query.text, query.count, query.last] for query in latest]
                write_record(self.path, {"queries": rows}, _FORMAT)
        except OSError as error:
            raise UserError(f"the queries that were asked cannot be kept in {self.path}: {error.strerror}") from None

    @contextmanager
    def _giving_back(self, counted: dict[str, AskedQuery]) -> Iterator[None]:
        """Keep in memory what could not be written."""
        try:
            yield
        except Exception:
            with self._mutex:
                for key, query in counted.items():
                    if len(self._counted) < self._most:
                        self._counted[key] = _add(query, self._counted[key]) if key in self._counted else query
            raise

    def _count(self, text: str) -> None:
        key = normalize_text(text) or text
        if key in self._counted or len(self._counted) < self._most:
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            self._counted[key] = _add(self._counted.get(key), AskedQuery(text, 1, now))

    def _read(self) -> dict[str, AskedQuery]:
        try:
            rows = read_record(self.path, _FORMAT).get("queries")
            queries = [_parse_row(row) for row in rows] if isinstance(rows, list) else None
        except FileNotFoundError:
            return {}
        except (DamageError, ValueError) as error:
            way_out = f"{self.path} is damaged: move it away, and queries are collected anew"
            raise explain_damage(error, older=way_out, damaged=way_out) from None
        if queries is None:
            raise UserError(f"{self.path} holds no queries: move it away, and they are collected anew")
        return {normalize_text(query.text) or query.text: query for query in queries}

    def _write_now_and_then(self) -> None:
        while not self._closing.wait(_SECONDS_BETWEEN_WRITES):
            try:
                self.flush()
            except UserError as error:
                log.warning("queries that were asked are not kept: %s", error)


def _add(known: AskedQuery | None, more: AskedQuery) -> AskedQuery:
    return more if known is None else AskedQuery(more.text, known.count + more.count, more.last)


def _parse_row(row: Any) -> AskedQuery:
    match row:
        case [str(text), int(count), str() | None as last] if count > 0 and len(text) <= LONGEST_QUERY:
            return AskedQuery(text, count, last)
    raise ValueError("a row is no query")
