"""A store that is replaced while others search through it."""

import threading
from pathlib import Path
from typing import cast

import pytest
from retrieval.fakes import FakeModel
from retrieval.test_update import shop

from likewise.errors import UserError
from likewise.retrieval.index import Index
from likewise.retrieval.store_handle import StoreHandle
from likewise.stores.base import Store


class ClosableStore:
    """Counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def _handle() -> tuple[StoreHandle, ClosableStore, ClosableStore]:
    old, new = ClosableStore(), ClosableStore()
    return StoreHandle(cast(Store, old)), old, new


def test_a_replaced_store_is_closed_at_once_where_nobody_reads() -> None:
    handle, old, new = _handle()
    handle.replace(cast(Store, new))
    assert (old.closed, new.closed) == (1, 0)
    with handle.use() as store:
        assert store is new


def test_a_replaced_store_stays_open_until_its_last_reader_is_done() -> None:
    handle, old, new = _handle()
    first, second = handle.use(), handle.use()
    assert first.__enter__() is second.__enter__() is old
    handle.replace(cast(Store, new))
    first.__exit__(None, None, None)
    assert old.closed == 0
    second.__exit__(None, None, None)
    assert (old.closed, new.closed) == (1, 0)


def test_many_threads_never_read_from_a_closed_store() -> None:
    handle = StoreHandle(cast(Store, ClosableStore()))
    stores, mistakes, stop = [], [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            with handle.use() as store:
                for _ in range(5):
                    if cast(ClosableStore, store).closed:
                        mistakes.append(store)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        stores.append(ClosableStore())
        handle.replace(cast(Store, stores[-1]))
    stop.set()
    for thread in threads:
        thread.join()
    assert not mistakes
    assert [store.closed for store in stores] == [1] * 299 + [0]


def test_an_index_is_closed_at_the_end_of_its_block(tmp_path: Path) -> None:
    model = FakeModel()
    with Index.build(model, shop(), tmp_path) as index:
        assert index.search("thing", k=1)
    with pytest.raises(UserError, match="closed"):
        index.search("thing")


def test_an_update_closes_the_store_that_it_replaces(tmp_path: Path) -> None:
    model = FakeModel()
    index = Index.build(model, shop(), tmp_path)
    with index._handle.use() as before:
        pass
    index.update(shop(item3="other words"))
    with pytest.raises(UserError, match="closed"):
        before.count()
    assert index.search("other words", k=1)[0].id == "item3"
