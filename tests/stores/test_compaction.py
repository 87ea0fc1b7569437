"""What was written since the segment joins it by itself, and no write waits for that."""

import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from likewise.stores.faiss import collection as faiss
from likewise.stores.faiss import replica
from likewise.stores.schema import Schema
from likewise.stores.uri import Credentials, parse_location

SCHEMA = Schema.of(pl.DataFrame({"id": ["x"], "stamp": [1]}), 4)
SECONDS = 20


def write(store: faiss.FaissStore, numbers: range) -> None:
    for number in numbers:
        vector = np.random.default_rng(number).standard_normal((1, 4))
        store.upsert(pl.DataFrame({"id": [str(number)], "stamp": [number]}), vector)


def test_writes_do_not_wait_for_a_compaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location, _ = parse_location(f"faiss://{tmp_path}/store")
    with faiss.replace_store(location, SCHEMA, Credentials()):
        pass
    monkeypatch.setattr(replica, "_LONGEST_DELTA", 10)
    monkeypatch.setattr(replica, "_MOST_BEHIND", 1_000)
    index, written, waited = replica.index_next_segment, threading.Event(), list[bool]()

    def index_later(*arguments, **options) -> None:
        waited.append(written.wait(SECONDS))
        index(*arguments, **options)

    monkeypatch.setattr(replica, "index_next_segment", index_later)
    store = faiss.FaissStore(location.file)
    write(store, range(40))
    written.set()
    deadline = time.monotonic() + SECONDS
    while not store.content().segment.count and time.monotonic() < deadline:
        time.sleep(0.02)
    assert waited[0], "a write waited"
    assert store.content().segment.count > 10
    for opened in (store, faiss.FaissStore(location.file)):
        assert opened.count() == 40
        assert sorted(record.fields["stamp"] for record in opened.fetch([str(n) for n in range(40)])) == list(range(40))


def test_writes_wait_where_they_come_faster_than_they_can_be_compacted(tmp_path: Path, monkeypatch) -> None:
    location, _ = parse_location(f"faiss://{tmp_path}/store")
    with faiss.replace_store(location, SCHEMA, Credentials()):
        pass
    monkeypatch.setattr(replica, "_LONGEST_DELTA", 10)
    monkeypatch.setattr(replica, "_MOST_BEHIND", 2)
    store = faiss.FaissStore(location.file)
    for number in range(200):
        write(store, range(number, number + 1))
        assert len(store.content().delta) <= 21
    assert store.count() == 200


def test_other_handles_follow_within_half_a_second(tmp_path: Path) -> None:
    location, _ = parse_location(f"faiss://{tmp_path}/store")
    with faiss.replace_store(location, SCHEMA, Credentials()):
        pass
    store, other = faiss.FaissStore(location.file), faiss.FaissStore(location.file)
    assert other.count() == 0
    write(store, range(1))
    other.refresh()
    assert other.count() == 1, "at once, where that is asked for"
    write(store, range(1, 2))
    time.sleep(0.4)
    assert other.count() == 2
