"""Encode lanes: one thread per encoder, which encodes in batches what concurrent requests wait for."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from itertools import count
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import numpy as np

T = TypeVar("T")

log = logging.getLogger(__name__)

_KEPT = 0.9  # share of the moving average that is left after a batch
_UNKNOWN_WAIT = 1.0  # seconds until a client should ask again, while no batch has been timed
_LEAST_WAIT = 0.1
_FIXED_SIZE = 32  # added to every size before sizes are compared: below it, the length of a text hardly matters
_MOST_PADDING = 2.0  # the largest value of a batch is at most so many times as large as its smallest


class Overloaded(Exception):  # noqa: N818 - what the server is, as HTTP status 503 says it
    """There is more to encode than can be done in time.

    Attributes:
        retry_after: seconds until the work that is queued now will be done.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many requests are waiting; try again in {retry_after:.1f} s")
        self.retry_after = retry_after


class DeadlinePassed(Exception):  # noqa: N818
    """A request's deadline passed before its values were encoded."""


class LaneClosed(Exception):  # noqa: N818
    """The lane was closed before a request's values were encoded."""


@dataclass(eq=False)
class _Request:
    """One call of `encode`: what of it is encoded, and how to wake the task that waits."""

    loop: asyncio.AbstractEventLoop
    ready: asyncio.Future[None]
    deadline: float | None
    size: int
    missing: int
    vectors: np.ndarray | None = None
    failure: Exception | None = None

    def is_alive(self, now: float) -> bool:
        return not self.ready.done() and (self.deadline is None or now < self.deadline)

    def accept(self, row: int, outcome: np.ndarray | Exception) -> bool:
        """Keep what one value became; True if the task can go on now."""
        if isinstance(outcome, Exception):
            self.failure = outcome
            return True
        if self.vectors is None:
            self.vectors = np.empty((self.size, len(outcome)), np.float32)
        self.vectors[row] = outcome
        self.missing -= 1
        return self.missing == 0


@dataclass(eq=False)
class _Entry(Generic[T]):
    """A distinct value, and the rows of requests that it goes to."""

    key: Hashable
    value: T
    size: int
    turn: int
    since: float = field(default_factory=time.monotonic)
    rows: list[tuple[_Request, int]] = field(default_factory=list)


@dataclass(frozen=True)
class EncodedBatch:
    """What a lane tells of a batch.

    Attributes:
        size: values that were encoded at once.
        seconds: that it took.
        waits: seconds that each value had waited before.
    """

    size: int
    seconds: float
    waits: tuple[float, ...]


class EncodeLane(Generic[T]):
    """A thread that encodes, in batches, what has piled up while it was busy.

    An idle lane starts at once with what there is; no request waits for others to fill a batch. A batch holds the
    value whose turn it is and those nearest to it in size, so that padding stays small and no value waits forever. A
    request of many values takes turns with those that come after it. Equal values that wait at the same time are
    encoded once. A request that was cancelled, or whose deadline has passed, is dropped before it is encoded.

    Args:
        encode: n values → (n, dim); only ever called by the lane's thread.
        name: the name of the thread, and of the lane in messages.
        largest_batch: values that are encoded at once.
        most_waiting: distinct values that may wait; what comes beyond them is refused, unless nothing waits.
        size: how much work a value is, in units of about a character; values of similar size share a batch.
        on_batch: called by the lane's thread after each batch.

    Example:
        >>> async def encode_in_time() -> np.ndarray:
        ...     lane = EncodeLane(model.encode_queries, name="queries", largest_batch=32, most_waiting=256)
        ...     return await lane.encode(["red shoes"], deadline=time.monotonic() + 2)
    """

    def __init__(
        self,
        encode: Callable[[list[T]], np.ndarray],
        *,
        name: str,
        largest_batch: int,
        most_waiting: int,
        size: Callable[[T], int] | None = None,
        on_batch: Callable[[EncodedBatch], None] | None = None,
    ) -> None:
        self.name = name
        self.largest_batch = largest_batch
        self.most_waiting = most_waiting
        self._encode = encode
        self._size = size or _length
        self._on_batch = on_batch
        self._lock = threading.Lock()
        self._work = SimpleQueue[None]()  # wakes the thread; quicker than a condition
        self._is_idle = False
        self._waiting: dict[Hashable, _Entry[T]] = {}
        self._encoding: dict[Hashable, _Entry[T]] = {}
        self._numbers = count()
        self._pace = _Pace()
        self._started = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def queue_length(self) -> int:
        """Distinct values that wait, without those that are being encoded."""
        return len(self._waiting)

    @property
    def estimated_wait(self) -> float:
        """Seconds until everything that waits now will be encoded, from a moving average; 0 before any is known."""
        with self._lock:
            return self._estimate()

    async def encode(self, values: Sequence[T], deadline: float | None = None) -> np.ndarray:
        """Encode values, together with those of other requests: (len(values), dim) float32, in their order.

        Args:
            values: at least one; hashable ones are compared with those of other requests.
            deadline: the time of the event loop (`time.monotonic()`) after which nobody needs the answer.

        Raises:
            Overloaded: too many values wait already, or so many that the deadline would pass.
            DeadlinePassed: the deadline came first.
            LaneClosed: the lane was closed first.
            Exception: what the encoder raises for one of these values alone.
        """
        if not values:
            raise ValueError(f"the lane {self.name} was given nothing to encode")
        loop = asyncio.get_running_loop()
        request = _Request(loop, loop.create_future(), deadline, len(values), missing=len(values))
        entries = self._admit(request, values)
        try:
            async with asyncio.timeout_at(deadline):
                await request.ready
        except TimeoutError:
            raise DeadlinePassed(f"the request was not encoded in time by the lane {self.name}") from None
        finally:
            if request.missing:
                self._withdraw(request, entries)
        if request.failure is not None:
            raise request.failure
        assert request.vectors is not None  # noqa: S101 - for the type checker
        return request.vectors

    def close(self) -> None:
        """Finish the batch under way, fail all requests that still wait with `LaneClosed`, and end the thread."""
        with self._lock:
            self._closed = True
            self._wake_thread()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _admit(self, request: _Request, values: Sequence[T]) -> list[_Entry[T]]:
        """Queue what is not on its way already; every distinct value's entry."""
        keyed = [(_key(value), value, self._size(value)) for value in values]
        with self._lock:
            new = {key for key, _, _ in keyed if key not in self._waiting and key not in self._encoding}
            self._check_admission(request, len(new))
            turn = next(self._numbers)
            entries: dict[Hashable, _Entry[T]] = {}
            for row, (key, value, size) in enumerate(keyed):
                entry = entries.get(key) or self._waiting.get(key) or self._encoding.get(key)
                if entry is None:
                    entry = self._waiting[key] = _Entry(key, value, size, turn + row)
                entry.turn = min(entry.turn, turn + row)
                entry.rows.append((request, row))
                entries[key] = entry
            self._wake_thread()
        return list(entries.values())

    def _wake_thread(self) -> None:
        if self._is_idle:
            self._is_idle = False
            self._work.put(None)

    def _check_admission(self, request: _Request, new: int) -> None:
        if self._closed:
            raise LaneClosed(f"the lane {self.name} is closed")
        now = time.monotonic()
        if request.deadline is not None and request.deadline <= now:
            raise DeadlinePassed(f"the deadline had passed when the request came to the lane {self.name}")
        if not self._waiting or not new:
            return
        wait = self._estimate()
        if len(self._waiting) + new > self.most_waiting or (request.deadline or np.inf) < now + wait:
            raise Overloaded(max(wait, _LEAST_WAIT) if self._pace.is_known else _UNKNOWN_WAIT)

    def _estimate(self) -> float:
        running = len(self._encoding) * self._pace.seconds
        left = max(0.0, running - (time.monotonic() - self._started)) if self._encoding else 0.0
        return left + len(self._waiting) * self._pace.seconds

    def _withdraw(self, request: _Request, entries: Iterable[_Entry[T]]) -> None:
        """Forget a request that nobody waits for any more, and the values that only it had asked for."""
        with self._lock:
            for entry in entries:
                entry.rows = [(other, row) for other, row in entry.rows if other is not request]
                if not entry.rows and self._waiting.get(entry.key) is entry:
                    del self._waiting[entry.key]

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                started = time.perf_counter()
                outcomes = self._encode_batch([entry.value for entry in batch])
                seconds = time.perf_counter() - started
                self._finish(batch, outcomes, seconds)
                if self._on_batch is not None:
                    try:
                        waits = tuple(self._started - entry.since for entry in batch)
                        self._on_batch(EncodedBatch(len(batch), seconds, waits))
                    except Exception:
                        log.exception("on_batch of the lane %s failed", self.name)
        finally:
            self._fail_everything()

    def _next_batch(self) -> list[_Entry[T]]:
        """Wait for values; none if the lane has been closed."""
        while True:
            with self._lock:
                if self._closed:
                    return []
                self._drop_abandoned()
                if self._waiting:
                    batch = choose_batch(list(self._waiting.values()), self.largest_batch)
                    for entry in batch:
                        self._encoding[entry.key] = self._waiting.pop(entry.key)
                    self._started = time.monotonic()
                    return batch
                self._is_idle = True
            self._work.get()

    def _drop_abandoned(self) -> None:
        """Drop values of requests that were cancelled or are late, though the event loop has not noticed yet."""
        now = time.monotonic()
        for entry in list(self._waiting.values()):
            if not any(request.is_alive(now) for request, _ in entry.rows):
                del self._waiting[entry.key]

    def _encode_batch(self, values: list[T]) -> list[np.ndarray | Exception]:
        """A vector for each value, or the exception that it alone raises."""
        try:
            vectors = np.asarray(self._encode(values), np.float32)
            if vectors.ndim != 2 or len(vectors) != len(values):
                raise ValueError(f"the encoder of {self.name} made {vectors.shape} of {len(values)} values")
            return list(vectors)
        except Exception as error:
            if len(values) == 1:
                return [error]
        return [self._encode_batch([value])[0] for value in values]

    def _finish(self, batch: list[_Entry[T]], outcomes: list[np.ndarray | Exception], seconds: float) -> None:
        with self._lock:
            self._pace.add(len(batch), seconds)
            finished = []
            for entry, outcome in zip(batch, outcomes, strict=True):
                del self._encoding[entry.key]
                finished += [request for request, row in entry.rows if request.accept(row, outcome)]
        _wake(finished)

    def _fail_everything(self) -> None:
        """End all requests: the lane was closed, or the encoder ended its thread (as by SystemExit)."""
        with self._lock:
            self._closed = True
            entries = [*self._encoding.values(), *self._waiting.values()]
            self._encoding.clear()
            self._waiting.clear()
            closed = LaneClosed(f"the lane {self.name} was closed before the request was encoded")
            finished = [request for entry in entries for request, row in entry.rows if request.accept(row, closed)]
        _wake(finished)


class _Pace:
    """A moving average of the seconds that a value takes."""

    def __init__(self) -> None:
        self._batches = 0
        self._values = 0.0
        self._seconds = 0.0

    @property
    def is_known(self) -> bool:
        return self._values > 0

    @property
    def seconds(self) -> float:
        return self._seconds / self._values if self._values else 0.0

    def add(self, values: int, seconds: float) -> None:
        self._batches += 1
        if self._batches == 1:  # pays for what libraries set up when they are first used
            return
        self._values = _KEPT * self._values + values
        self._seconds = _KEPT * self._seconds + seconds


def choose_batch(entries: Sequence[_Entry[Any]], largest: int) -> list[_Entry[Any]]:
    """The entry whose turn it is, and those nearest to it in size, as long as little is padded."""
    if len(entries) == 1:
        return list(entries)
    by_size = sorted(entries, key=lambda entry: (entry.size, entry.turn))
    first = min(range(len(by_size)), key=lambda place: by_size[place].turn)
    start, end = first, first + 1
    while end - start < largest:
        smaller = by_size[start - 1].size if start else -np.inf
        larger = by_size[end].size if end < len(by_size) else np.inf
        takes_smaller = _fit_together(smaller, by_size[end - 1].size)
        takes_larger = _fit_together(by_size[start].size, larger)
        if not takes_smaller and not takes_larger:
            break
        size = by_size[first].size
        if takes_larger and (not takes_smaller or larger - size <= size - smaller):
            end += 1
        else:
            start -= 1
    return by_size[start:end]


def _fit_together(smallest: float, largest: float) -> bool:
    return largest + _FIXED_SIZE <= _MOST_PADDING * (smallest + _FIXED_SIZE)


def _wake(requests: Sequence[_Request]) -> None:
    """Let the tasks of these requests go on, with one call per event loop: each is a write to a pipe."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
    for request in requests:
        by_loop.setdefault(request.loop, []).append(request)
    for loop, woken in by_loop.items():
        try:
            loop.call_soon_threadsafe(_set_ready, woken)
        except RuntimeError:  # the loop is closed: nobody waits there
            continue


def _set_ready(requests: Sequence[_Request]) -> None:
    for request in requests:
        if not request.ready.done():
            request.ready.set_result(None)


def _length(value: object) -> int:
    return len(value) if isinstance(value, Sized) else 1


def _key(value: object) -> Hashable:
    """What equal values have in common; the identity of values that cannot be hashed, such as pictures."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
