"""Recordings of the items that a server shows, as previews to play."""

import threading
from collections.abc import Callable
from pathlib import Path

from likewise.catalog.audio.previews import make_preview
from likewise.catalog.audio.recording import Recording
from likewise.errors import UserError
from likewise.retrieval.items import Hit, Item


def previews_in(cache: Path) -> Callable[[Recording], Path | None]:
    """Build a function that finds the preview of a recording in a cache folder, or makes it."""
    making = threading.Semaphore(2)  # a long recording takes a core and much memory

    def find(recording: Recording) -> Path | None:
        try:
            with making:
                return make_preview(recording, cache)
        except UserError:  # the original has moved or was damaged since, or it cannot be decoded here
            return None

    return find


def choose_recording(item: Item | Hit, key: str | None = None) -> Recording | None:
    """The recording of an item that has this key, its first one for None; None where it has no such recording."""
    found = [recording for of_field in item.recordings.values() for recording in of_field]
    return next((recording for recording in found if key in (None, recording.key)), None)
