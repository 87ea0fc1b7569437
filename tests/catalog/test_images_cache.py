"""The picture cache: what it names is there and whole, whatever happened before."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from likewise.catalog.images.cache import PictureCache
from likewise.catalog.images.outcomes import KnownFile, Remembered
from likewise.errors import UserError

MINE = multiprocessing.get_context("spawn")


def test_bytes_are_kept_by_content_and_found_again(tmp_path):
    with PictureCache(tmp_path) as cache:
        key = cache.keep(b"a picture")
        assert cache.path(key).read_bytes() == b"a picture"
        before = cache.path(key).stat().st_mtime_ns
        assert cache.keep(b"a picture") == key
        assert cache.path(key).stat().st_mtime_ns == before
        assert list((tmp_path / "tmp").iterdir()) == []


def test_outcomes_are_remembered_across_openings(tmp_path):
    failure = Remembered(cause="http-404", limits="some")
    with PictureCache(tmp_path) as cache:
        picture = Remembered(cache.keep(b"bytes"), 5, 12, private=True)
        cache.remember("http://a/", picture)
        cache.remember("http://b/", failure)
        cache.remember_files([KnownFile("/a.jpg", 10, 123, "ab" * 32, 7)])
    with PictureCache(tmp_path) as cache:
        assert cache.recall("http://a/") == picture
        assert cache.recall("http://b/") == failure
        assert cache.recall("http://c/") is None
        assert cache.recall_file("/a.jpg", 10, 123) == KnownFile("/a.jpg", 10, 123, "ab" * 32, 7)
        assert cache.recall_file("/a.jpg", 10, 124) is None
        assert cache.recall_file("/a.jpg", 11, 123) is None


def test_an_object_that_is_gone_or_short_is_not_recalled(tmp_path):
    with PictureCache(tmp_path) as cache:
        key = cache.keep(b"bytes")
        cache.remember("http://a/", Remembered(key, 5, 1))
        cache.path(key).write_bytes(b"by")
        assert cache.recall("http://a/") is None
        cache.keep(b"bytes")
        assert cache.recall("http://a/") is not None
        cache.path(key).unlink()
        assert cache.recall("http://a/") is None


def test_files_left_by_a_killed_process_are_ignored_and_swept_when_old(tmp_path):
    with PictureCache(tmp_path):
        pass
    fresh, old = tmp_path / "tmp/fresh", tmp_path / "tmp/old"
    for path in (fresh, old):
        path.write_bytes(b"half a pict")
    os.utime(old, (time.time() - 200_000,) * 2)
    with PictureCache(tmp_path) as cache:
        assert not cache.path(cache.keep(b"half a picture")).is_relative_to(tmp_path / "tmp")
    assert fresh.exists()  # another process may be writing it
    assert not old.exists()


def test_a_damaged_index_is_replaced(tmp_path):
    with PictureCache(tmp_path) as cache:
        key = cache.keep(b"bytes")
    (tmp_path / "index-2.sqlite").write_bytes(b"this is no database" * 1000)
    with PictureCache(tmp_path) as cache:
        assert cache.recall("http://a/") is None
        cache.remember("http://a/", Remembered(key, 5, 1))
        assert cache.recall("http://a/") is not None


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write .*cache.objects: Not a directory; use a folder"):
        PictureCache(tmp_path / "file" / "cache")


def test_many_may_open_a_new_folder_at_the_same_moment(tmp_path):
    together = threading.Barrier(8)

    def open_it(folder):
        together.wait(30)
        with PictureCache(folder) as cache:
            cache.remember("http://a/", Remembered(cause="http-404"))

    with ThreadPoolExecutor(8) as pool:
        for attempt in range(25):
            list(pool.map(open_it, [tmp_path / str(attempt)] * 8))


def _fill(folder, start, ready):
    with PictureCache(folder) as cache:
        ready.set()
        for number in range(start, start + 100_000):
            data = f"picture {number}".encode() * 500
            cache.remember(f"http://a/{number}", Remembered(cache.keep(data), len(data), number + 1))


def test_two_processes_write_at_once_and_are_killed(tmp_path):
    ready = [MINE.Event(), MINE.Event()]
    writers = [MINE.Process(target=_fill, args=(tmp_path, 50 * at, event)) for at, event in enumerate(ready)]
    for writer in writers:
        writer.start()
    assert all(event.wait(30) for event in ready)
    patience = time.monotonic() + 20
    while len(list(tmp_path.glob("objects/*/*"))) < 300 and time.monotonic() < patience:
        time.sleep(0.05)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    with PictureCache(tmp_path) as cache:
        found = 0
        for number in range(200_000):
            known = cache.recall(f"http://a/{number}") if found or number <= 50 else None
            if known is None and number > 50:
                break
            if known is not None:
                found += 1
                assert cache.path(known.key).read_bytes() == f"picture {number}".encode() * 500
        assert found > 50
        cache.remember("http://b/", Remembered(cause="http-404"))
        assert cache.recall("http://b/").cause == "http-404"
