"""Budgets of the hosts that pictures are downloaded from: one that keeps failing or holds up the run is given up.

What counts is the time that is lost, not the time that is spent: attempts that fail, pauses that a server asks for, and
what a picture takes beyond a generous allowance. So a good host may deliver pictures for hours.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import httpx

from likewise.catalog.images.buckets import is_bucket_url
from likewise.config import SourceSettings

GIVEN_UP = "host-given-up"
STATUSES_THAT_PASS = (408, 425, 429, 500, 502, 503, 504)
# What a host fails with, in contrast to what it answers: no more may come of the next address on it.
_FAILURES = frozenset(
    {
        *("timeout", "connection-failed", "connection-broken", "host-not-found", "bucket-refused"),
        *(f"http-{status}" for status in STATUSES_THAT_PASS),
    }
)
_REPOSITORY_KINDS = ("datasets", "spaces")  # models have none before their owner
_ALLOWED_SECONDS = 2.0  # for a picture, and a second for each of so many bytes:
_ALLOWED_BYTES = 50_000


def is_failure_of_host(cause: str) -> bool:
    """Whether a download failed because of its host, so that it may succeed another day."""
    return cause in _FAILURES


@dataclass(eq=False)
class Host:
    """What is still to be asked of one host, and how it behaves.

    Attributes:
        name: with the port where that is not the usual one; of a bucket, with its scheme.
        waiting: URLs that no connection has taken yet.
        connections: how many are used at once.
        failures: downloads that failed in a row.
        serves: whether it has answered the last download.
        lost: seconds by which it has held up the run.
        resumes: when it wants to be asked again, by the monotonic clock.
        given_up: whether it is not asked again.
    """

    name: str
    waiting: deque[str] = field(default_factory=deque)
    connections: int = 1
    failures: int = 0
    serves: bool = False
    lost: float = 0.0
    resumes: float = 0.0
    given_up: bool = False


class Hosts:
    """All hosts of a run; one object is shared by all downloads of the run.

    Args:
        settings: the limits.
        tell: receives a sentence when a host is given up, at once.
        noun: what is downloaded, in the singular.
    """

    def __init__(
        self, settings: SourceSettings, tell: Callable[[str], None] = lambda sentence: None, noun: str = "picture"
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._noun = noun
        self._hosts: dict[str, Host] = {}
        self._connections = 1
        self._lost = 0.0

    def find(self, url: str) -> Host:
        """The host of a URL."""
        name = _name_bucket(url) if is_bucket_url(url) else httpx.URL(url).netloc.decode("ascii")
        return self._hosts.setdefault(name, Host(name))

    def queue(self, urls: Iterable[str], per_host: int) -> list[Host]:
        """Add URLs to what is waiting; the hosts that have any, those with the most first."""
        hosts: dict[Host, None] = {}
        for url in urls:
            host = self.find(url)
            host.waiting.append(url)
            hosts[host] = None
        for host in hosts:
            host.connections = min(per_host, self._settings.concurrency, len(host.waiting))
        self._connections = min(self._settings.concurrency, sum(host.connections for host in hosts))
        return sorted(hosts, key=lambda host: -len(host.waiting))

    def is_given_up(self, host: Host) -> bool:
        """Whether a host is not asked again in this run."""
        return host.given_up or (self._is_spent and not host.serves)

    def lose(self, host: Host, seconds: float) -> None:
        """Count seconds during which one connection to a host brought nothing."""
        was_spent = self._is_spent
        host.lost += seconds / host.connections
        self._lost += seconds / self._connections
        limit = self._settings.max_host_seconds
        if host.lost > limit:
            self._give_up(host, f"it held up the run for {_format_time(limit)}")
        if self._is_spent and not was_spent:
            self._tell(
                f"Hosts that fail or are slow have held up the run for {_format_time(self._settings.max_run_seconds)}: "
                "only hosts that have delivered are still asked"
            )

    def count_picture(self, host: Host, seconds: float, size: int) -> None:
        """Count the seconds that a host took to deliver so many bytes."""
        self.lose(host, max(0.0, seconds - _ALLOWED_SECONDS - size / _ALLOWED_BYTES))

    def count_failure(self, host: Host, cause: str, seconds: float) -> None:
        """Count the seconds after which an attempt failed; an answer such as 404 may take as long as a picture."""
        self.lose(host, seconds if is_failure_of_host(cause) else max(0.0, seconds - _ALLOWED_SECONDS))

    def count_outcome(self, host: Host, cause: str | None) -> None:
        """Count a download with all its attempts; `cause`: why it failed."""
        if cause == GIVEN_UP:
            return
        host.serves = cause is None or not is_failure_of_host(cause)
        host.failures = 0 if host.serves else host.failures + 1
        if host.failures >= self._settings.max_host_failures:
            self._give_up(host, f"{host.failures:,} downloads in a row failed")

    def postpone(self, host: Host, seconds: float) -> None:
        """Leave a host alone for a while, as it asked for; a host that asks for more than its budget is given up."""
        host.resumes = max(host.resumes, time.monotonic() + seconds)
        if seconds > self._settings.max_host_seconds - host.lost:
            self._give_up(host, f"it asked for a pause of {_format_time(seconds)}")

    @property
    def _is_spent(self) -> bool:
        return self._lost > self._settings.max_run_seconds

    def _give_up(self, host: Host, reason: str) -> None:
        if not host.given_up and host.waiting:
            left = f"{len(host.waiting):,} other {self._noun}s" if len(host.waiting) > 1 else f"another {self._noun}"
            self._tell(f"Gave up on {host.name}, since {reason}: {left} will not be asked for in this run")
        host.given_up = True


def _name_bucket(url: str) -> str:
    """The part of a bucket's address that stands for one place: "s3://bucket", or the repository for hf://."""
    scheme, _, place = url.partition("://")
    parts = place.split("/")
    depth = 1 if scheme != "hf" else 3 if parts[0] in _REPOSITORY_KINDS else 2
    return f"{scheme}://{'/'.join(parts[:depth])}"


def _format_time(seconds: float) -> str:
    number, unit = (seconds, "second") if seconds < 120 else (seconds / 60, "minute")
    return f"{number:,.3g} {unit}{'' if number == 1 else 's'}"
