"""Any file of the picture cache may be damaged: a run ends as it would have without, or counts a cause."""

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from catalog.picture_files import encoded, photo
from catalog.picture_server import PictureServer

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.cache import PictureCache
from likewise.catalog.images.outcomes import KnownFile, Remembered
from likewise.catalog.images.picture import PictureError
from likewise.config import ImageSettings
from likewise.progress import quiet

IMAGES = ImageSettings(allow_private_hosts=True, retries=0)
KEY = "ab" * 32


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A catalogue of local pictures, downloads, a failing download and a `data:` URI."""
    folder = tmp_path_factory.mktemp("shop")
    with PictureServer() as server:
        for number in range(3):
            (folder / f"{number}.png").write_bytes(encoded(photo(seed=number)))
        sources = [*(f"{number}.png" for number in range(3)), *(server.url(f"/good/{n}") for n in range(1, 4))]
        sources += [server.url("/absent"), "data:,not%20a%20picture"]
        table = pl.DataFrame({"id": [str(row) for row in range(len(sources))], "title": sources, "image": sources})
        table.write_ndjson(folder / "shop.jsonl")
        yield folder


def look(shop: Path, cache: Path) -> tuple[list[str | None], Counter[str]]:
    """What each item's picture looks like, or None; and the causes that the report counts."""
    with quiet():
        catalog = Catalog.read(shop / "shop.jsonl", images=IMAGES, cache=cache)
        seen: list[str | None] = []
        causes: Counter[str] = Counter()
        for shown in catalog.pictures:
            try:
                seen.append(catalog.open_picture(shown[0], 16).tobytes().hex() if shown else None)
                if shown:
                    catalog.make_thumbnail(shown[0])
            except PictureError as error:
                causes[error.cause] += 1
                seen.append(None)
    causes.update({problem.cause: problem.count for problem in catalog.report.problems.values()})
    return seen, causes


def damaged(data: bytes) -> Iterator[tuple[str, bytes | None]]:
    """Ways to damage a file; None: it is gone."""
    for at in {0, min(9, len(data) - 1), 18, len(data) // 2, len(data) - 1} if data else ():
        if at < len(data):
            yield f"byte {at} flipped", data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]
    yield "one byte off", data[:-1]
    yield "half", data[: len(data) // 2]
    yield "blank", b""
    yield "gone", None


def files_of(cache: Path) -> list[Path]:
    return sorted(path.relative_to(cache) for path in cache.rglob("*") if path.is_file())


def test_a_run_over_a_damaged_cache_is_like_one_before(shop: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    expected, counted = look(shop, whole)
    assert sum(picture is not None for picture in expected) == 6
    assert counted["http-404"] == 1
    tried = 0
    for file in files_of(whole):
        for what, data in damaged((whole / file).read_bytes()):
            cache = tmp_path / "cache"
            shutil.copytree(whole, cache)
            if data is None:
                (cache / file).unlink()
            else:
                (cache / file).write_bytes(data)
            seen, causes = look(shop, cache)
            lost = [row for row, (now, before) in enumerate(zip(seen, expected, strict=True)) if now != before]
            assert len(lost) == causes["damaged-copy"] + causes["changed"], (file, what)
            assert all(seen[row] is None for row in lost), (file, what)
            assert look(shop, cache)[0] == expected, (file, what)
            shutil.rmtree(cache)
            tried += 1
    assert tried > 80


def test_logs_of_a_killed_process_may_be_damaged(tmp_path: Path) -> None:
    living = tmp_path / "living"
    with PictureCache(living) as cache:
        for number in range(200):
            cache.remember(f"http://a/{number}", Remembered(cause=f"http-{number}", limits="x" * 100))
        shutil.copytree(living, tmp_path / "killed")  # while it is open, the log is there
    logs = [path for path in files_of(tmp_path / "killed") if path.name.endswith(("-wal", "-shm"))]
    assert len(logs) == 2
    for file in logs:
        for what, data in damaged((tmp_path / "killed" / file).read_bytes()):
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "killed", copy)
            (copy / file).unlink() if data is None else (copy / file).write_bytes(data)
            with PictureCache(copy) as cache:
                for number in range(200):
                    known = cache.recall(f"http://a/{number}")
                    assert known is None or known.cause == f"http-{number}", (file, what)
                cache.remember("http://b/", Remembered(cause="http-404"))
                assert cache.recall("http://b/") == Remembered(cause="http-404")
            shutil.rmtree(copy)


@pytest.mark.parametrize("page", range(1, 8))
def test_a_page_that_is_damaged_while_processes_share_the_cache(page: int, tmp_path: Path) -> None:
    with PictureCache(tmp_path) as cache:
        for number in range(300):
            cache.remember(f"http://a/{number}", Remembered(cause=f"http-{number}", limits="x" * 50))
    with PictureCache(tmp_path) as first, PictureCache(tmp_path) as second:
        with (tmp_path / "index-2.sqlite").open("r+b") as file:
            file.seek(4096 * page)
            file.write(b"\xff" * 4096)
        for number in range(300):
            for cache in (first, second):
                known = cache.recall(f"http://a/{number}")
                assert known is None or known.cause == f"http-{number}"
        for cache in (first, second):
            cache.remember_files([KnownFile("/a.jpg", 1, 2, KEY, 3)])
            cache.remember("http://b/", Remembered(cause="http-404"))
    with PictureCache(tmp_path) as cache:
        assert cache.recall("http://b/") == Remembered(cause="http-404")
        assert cache.recall_file("/a.jpg", 1, 2) == KnownFile("/a.jpg", 1, 2, KEY, 3)


def test_a_row_whose_values_were_damaged_is_not_believed(tmp_path: Path) -> None:
    with PictureCache(tmp_path) as cache:
        key = cache.keep(b"bytes")
        cache.remember("http://a/", Remembered(key, 5, 1, private=True))
        cache.remember_files([KnownFile("/a.jpg", 1, 2, KEY, 3)])
    other = cache.keep(b"other")
    damages = ("private = 0", f"key = '{other}'", "pixels = 2", "cause = 'broken'", "limits = 'x'", "size = 'text'")
    for damage in (*(f"UPDATE urls SET {one}" for one in damages), "UPDATE urls SET url = 'http://b/'"):
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("copy"))
        with sqlite3.connect(copy / "index-2.sqlite") as index:
            index.execute(damage)
        index.close()
        with PictureCache(copy) as cache:
            assert cache.recall("http://a/") is None, damage
            assert cache.recall("http://b/") is None, damage
        shutil.rmtree(copy)
    with sqlite3.connect(tmp_path / "index-2.sqlite") as index:
        index.execute(f"UPDATE files SET key = '{'cd' * 32}'")
    index.close()
    with PictureCache(tmp_path) as cache:
        assert cache.recall("http://a/") == Remembered(key, 5, 1, private=True)
        assert cache.recall_file("/a.jpg", 1, 2) is None


def test_a_full_disk_or_a_lock_is_no_damage(tmp_path: Path) -> None:
    with PictureCache(tmp_path) as cache:
        cache._outcomes._get_connection().execute("PRAGMA busy_timeout = 1")
        holder = sqlite3.connect(tmp_path / "index-2.sqlite", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Exception, match=r"cannot write .*: database is locked"):
            cache.remember("http://a/", Remembered(cause="http-404"))
        holder.execute("ROLLBACK")
        holder.close()
        cache._outcomes._get_connection().execute("PRAGMA max_page_count = 1")
        with pytest.raises(Exception, match=r"cannot write .*: No space left on device; free some space"):
            for number in range(1000):
                cache.remember(f"http://a/{number}", Remembered(cause="http-404", limits="x" * 500))
    assert [path.name for path in tmp_path.glob("index*")] == ["index-2.sqlite"]


def test_a_local_file_that_changed_unnoticed_is_counted_and_read_again(tmp_path: Path) -> None:

    path = tmp_path / "a.bmp"
    path.write_bytes(encoded(photo(seed=1), "BMP"))
    (tmp_path / "shop.csv").write_text("id,title,image\n1,tea,a.bmp\n")
    before = path.stat()
    catalog = Catalog.read(tmp_path / "shop.csv", cache=tmp_path / "cache")
    (first,) = catalog.pictures[0]
    path.write_bytes(encoded(photo(seed=2), "BMP"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    with pytest.raises(PictureError) as error:
        catalog.open_picture(first)
    assert error.value.cause == "changed"
    with pytest.raises(PictureError):
        catalog.make_thumbnail(first)
    again = Catalog.read(tmp_path / "shop.csv", cache=tmp_path / "cache")
    (second,) = again.pictures[0]
    assert second.key != first.key
    assert again.open_picture(second).size == (64, 48)
