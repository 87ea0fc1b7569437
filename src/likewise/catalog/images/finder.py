"""Lookup of the files that cells name: local ones, downloads and `data:` URIs, each checked, each only once."""

import contextlib
import hashlib
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from likewise.catalog.images.cache import PictureCache
from likewise.catalog.images.decode import open_regular_file
from likewise.catalog.images.download import download
from likewise.catalog.images.embedded import EmbeddedPictures
from likewise.catalog.images.hosts import GIVEN_UP, Hosts, is_failure_of_host
from likewise.catalog.images.outcomes import KnownFile, Remembered
from likewise.catalog.images.picture import FoundFile, PictureError, SourceError
from likewise.catalog.images.sources import BucketObject, InlinePicture, LocalFile, WebAddress, parse_source
from likewise.catalog.report import Report
from likewise.config import SourceSettings
from likewise.progress import Bar, say

_READERS = 4
_NAMED_HOSTS = 5
_FILES_A_TRANSACTION = 1000
# A failure that says something about our limits holds only as long as they stay the same.
_CAUSES_OF_LIMITS = ("address-refused", "too-large", "timeout")
# Nothing was asked for, or other credentials may do, so there is nothing to spare by not trying again.
_FORGOTTEN = ("host-not-found", "bucket-refused")


Found = TypeVar("Found", bound=FoundFile)


@dataclass(frozen=True)
class Medium(Generic[Found]):
    """What kind of file is looked for.

    Attributes:
        noun: in the singular, for progress bars and sentences.
        folder: of the cache, for downloads and what is known of local files.
        accept: the media types that servers are asked for.
        build: makes what is found of a key and a path.
        check: sees by its content whether an open file is usable, and measures it (pixels, or milliseconds).
        check_size: refuses a local file that is empty or too large, before anything is read; its size and times.
        translate_errors: a context in which whatever a reader raises becomes a `SourceError`.
        most: of what `check` measures.
        exceeds: the cause of a file that measures more.
        causes_of_limits: causes that hold only as long as the limits stay the same.
        limits: the limits that decide what is usable.
        report_prefix: before every cause that is counted.
    """

    noun: str
    folder: str
    accept: str
    build: Callable[[str, Path], Found]
    check: Callable[[BinaryIO], int]
    check_size: Callable[[BinaryIO], os.stat_result]
    translate_errors: Callable[[], AbstractContextManager[None]]
    most: int
    exceeds: str
    causes_of_limits: tuple[str, ...]
    limits: str
    report_prefix: str = ""


def find_usable(
    sources: Sequence[Sequence[str]],
    medium: Medium[Found],
    *,
    base: Path | str,
    settings: SourceSettings,
    cache: Path,
    report: Report,
    names: Sequence[str] | None = None,
    embedded: EmbeddedPictures | None = None,
) -> list[tuple[Found, ...]]:
    """Find, and download if necessary, the first usable files of every row.

    A row's later sources are looked at only where earlier ones fail, so nothing is downloaded in vain.

    Args:
        sources: of every row; blank ones are passed over.
        medium: what kind of file they name.
        base: the folder that relative paths start from, or its address in a bucket.
        settings: where files may come from, how much they may cost, and how many a row may have.
        cache: the folder that downloads and what is known of local files are kept in.
        report: every failing source of a row is counted here by its cause.
        names: ids of the rows, for the report's examples; the sources themselves stand there without.
        embedded: files whose bytes came with the rows; None: there are none.

    Returns:
        For every row, in order, at most `settings.per_item` different files.

    Raises:
        UserError: the cache cannot be written. A file never raises.
    """
    rows = [[source for source in row if source and source.strip()] for row in sources]
    chosen: list[dict[str, Found]] = [{} for _ in rows]
    position = [0] * len(rows)
    with PictureCache(cache / medium.folder) as store:
        finder = _Finder(medium, base, settings, store, embedded or EmbeddedPictures())
        while wanting := [row for row in range(len(rows)) if position[row] < len(rows[row])]:
            tried = {}
            for row in wanting:
                missing = settings.per_item - len(chosen[row])
                tried[row] = rows[row][position[row] : position[row] + missing]
                position[row] += len(tried[row]) if missing else len(rows[row])
            finder.find(source for candidates in tried.values() for source in candidates)
            for row, candidates in tried.items():
                for source in candidates:
                    found = finder.found[source]
                    if isinstance(found, str):
                        report.count(medium.report_prefix + found, names[row] if names else _shorten(source))
                    else:
                        chosen[row].setdefault(found.key, found)
        finder.remember_failures()
    if finder.given_up:
        report.note(_describe_given_up(finder.given_up, medium.noun))
    if finder.passed_over:
        report.note(
            f"{finder.passed_over} {medium.noun}s that could not be downloaded in an earlier run were not tried again; "
            "--retry-failed tries them"
        )
    return [tuple(files.values()) for files in chosen]


def forget_changed(found: FoundFile, folder: Path) -> str:
    """Forget a file whose bytes are not those of its key, so that the next run looks at it, or downloads it, anew.

    Args:
        folder: of the medium, in the cache.

    Returns:
        The cause: "changed" for a local file, "damaged-copy" for one of the cache.
    """
    with PictureCache(folder) as store:
        if found.path == store.path(found.key):
            found.path.unlink(missing_ok=True)
            return "damaged-copy"
        store.forget_file(str(found.path))
        return "changed"


class _Finder(Generic[Found]):
    """Lookup of sources, each only once."""

    def __init__(
        self,
        medium: Medium[Found],
        base: Path | str,
        settings: SourceSettings,
        store: PictureCache,
        embedded: EmbeddedPictures,
    ) -> None:
        self.found: dict[str, Found | str] = {}  # source → the file, or the cause why there is none
        self.passed_over = 0
        self.given_up: Counter[str] = Counter()  # host → files that it was not asked for
        self._hosts = Hosts(settings, say, medium.noun)
        self._failed: dict[str, Remembered] = {}  # URL → a failure of its host, remembered unless that is given up
        self._checking = threading.Semaphore(_READERS)  # a check may decode, which takes memory
        self._medium = medium
        self._base = base
        self._embedded = embedded
        self._settings = settings
        self._store = store
        self._limits = f"{settings.allow_private_hosts} {settings.max_bytes} {medium.limits} {settings.timeout}"

    def find(self, sources: Iterable[str]) -> None:
        """Fill `found` for these sources."""
        files: dict[str, Path] = {}
        urls: dict[str, str] = {}
        inside: list[str] = []
        for source in dict.fromkeys(sources):
            if source in self.found:
                continue
            if source in self._embedded:
                inside.append(source)
                continue
            try:
                parsed = parse_source(
                    source, base=self._base, root=self._settings.root, max_bytes=self._settings.max_bytes
                )
                if isinstance(parsed, LocalFile):
                    files[source] = parsed.path
                elif isinstance(parsed, WebAddress | BucketObject):
                    if isinstance(parsed, BucketObject) and not self._settings.allow_buckets:
                        raise PictureError("bucket-not-allowed")
                    urls[source] = parsed.url
                elif isinstance(parsed, InlinePicture):
                    key, _ = self._check_and_keep(parsed.data)
                    self.found[source] = self._medium.build(key, self._store.path(key))
            except SourceError as error:
                self.found[source] = error.cause
        self._find_files(files)
        self._find_embedded(inside)
        self._find_urls(urls)

    def _find_embedded(self, sources: list[str]) -> None:
        def keep(source: str) -> Found | str:
            try:
                key, _ = self._check_and_keep(self._embedded.read(source))
            except SourceError as error:
                return error.cause
            return self._medium.build(key, self._store.path(key))

        if not sources:
            return
        with Bar(f"Reading {self._medium.noun}s", len(sources)) as bar, ThreadPoolExecutor(_READERS) as readers:
            for source, found in zip(sources, readers.map(keep, sources), strict=True):
                bar.advance()
                self.found[source] = found

    def _find_files(self, files: dict[str, Path]) -> None:
        unknown: dict[str, Path] = {}
        for source, path in files.items():
            known = self._recall_file(path)
            if known is None:
                unknown[source] = path
            else:
                self.found[source] = self._medium.build(known.key, path)
        if not unknown:
            return
        fresh: list[KnownFile] = []
        with Bar(f"Checking {self._medium.noun}s", len(unknown)) as bar, ThreadPoolExecutor(_READERS) as readers:
            for source, result in zip(unknown, readers.map(self._read_file, unknown.values()), strict=True):
                bar.advance()
                if isinstance(result, str):
                    self.found[source] = result
                    continue
                self.found[source] = self._medium.build(result.key, unknown[source])
                fresh.append(result)
                if len(fresh) == _FILES_A_TRANSACTION:
                    self._store.remember_files(fresh)
                    fresh = []
        self._store.remember_files(fresh)

    def _recall_file(self, path: Path) -> KnownFile | None:
        try:
            status = path.stat()
        except (OSError, ValueError):
            return None
        known = self._store.recall_file(str(path), status.st_size, _last_change(status))
        return None if known is None or known.measure > self._medium.most else known

    def _read_file(self, path: Path) -> KnownFile | str:
        try:
            with open_regular_file(path, self._settings.root) as file, self._medium.translate_errors():
                status = self._medium.check_size(file)
                measured = self._medium.check(file)
                file.seek(0)
                key = hashlib.file_digest(file, "sha256").hexdigest()
        except SourceError as error:
            return error.cause
        return KnownFile(str(path), status.st_size, _last_change(status), key, measured)

    def _find_urls(self, urls: dict[str, str]) -> None:
        outcomes: dict[str, Found | str] = {}
        for url in dict.fromkeys(urls.values()):
            known = self._recall_url(url)
            if known is not None:
                outcomes[url] = known
        unknown = [url for url in dict.fromkeys(urls.values()) if url not in outcomes]
        if unknown:
            results = download(
                unknown, self._settings, self._check_and_keep, hosts=self._hosts, accept=self._medium.accept
            )
            with Bar(f"Downloading {self._medium.noun}s", len(unknown)) as bar, contextlib.closing(results):
                for result in results:
                    bar.advance()
                    outcomes[result.url] = self._build_outcome(result.key, result.cause)
                    known_now = Remembered(
                        result.key, result.size, result.measure, result.private, result.cause, self._limits
                    )
                    if result.cause == GIVEN_UP:
                        self.given_up[self._hosts.find(result.url).name] += 1
                    elif result.cause is not None and is_failure_of_host(result.cause):
                        self._failed[result.url] = known_now
                    else:
                        self._store.remember(result.url, known_now)
        for source, url in urls.items():
            self.found[source] = outcomes[url]

    def remember_failures(self) -> None:
        """Record what failed because of its host, unless that was given up: then it says nothing of the file."""
        for url, known in self._failed.items():
            if known.cause not in _FORGOTTEN and not self._hosts.is_given_up(self._hosts.find(url)):
                self._store.remember(url, known)

    def _recall_url(self, url: str) -> Found | str | None:
        """The outcome of an earlier run, if it is valid under the current settings; None: the URL must be requested."""
        known = self._store.recall(url)
        if known is None:
            return None
        if known.private and not self._settings.allow_private_hosts:
            return "address-refused"
        if known.measure > self._medium.most:
            return self._medium.exceeds
        if known.cause is not None:
            by_limits = (*_CAUSES_OF_LIMITS, *self._medium.causes_of_limits)
            if self._settings.retry_failed or (known.cause in by_limits and known.limits != self._limits):
                return None
            self.passed_over += 1
        return self._build_outcome(known.key, known.cause)

    def _build_outcome(self, key: str | None, cause: str | None) -> Found | str:
        return cause or "broken" if key is None else self._medium.build(key, self._store.path(key))

    def _check_and_keep(self, data: bytes) -> tuple[str, int]:
        with self._checking:
            measured = self._medium.check(io.BytesIO(data))
        return self._store.keep(data), measured


def _describe_given_up(hosts: Counter[str], noun: str) -> str:
    """A sentence on the hosts that were given up, and how many files they were not asked for."""
    named = ", ".join(name for name, _ in hosts.most_common(_NAMED_HOSTS))
    more = f" and {len(hosts) - _NAMED_HOSTS:,} other hosts" if len(hosts) > _NAMED_HOSTS else ""
    return (
        f"gave up on {named}{more} after too many failures or too much lost time: {hosts.total():,} {noun}s were not "
        "asked for; the next run asks for them"
    )


def _last_change(status: os.stat_result) -> int:
    """When a file was last changed, in nanoseconds; a copy that keeps the time of its original has a later one."""
    return max(status.st_mtime_ns, status.st_ctime_ns)


def _shorten(source: str) -> str:
    return source if len(source) <= 80 else f"{source[:77]}…"
