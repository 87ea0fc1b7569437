"""The recordings that an index remembers of its items."""

from collections.abc import Mapping
from pathlib import Path

from likewise.catalog.audio.recording import Recording
from likewise.catalog.images.picture import is_key

ItemRecordings = Mapping[str, tuple[Recording, ...]]  # by field, those that have any

_MOST_REMEMBERED = 256  # of an item; the index may come from a stranger


def pack_recordings(recordings: ItemRecordings) -> list[list[str]] | None:
    """Recordings as an index remembers them: [field, key, path] of each; None for none."""
    return [[name, one.key, str(one.path)] for name, found in recordings.items() for one in found] or None


def unpack_recordings(packed: object) -> dict[str, tuple[Recording, ...]]:
    """What `pack_recordings` made; what is no recording is left out, as the index may come from a stranger."""
    recordings: dict[str, tuple[Recording, ...]] = {}
    for entry in packed[:_MOST_REMEMBERED] if isinstance(packed, list) else []:
        if not isinstance(entry, list) or len(entry) != 3 or not all(isinstance(part, str) and part for part in entry):
            continue
        field, key, path = entry
        if is_key(key) and not path.startswith(("\\\\", "//")):
            recordings[field] = (*recordings.get(field, ()), Recording(key, Path(path)))
    return recordings


def list_keys(recordings: ItemRecordings) -> dict[str, list[str]]:
    """The keys by field: what a model hears."""
    return {name: [one.key for one in found] for name, found in recordings.items() if found}
