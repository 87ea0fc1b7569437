"""Recordings of the items that a server shows, as previews to play."""

from collections.abc import Callable
from pathlib import Path

from likewise.catalog.audio.previews import make_preview
from likewise.catalog.audio.recording import Recording
from likewise.retrieval.items import Hit, Item
from likewise.serving.made_files import make_when_asked


def previews_in(cache: Path) -> Callable[[Recording], Path | None]:
    """Build a function that finds the preview of a recording in a cache folder, or makes it."""
    return make_when_asked(make_preview, cache)


def choose_recording(item: Item | Hit, key: str | None = None) -> Recording | None:
    """The recording of an item that has this key, its first one for None; None where it has no such recording."""
    found = [recording for of_field in item.recordings.values() for recording in of_field]
    return next((recording for recording in found if key in (None, recording.key)), None)
