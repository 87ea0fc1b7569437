"""Thumbnails of the items that a server shows."""

from collections.abc import Callable
from pathlib import Path

from likewise.catalog.images.thumbnails import make_thumbnail
from likewise.retrieval.items import Hit, Item
from likewise.serving.made_files import make_when_asked


def thumbnails_in(cache: Path) -> Callable[[Item | Hit], Path | None]:
    """Build a function that finds the thumbnail of an item in a cache folder, or makes it."""
    find = make_when_asked(make_thumbnail, cache)
    return lambda item: None if item.picture is None else find(item.picture)
