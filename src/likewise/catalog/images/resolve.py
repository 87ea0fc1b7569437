"""Resolution of picture sources to verified local files."""

import contextlib
import hashlib
import io
import os
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from likewise.catalog.images.cache import PictureCache
from likewise.catalog.images.decode import (
    MAX_PIXELS,
    check_file_size,
    check_picture,
    open_picture,
    open_regular_file,
    translate_errors,
)
from likewise.catalog.images.download import download
from likewise.catalog.images.embedded import EmbeddedPictures
from likewise.catalog.images.hosts import GIVEN_UP, Hosts, is_failure_of_host
from likewise.catalog.images.outcomes import KnownFile, Remembered
from likewise.catalog.images.picture import Picture, PictureError
from likewise.catalog.images.sources import BucketObject, InlinePicture, LocalFile, WebAddress, parse_source
from likewise.catalog.report import Report
from likewise.config import ImageSettings
from likewise.progress import Bar, say

_READERS = 4
_NAMED_HOSTS = 5
_FILES_A_TRANSACTION = 1000
# A failure that says something about our limits holds only as long as they stay the same.
_CAUSES_OF_LIMITS = ("address-refused", "too-large", "too-many-pixels", "timeout")
# Nothing was asked for, or other credentials may do, so there is nothing to spare by not trying again.
_FORGOTTEN = ("host-not-found", "bucket-refused")


def resolve_pictures(
    sources: Sequence[Sequence[str]],
    *,
    base: Path | str,
    settings: ImageSettings,
    cache: Path,
    report: Report,
    names: Sequence[str] | None = None,
    embedded: EmbeddedPictures | None = None,
) -> list[tuple[Picture, ...]]:
    """Find, and download if necessary, the first usable pictures of every row.

    Pictures are checked by their header and their end; only those with an odd end are decoded. A row's later sources
    are looked at only where earlier ones fail, so nothing is downloaded in vain.

    Args:
        sources: the image sources of every row; blank ones are passed over.
        base: the folder that relative paths start from, or its address in a bucket.
        settings: where pictures may come from, how much they may cost, and how many a row may have.
        cache: the folder that downloads and what is known of local files are kept in.
        report: every failing source of a row is counted here by its cause.
        names: ids of the rows, for the report's examples; the sources themselves stand there without.
        embedded: pictures whose bytes came with the rows; None: there are none.

    Returns:
        For every row, in order, at most `settings.per_item` different pictures.

    Raises:
        UserError: the cache cannot be written. A picture never raises.
    """
    rows = [[source for source in row if source and source.strip()] for row in sources]
    chosen: list[dict[str, Picture]] = [{} for _ in rows]
    position = [0] * len(rows)
    with PictureCache(cache / "pictures") as store:
        finder = _Finder(base, settings, store, embedded or EmbeddedPictures())
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
                    if isinstance(found, Picture):
                        chosen[row].setdefault(found.key, found)
                    else:
                        report.count(found, names[row] if names else _shorten(source))
        finder.remember_failures()
    if finder.given_up:
        report.note(_describe_given_up(finder.given_up))
    if finder.passed_over:
        report.note(
            f"{finder.passed_over} pictures that could not be downloaded in an earlier run were not tried again; "
            "--retry-failed tries them"
        )
    return [tuple(pictures.values()) for pictures in chosen]


def open_unchanged(
    picture: Picture, cache: Path, minimum_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode a picture after verifying its bytes against its key; see `open_picture`.

    Where they are not, what the cache knows of the file is forgotten, so that the next run looks at it, or downloads
    it, anew.

    Raises:
        PictureError: "changed" for a local file, "damaged-copy" for one of the cache, or another cause.
    """
    try:
        return open_picture(picture.path, minimum_side, max_pixels, picture.key)
    except PictureError as error:
        if error.cause != "changed":
            raise
    with PictureCache(cache / "pictures") as store:
        if picture.path == store.path(picture.key):
            picture.path.unlink(missing_ok=True)
            raise PictureError("damaged-copy")
        store.forget_file(str(picture.path))
        raise PictureError("changed")


class _Finder:
    """Lookup of sources, each only once."""

    def __init__(
        self, base: Path | str, settings: ImageSettings, store: PictureCache, embedded: EmbeddedPictures
    ) -> None:
        self.found: dict[str, Picture | str] = {}  # source → the picture, or the cause why there is none
        self.passed_over = 0
        self.given_up: Counter[str] = Counter()  # host → pictures that it was not asked for
        self._hosts = Hosts(settings, say)
        self._failed: dict[str, Remembered] = {}  # URL → a failure of its host, remembered unless that is given up
        self._checking = threading.Semaphore(_READERS)  # a check may decode, which takes memory
        self._base = base
        self._embedded = embedded
        self._settings = settings
        self._store = store
        self._limits = f"{settings.allow_private_hosts} {settings.max_bytes} {settings.max_pixels} {settings.timeout}"

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
                    self.found[source] = Picture(key, self._store.path(key))
            except PictureError as error:
                self.found[source] = error.cause
        self._find_files(files)
        self._find_embedded(inside)
        self._find_urls(urls)

    def _find_embedded(self, sources: list[str]) -> None:
        def keep(source: str) -> Picture | str:
            try:
                key, _ = self._check_and_keep(self._embedded.read(source))
            except PictureError as error:
                return error.cause
            return Picture(key, self._store.path(key))

        if not sources:
            return
        with Bar("Reading pictures", len(sources)) as bar, ThreadPoolExecutor(_READERS) as readers:
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
                self.found[source] = Picture(known.key, path)
        if not unknown:
            return
        fresh: list[KnownFile] = []
        with Bar("Checking pictures", len(unknown)) as bar, ThreadPoolExecutor(_READERS) as readers:
            for source, result in zip(unknown, readers.map(self._read_file, unknown.values()), strict=True):
                bar.advance()
                if isinstance(result, str):
                    self.found[source] = result
                    continue
                self.found[source] = Picture(result.key, unknown[source])
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
        return None if known is None or known.pixels > self._settings.max_pixels else known

    def _read_file(self, path: Path) -> KnownFile | str:
        try:
            with open_regular_file(path, self._settings.root) as file, translate_errors():
                status = check_file_size(file, self._settings.max_pixels)
                pixels = check_picture(file, self._settings.max_pixels)
                file.seek(0)
                key = hashlib.file_digest(file, "sha256").hexdigest()
        except PictureError as error:
            return error.cause
        return KnownFile(str(path), status.st_size, _last_change(status), key, pixels)

    def _find_urls(self, urls: dict[str, str]) -> None:
        outcomes: dict[str, Picture | str] = {}
        for url in dict.fromkeys(urls.values()):
            known = self._recall_url(url)
            if known is not None:
                outcomes[url] = known
        unknown = [url for url in dict.fromkeys(urls.values()) if url not in outcomes]
        if unknown:
            results = download(unknown, self._settings, self._check_and_keep, hosts=self._hosts)
            with Bar("Downloading pictures", len(unknown)) as bar, contextlib.closing(results):
                for result in results:
                    bar.advance()
                    outcomes[result.url] = self._build_outcome(result.key, result.cause)
                    known_now = Remembered(
                        result.key, result.size, result.pixels, result.private, result.cause, self._limits
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
        """Record what failed because of its host, unless that was given up: then it says nothing of the picture."""
        for url, known in self._failed.items():
            if known.cause not in _FORGOTTEN and not self._hosts.is_given_up(self._hosts.find(url)):
                self._store.remember(url, known)

    def _recall_url(self, url: str) -> Picture | str | None:
        """The outcome of an earlier run, if it is valid under the current settings; None: the URL must be requested."""
        known = self._store.recall(url)
        if known is None:
            return None
        if known.private and not self._settings.allow_private_hosts:
            return "address-refused"
        if known.pixels > self._settings.max_pixels:
            return "too-many-pixels"
        if known.cause is not None:
            outdated = known.cause in _CAUSES_OF_LIMITS and known.limits != self._limits
            if self._settings.retry_failed or outdated:
                return None
            self.passed_over += 1
        return self._build_outcome(known.key, known.cause)

    def _build_outcome(self, key: str | None, cause: str | None) -> Picture | str:
        return cause or "broken" if key is None else Picture(key, self._store.path(key))

    def _check_and_keep(self, data: bytes) -> tuple[str, int]:
        with self._checking:
            pixels = check_picture(io.BytesIO(data), self._settings.max_pixels)
        return self._store.keep(data), pixels


def _describe_given_up(hosts: Counter[str]) -> str:
    """A sentence on the hosts that were given up, and how many pictures they were not asked for."""
    named = ", ".join(name for name, _ in hosts.most_common(_NAMED_HOSTS))
    more = f" and {len(hosts) - _NAMED_HOSTS:,} other hosts" if len(hosts) > _NAMED_HOSTS else ""
    return (
        f"gave up on {named}{more} after too many failures or too much lost time: {hosts.total():,} pictures were not "
        "asked for; the next run asks for them"
    )


def _last_change(status: os.stat_result) -> int:
    """When a file was last changed, in nanoseconds; a copy that keeps the time of its original has a later one."""
    return max(status.st_mtime_ns, status.st_ctime_ns)


def _shorten(source: str) -> str:
    return source if len(source) <= 80 else f"{source[:77]}…"
