"""Features on disk: found again, never torn, shared by processes."""

import errno
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.encoders import feature_cache
from likewise.encoders.feature_cache import FeatureCache
from likewise.errors import UserError

SHAPE = (3, 5)


def encoder(fingerprint="a" * 64, shape=SHAPE):
    return SimpleNamespace(fingerprint=lambda: fingerprint, feature_shape=shape, name="tiny")


def rows(*numbers):
    return np.stack([np.full(SHAPE, number, dtype=np.float32) for number in numbers])


def key(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_rows_come_back_in_the_order_asked_for(tmp_path):
    cache = FeatureCache(tmp_path, encoder())
    assert cache.missing(["a", "b", "a"]) == ["a", "b"]
    cache.add(["a", "b"], rows(1, 2))
    cache.add(["c"], rows(3))
    got = cache.gather(["c", "a", "c"])
    assert got.dtype == np.float16 and got.flags["C_CONTIGUOUS"] and got.flags["WRITEABLE"]
    assert np.array_equal(got, rows(3, 1, 3))
    assert np.array_equal(cache.gather(cache.slots(["b"])), rows(2))
    assert cache.missing(["a", "d"]) == ["d"] and len(cache) == 3
    assert cache.gather([]).shape == (0, *SHAPE)


def test_a_key_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(KeyError):
        FeatureCache(tmp_path, encoder()).slots(["a"])


def test_opened_again_it_is_all_there(tmp_path):
    FeatureCache(tmp_path, encoder()).add([key(1), "plain words"], rows(1, 2))
    again = FeatureCache(tmp_path, encoder())
    assert not again.missing([key(1), "plain words"])
    assert np.array_equal(again.gather(["plain words", key(1)]), rows(2, 1))


def test_encoders_and_variants_do_not_mix(tmp_path):
    FeatureCache(tmp_path, encoder()).add(["a"], rows(1))
    assert FeatureCache(tmp_path, encoder("b" * 64)).missing(["a"])
    assert FeatureCache(tmp_path, encoder(), "mirror").missing(["a"])


def test_the_first_features_of_a_key_stay(tmp_path):
    cache = FeatureCache(tmp_path, encoder())
    cache.add(["a"], rows(1))
    cache.add(["a", "b"], rows(8, 2))
    assert np.array_equal(cache.gather(["a", "b"]), rows(1, 2))


def test_its_size_is_known_before_it_is_written(tmp_path):
    cache = FeatureCache(tmp_path, encoder())
    expected = cache.bytes_needed(7)
    cache.add([key(number) for number in range(7)], rows(*range(7)))
    assert sum(path.stat().st_size for path in cache.folder.iterdir() if path.name != "lock") == expected


@settings(max_examples=25, deadline=None)
@given(features=st.integers(0, 200), keys=st.integers(0, 70))
def test_whatever_a_killed_writer_leaves_is_overwritten(tmp_path_factory, features, keys):
    """Rows reach the disk before their keys, and any part of either may be missing."""
    folder = tmp_path_factory.mktemp("cache")
    cache = FeatureCache(folder, encoder())
    cache.add([key(0)], rows(0))
    with (cache.folder / "features.f16").open("ab") as file:
        file.write(b"\xff" * features)
    with (cache.folder / "keys").open("ab") as file:
        file.write(b"\xff" * min(keys, features // cache.row_bytes * 40 + 39))
    again = FeatureCache(folder, encoder())
    again.add([key(1), key(2)], rows(1, 2))
    for opened in (again, FeatureCache(folder, encoder())):
        assert np.array_equal(opened.gather([key(2), key(0), key(1)]), rows(2, 0, 1))


def test_lost_rows_are_computed_again(tmp_path):
    cache = FeatureCache(tmp_path, encoder())
    cache.add([key(0), key(1)], rows(0, 1))
    os.truncate(cache.folder / "features.f16", cache.row_bytes + 3)
    again = FeatureCache(tmp_path, encoder())
    assert again.missing([key(0), key(1)]) == [key(1)]
    again.add([key(2)], rows(2))
    assert np.array_equal(FeatureCache(tmp_path, encoder()).gather([key(2), key(0)]), rows(2, 0))


def test_a_damaged_row_is_computed_again_and_never_read(tmp_path):
    FeatureCache(tmp_path, encoder()).add([key(0), key(1), key(2)], rows(0, 1, 2))
    cache = FeatureCache(tmp_path, encoder())
    content = bytearray((cache.folder / "features.f16").read_bytes())
    content[cache.row_bytes : cache.row_bytes + 2] = b"\xff\xff"  # a NaN
    (cache.folder / "features.f16").write_bytes(content)
    again = FeatureCache(tmp_path, encoder())
    assert again.missing([key(0), key(1), key(2)]) == [key(1)]
    with pytest.raises(KeyError):
        again.slots([key(1)])
    again.add([key(1)], rows(1))
    for opened in (again, FeatureCache(tmp_path, encoder())):
        assert opened.missing([key(0), key(1), key(2)]) == []
        assert np.array_equal(opened.gather([key(0), key(1), key(2)]), rows(0, 1, 2))


@pytest.mark.parametrize("place", [0, 16, 17 + 3, 17 + 33, 17 + 37])
def test_a_damaged_record_costs_no_more_than_its_rows(tmp_path, place):
    FeatureCache(tmp_path, encoder()).add([key(0), key(1)], rows(0, 1))
    cache = FeatureCache(tmp_path, encoder())
    content = bytearray((cache.folder / "keys").read_bytes())
    content[place] ^= 1
    (cache.folder / "keys").write_bytes(content)
    again = FeatureCache(tmp_path, encoder())
    assert again.missing([key(0), key(1)]) == ([key(0), key(1)] if place < 17 else [key(0)])
    again.add([key(0), key(1)], rows(0, 1))
    assert np.array_equal(FeatureCache(tmp_path, encoder()).gather([key(0), key(1)]), rows(0, 1))
    assert np.array_equal(cache.gather([key(0), key(1)]), rows(0, 1)), "who has it open reads on"


def test_a_cache_of_a_newer_version_says_so(tmp_path):
    cache = FeatureCache(tmp_path, encoder())
    cache.add([key(0)], rows(0))
    content = (cache.folder / "keys").read_bytes()
    (cache.folder / "keys").write_bytes(b"likewise keys  3\n" + content[17:])
    with pytest.raises(UserError, match="newer version of likewise: update"):
        FeatureCache(tmp_path, encoder())


def _write(folder, first):
    cache = FeatureCache(folder, encoder())
    for number in range(first, first + 40):
        cache.add([key(number), key(number + 1)], rows(number % 100, (number + 1) % 100))


def test_two_processes_write_at_once(tmp_path):
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=_write, args=(tmp_path, first)) for first in (0, 20)]
    reader = FeatureCache(tmp_path, encoder())
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    reader.refresh()
    assert len(reader) == 61
    assert np.array_equal(reader.gather([key(n) for n in range(61)]), rows(*range(61)))


def test_killed_while_writing(tmp_path):
    program = (
        "import numpy as np, sys, hashlib\nfrom pathlib import Path\nfrom types import SimpleNamespace\n"
        "from likewise.encoders.feature_cache import FeatureCache\n"
        "encoder = SimpleNamespace(fingerprint=lambda: 'a' * 64, feature_shape=(3, 5), name='tiny')\n"
        "cache = FeatureCache(Path(sys.argv[1]), encoder)\nprint('ready', flush=True)\n"
        "for n in range(100000):\n"
        "    cache.add([hashlib.sha256(str(n).encode()).hexdigest()], np.full((1, 3, 5), n % 100))\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    writer.stdout.readline()
    time.sleep(0.3)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    cache = FeatureCache(tmp_path, encoder())
    done = len(cache)
    assert done
    cache.add(["after"], rows(77))
    assert np.array_equal(cache.gather([key(n) for n in range(done)]), rows(*(n % 100 for n in range(done))))
    assert np.array_equal(cache.gather(["after"]), rows(77))


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path, encoder())
    usage = SimpleNamespace(total=10, used=10, free=0)
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"no room for 1 MB of features in .*: free some space"):
        cache.add(["a"], rows(1))


def test_a_disk_that_fills_up_meanwhile_is_one_sentence(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path, encoder())

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(feature_cache.os, "fsync", fail)
    with pytest.raises(UserError, match="no room for"):
        cache.add(["a"], rows(1))
    monkeypatch.undo()
    cache.add(["b"], rows(2))
    assert cache.missing(["a", "b"]) == ["a"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*: Not a directory"):
        FeatureCache(tmp_path / "file", encoder())


@pytest.mark.parametrize("value", [np.nan, 1e6])
def test_values_that_half_precision_cannot_hold_are_refused(tmp_path, value):
    cache = FeatureCache(tmp_path, encoder())
    with pytest.raises(UserError, match="not finite"):
        cache.add(["a"], np.full((1, *SHAPE), value))
    assert cache.missing(["a"])


def test_rows_of_another_shape_are_refused(tmp_path):
    with pytest.raises(ValueError, match="shape"):
        FeatureCache(tmp_path, encoder()).add(["a"], np.zeros((1, 4)))
