"""A store handle that can be replaced while other threads search through it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from likewise.stores.base import Store


@dataclass
class _OpenStore:
    """A store and the number of blocks that use it now."""

    store: Store
    readers: int = 0


class StoreHandle:
    """An open store; one that was replaced is closed when its last reader is done.

    Args:
        store: the store; it belongs to this object from now on.
    """

    def __init__(self, store: Store) -> None:
        self._lock = threading.Lock()
        self._current = _OpenStore(store)

    @contextmanager
    def use(self) -> Iterator[Store]:
        """The current store, which stays open inside the block."""
        with self._lock:
            used = self._current
            used.readers += 1
        try:
            yield used.store
        finally:
            with self._lock:
                used.readers -= 1
                is_last = used is not self._current and used.readers == 0
            if is_last:
                used.store.close()

    def replace(self, store: Store) -> None:
        """Use another store from now on, and close the one before it."""
        with self._lock:
            before, self._current = self._current, _OpenStore(store)
            is_unused = before.readers == 0
        if is_unused:
            before.store.close()

    def close(self) -> None:
        """Close the current store; closing twice is allowed."""
        self._current.store.close()
