"""How a handle follows a store that is replaced while it is open.

An engine keeps each collection under a name that is never used again, and remembers somewhere which one is in use.
Handles use that name and not an alias, since a filter or a query made for one collection must not meet another, whose
columns and dimensions may differ.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from likewise.errors import UserError

Opened = TypeVar("Opened")
Result = TypeVar("Result")

PATIENCE = 0.5  # seconds; other handles may follow a second later at most
LINGER = 2 * PATIENCE  # seconds that a replaced collection is kept; by then all handles have followed


class ReplacedError(Exception):
    """The collection was replaced before something was written to it."""


class CurrentCollection(Generic[Opened]):
    """The collection in use.

    Args:
        name: asks for its name.
        open_collection: opens it; called when the name has changed.
        patience: seconds until it is asked again; 0 where asking costs nothing.
    """

    def __init__(
        self, name: Callable[[], str], open_collection: Callable[[str], Opened], *, patience: float = PATIENCE
    ) -> None:
        self._name, self._open, self._patience = name, open_collection, patience
        self._lock = threading.Lock()
        self._asked = 0.0
        self._known: tuple[str, Opened] | None = None

    def get(self, *, refresh: bool = False) -> Opened:
        """The collection in use, as known for at most `patience` seconds, or as it is at this moment."""
        with self._lock:
            now = time.monotonic()
            if refresh or self._known is None or now - self._asked >= self._patience:
                name = self._name()
                if self._known is None or self._known[0] != name:
                    self._known = name, self._open(name)
                self._asked = now
            return self._known[1]

    def read(self, operation: Callable[[Opened], Result]) -> Result:
        """Run something that reads, again if the collection was replaced, and perhaps removed, meanwhile."""
        while True:
            collection, begun = self.get(), time.monotonic()
            try:
                result = operation(collection)
            except UserError:
                raise
            except Exception:
                latest = self.get(refresh=True)
                if latest is collection:
                    raise
                return operation(latest)
            # Some engines answer from a collection that was removed as from an empty one.
            if time.monotonic() - begun < LINGER - PATIENCE or self.get(refresh=True) is collection:
                return result

    def write(self, operation: Callable[[Opened], Result]) -> Result:
        """Run something that writes, again if the collection was replaced meanwhile."""
        while True:
            collection = self.get(refresh=True)
            try:
                result = operation(collection)
            except ReplacedError:
                continue
            if self.get(refresh=True) is collection:
                return result
