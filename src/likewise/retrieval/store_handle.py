"""A store handle that can be replaced while other threads search through it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from likewise.stores.base import Store


class StoreHandle:
    """An open store; one that was replaced is closed when its last reader is done.

    Args:
        store: the store; it belongs to this object from now on.
    """

    def __init__(self, store: Store) -> None:
        self._lock = threading.Lock()
        self._store = store
        self._readers: dict[int, int] = {}  # id of a store → threads that use it
        self._replaced: dict[int, Store] = {}

    @contextmanager
    def use(self) -> Iterator[Store]:
        """The current store, which stays open inside the block."""
        with self._lock:
            store = self._store
            self._readers[id(store)] = self._readers.get(id(store), 0) + 1
        try:
            yield store
        finally:
            with self._lock:
                self._readers[id(store)] -= 1
                replaced = None if self._readers[id(store)] else self._replaced.pop(id(store), None)
                if not self._readers[id(store)]:
                    del self._readers[id(store)]
            if replaced is not None:
                replaced.close()

    def replace(self, store: Store) -> None:
        """Use another store from now on, and close the one before it."""
        with self._lock:
            before, self._store = self._store, store
            in_use = id(before) in self._readers
            if in_use:
                self._replaced[id(before)] = before
        if not in_use:
            before.close()

    def close(self) -> None:
        """Close the current store; closing twice is allowed."""
        self._store.close()
