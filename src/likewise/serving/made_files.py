"""Small files that a server makes of an item's picture or recording when they are first asked for."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from likewise.catalog.images.picture import FoundFile
from likewise.errors import UserError

Found = TypeVar("Found", bound=FoundFile)

_AT_ONCE = 2  # a large picture or a long recording takes a core and much memory


def make_when_asked(make: Callable[[Found, Path], Path], cache: Path) -> Callable[[Found], Path | None]:
    """Build a function that calls `make` with a file and a cache folder, at most two calls at a time.

    The function returns None if the file has been moved or damaged since, or cannot be decoded here.
    """
    making = threading.Semaphore(_AT_ONCE)

    def find(found: Found) -> Path | None:
        try:
            with making:
                return make(found, cache)
        except UserError:
            return None

    return find
