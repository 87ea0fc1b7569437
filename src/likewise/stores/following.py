"""How a handle follows a store that is replaced while it is open.

An engine keeps each content under a name of its own, and remembers somewhere which one is in use. Handles use that name
and not an alias, since a filter or a query made for one content must not meet another, whose columns and dimensions may
differ.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from likewise.errors import UserError

Content = TypeVar("Content")
Result = TypeVar("Result")

PATIENCE = 0.5  # seconds; other handles may follow a second later at most


class Following(Generic[Content]):
    """The content in use.

    Args:
        name: asks which one it is.
        opened: opens it; called when the name has changed.
        patience: seconds until it is asked again; 0 where asking costs nothing.
    """

    def __init__(
        self, name: Callable[[], str], opened: Callable[[str], Content], *, patience: float = PATIENCE
    ) -> None:
        self._name, self._opened, self._patience = name, opened, patience
        self._lock = threading.Lock()
        self._asked = 0.0
        self._known: tuple[str, Content] | None = None

    def current(self, *, asking: bool = False) -> Content:
        """The content in use, as known for at most `patience` seconds, or as it is at this moment."""
        with self._lock:
            now = time.monotonic()
            if asking or self._known is None or now - self._asked >= self._patience:
                name = self._name()
                if self._known is None or self._known[0] != name:
                    self._known = name, self._opened(name)
                self._asked = now
            return self._known[1]

    def read(self, operation: Callable[[Content], Result]) -> Result:
        """Run something that reads; once more if the content was replaced, and removed, under its feet."""
        content = self.current()
        try:
            return operation(content)
        except UserError:
            raise
        except Exception:
            latest = self.current(asking=True)
            if latest is content:
                raise
            return operation(latest)
