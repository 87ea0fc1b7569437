"""Thumbnails of the items that a server shows."""

import threading
from collections.abc import Callable
from pathlib import Path

from likewise.catalog.images.thumbnails import make_thumbnail
from likewise.errors import UserError
from likewise.retrieval.items import Hit, Item


def thumbnails_in(cache: Path) -> Callable[[Item | Hit], Path | None]:
    """Build a function that finds the thumbnail of an item in a cache folder, or makes it."""
    making = threading.Semaphore(2)  # a large picture takes a core and much memory

    def find(item: Item | Hit) -> Path | None:
        if item.picture is None:
            return None
        try:
            with making:
                return make_thumbnail(item.picture, cache)
        except UserError:  # the original has moved or was damaged since
            return None

    return find
