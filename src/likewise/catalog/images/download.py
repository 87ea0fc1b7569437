"""Many files from the web at once, each within its limits, each ending in a stored file or in one named cause."""

import asyncio
import queue
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpcore
import httpx
from anyio.from_thread import start_blocking_portal
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from likewise.catalog.images.buckets import is_bucket_url, read_object
from likewise.catalog.images.hosts import GIVEN_UP, STATUSES_THAT_PASS, Host, Hosts
from likewise.catalog.images.network import PICTURES, Gate, Resolver, build_client
from likewise.catalog.images.picture import PictureError, SourceError
from likewise.catalog.images.sources import normalize_url
from likewise.config import SourceSettings
from likewise.errors import UserError

_MOST_REDIRECTS = 5
_LONGEST_WAIT = 30.0  # seconds between two attempts; a server that asks for more is not asked again
_REDIRECTS = (301, 302, 303, 307, 308)
_KEEPERS = 4
_LONGEST_SLEEP = 0.5  # seconds until a pause looks whether its host was given up meanwhile

Keep = Callable[[bytes], tuple[str, int]]  # checks and stores a file: its SHA-256 and its measure


@dataclass(frozen=True)
class Download:
    """One finished download: a stored picture, or the cause why there is none.

    Attributes:
        url: as it was asked for.
        key: SHA-256 of the picture's bytes in hexadecimal digits; None for a failure.
        size: bytes.
        measure: of a picture its pixels (width times height), of a recording its milliseconds.
        private: whether a private host took part.
        cause: why it failed; None for a success.
    """

    url: str
    key: str | None = None
    size: int = 0
    measure: int = 0
    private: bool = False
    cause: str | None = None


class _PassingError(PictureError):
    """A failure that may be gone at the next attempt."""

    def __init__(self, cause: str, wait: float | None = None) -> None:
        super().__init__(cause)
        self.wait = wait  # seconds that the server asked for


def download(
    urls: Iterable[str],
    settings: SourceSettings,
    keep: Keep,
    *,
    hosts: Hosts | None = None,
    accept: str = PICTURES,
    per_host: int = 8,
    first_pause: float = 0.5,
    resolve: Resolver | None = None,
    inner: httpcore.AsyncNetworkBackend | None = None,
) -> Generator[Download]:
    """Download pictures concurrently, yielding each as it is finished.

    The downloads run in an event loop of their own in a thread, so this works inside a running loop as well. Closing
    the iterator stops them.

    Args:
        urls: different addresses of http(s) or of buckets.
        settings: concurrency, time, retries, bytes, and whether private hosts are allowed.
        keep: called in a thread with the bytes; a `SourceError` from it makes the download a failure.
        hosts: what earlier downloads of the same run have learnt of their hosts; None: nothing.
        accept: the media types that are asked for.
        per_host: connections that one host is asked to bear at once.
        first_pause: seconds before the first retry; it doubles, and is jittered.
        resolve, inner: how hosts are looked up and dialled; replaced in tests.

    Raises:
        UserError: `keep` could not write.
    """
    finished: queue.SimpleQueue[Download | None] = queue.SimpleQueue()
    run = _Run(settings, hosts or Hosts(settings), keep, finished.put, first_pause)

    async def all_of_them() -> None:
        gate = Gate(settings.allow_private_hosts, resolve)
        async with build_client(gate, settings.concurrency, inner, accept) as client:
            await run.download_all(client, gate, urls, per_host)

    with start_blocking_portal() as portal:
        future = portal.start_task_soon(all_of_them)
        future.add_done_callback(lambda _: finished.put(None))
        try:
            while (result := finished.get()) is not None:
                yield result
            future.result()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            future.cancel()


class _Run:
    """The downloads of one call, sharing limits."""

    def __init__(
        self,
        settings: SourceSettings,
        hosts: Hosts,
        keep: Keep,
        report: Callable[[Download], None],
        first_pause: float,
    ) -> None:
        self._settings = settings
        self._hosts = hosts
        self._keep = keep
        self._report = report
        self._pause = wait_exponential(first_pause, max=_LONGEST_WAIT) + wait_random(0, first_pause)
        self._keepers = ThreadPoolExecutor(_KEEPERS)  # in the loop's own they would wait for host names
        self._slots = asyncio.Semaphore(settings.concurrency)

    async def download_all(self, client: httpx.AsyncClient, gate: Gate, urls: Iterable[str], per_host: int) -> None:
        with self._keepers:
            await self._start_all(client, gate, urls, per_host)

    async def _start_all(self, client: httpx.AsyncClient, gate: Gate, urls: Iterable[str], per_host: int) -> None:
        async with asyncio.TaskGroup() as group:
            for host in self._hosts.queue(urls, per_host):
                for _ in range(host.connections):
                    group.create_task(self._work(client, gate, host))
                await asyncio.sleep(0)  # starting thousands takes seconds, in which the first may not run out of time

    async def _work(self, client: httpx.AsyncClient, gate: Gate, host: Host) -> None:
        while host.waiting:
            url = host.waiting.popleft()
            if self._hosts.is_given_up(host):
                self._report(Download(url, cause=GIVEN_UP))
                continue
            try:
                result = await self._with_retries(client, gate, host, url)
            except SourceError as error:
                result = Download(url, cause=error.cause)
            self._hosts.count_outcome(host, result.cause)
            self._report(result)

    async def _with_retries(self, client: httpx.AsyncClient, gate: Gate, host: Host, url: str) -> Download:
        attempts = AsyncRetrying(
            stop=stop_after_attempt(self._settings.retries + 1),
            retry=retry_if_exception_type(_PassingError),
            wait=self._wait,
            sleep=lambda seconds: self._sleep(host, seconds),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                await self._sleep(host, host.resumes - time.monotonic())
                async with self._slots:  # not held while waiting for the next attempt
                    data, private = await self._timed_attempt(client, gate, host, url)
                    key, measure = await asyncio.get_running_loop().run_in_executor(self._keepers, self._keep, data)
        return Download(url, key, len(data), measure, private)

    async def _sleep(self, host: Host, seconds: float) -> None:
        """Pause, no longer than until the host is given up."""
        started = time.monotonic()
        while (left := started + seconds - time.monotonic()) > 0 and not self._hosts.is_given_up(host):
            part = min(left, _LONGEST_SLEEP)
            await asyncio.sleep(part)
            self._hosts.lose(host, part)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, _PassingError) else None
        return self._pause(state) if asked is None else 0.0  # the whole host is left alone for as long as it asked

    async def _timed_attempt(self, client: httpx.AsyncClient, gate: Gate, host: Host, url: str) -> tuple[bytes, bool]:
        if self._hosts.is_given_up(host):
            raise PictureError(GIVEN_UP)
        started = time.monotonic()
        try:
            data, private = await self._attempt(client, gate, url)
        except PictureError as error:
            self._hosts.count_failure(host, error.cause, time.monotonic() - started)
            if isinstance(error, _PassingError) and error.wait is not None:
                self._hosts.postpone(host, error.wait)
            raise
        self._hosts.count_picture(host, time.monotonic() - started, len(data))
        return data, private

    async def _attempt(self, client: httpx.AsyncClient, gate: Gate, url: str) -> tuple[bytes, bool]:
        try:
            async with asyncio.timeout(self._settings.timeout):
                if is_bucket_url(url):
                    return await read_object(url, self._settings.max_bytes), False
                return await _follow(client, gate, url, self._settings.max_bytes)
        except (TimeoutError, httpcore.ReadTimeout, httpcore.WriteTimeout, httpcore.PoolTimeout):
            raise PictureError("timeout") from None
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            raise _PassingError("connection-failed") from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise _PassingError("connection-broken") from None
        except UserError:
            raise
        except Exception:  # one odd server must not end the run
            raise (_PassingError if is_bucket_url(url) else PictureError)("connection-broken") from None


async def _follow(client: httpx.AsyncClient, gate: Gate, url: str, max_bytes: int) -> tuple[bytes, bool]:
    """Read a URL and what it redirects to, each address checked; the bytes, and whether a private host took part."""
    private = False
    for _ in range(_MOST_REDIRECTS + 1):
        address = httpx.URL(url)
        port = address.port or (443 if address.scheme == "https" else 80)
        private |= await gate.leads_to_private(address.raw_host.decode("ascii"), port)
        async with client.stream("GET", url) as response:
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                return await _read(response, max_bytes), private
            target = normalize_url(str(address.join(response.headers["location"])))
        if url.startswith("https:") and target.startswith("http:"):
            raise PictureError("insecure-redirect")
        url = target
    raise PictureError("too-many-redirects")


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    """The body, never more than `max_bytes` of it whatever the headers promise."""
    status = response.status_code
    if status in STATUSES_THAT_PASS:
        wait = _seconds_to_wait(response.headers.get("retry-after"))
        if wait is not None and wait > _LONGEST_WAIT:
            raise PictureError(f"http-{status}")
        raise _PassingError(f"http-{status}", wait)
    if status != 200:
        raise PictureError(f"http-{status}")
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise PictureError("compressed-answer")
    if int(response.headers.get("content-length") or 0) > max_bytes:
        raise PictureError("too-large")
    data = bytearray()
    async for part in response.aiter_raw():
        data += part
        if len(data) > max_bytes:
            raise PictureError("too-large")
    return bytes(data)


def _seconds_to_wait(retry_after: str | None) -> float | None:
    """What a Retry-After header asks for: seconds, or a date; None where it says nothing sensible."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
