"""Resolution of recordings' sources to verified local files."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from likewise.catalog.audio.decode import Sound, check_file_size, check_recording, open_recording, translate_errors
from likewise.catalog.audio.recording import AudioError, Recording
from likewise.catalog.images.finder import Medium, find_usable, forget_changed
from likewise.catalog.report import AUDIO_PREFIX, Report
from likewise.config import AudioSettings

_FOLDER = "recordings"
_MEDIA_TYPES = "audio/*, application/ogg;q=0.9, */*;q=0.5"


def resolve_recordings(
    sources: Sequence[Sequence[str]],
    *,
    base: Path | str,
    settings: AudioSettings,
    cache: Path,
    report: Report,
    names: Sequence[str] | None = None,
) -> list[tuple[Recording, ...]]:
    """Find, and download if necessary, the first usable recordings of every row.

    Recordings are checked by their headers and their first half second. Arguments, result and errors are those of
    `find_usable`; in the report, causes begin with "audio-".
    """
    translate: Callable[[], AbstractContextManager[None]] = translate_errors
    medium = Medium(
        noun="recording",
        folder=_FOLDER,
        accept=_MEDIA_TYPES,
        build=Recording,
        check=partial(check_recording, limits=settings),
        check_size=partial(check_file_size, limits=settings),
        translate_errors=translate,
        most=int(1_000 * settings.max_seconds),
        exceeds="too-many-seconds",
        causes_of_limits=("too-many-seconds", "too-many-channels"),
        limits=f"{settings.max_seconds} {settings.max_channels}",
        report_prefix=AUDIO_PREFIX,
    )
    return find_usable(sources, medium, base=base, settings=settings, cache=cache, report=report, names=names)


def open_unchanged(recording: Recording, cache: Path, seconds: float | None = None, *, limits: AudioSettings) -> Sound:
    """Decode a recording after verifying its bytes against its key; see `open_recording`.

    Where they are not, what the cache knows of the file is forgotten, so that the next run looks at it, or downloads
    it, anew.

    Raises:
        AudioError: "changed" for a local file, "damaged-copy" for one of the cache, or another cause.
    """
    try:
        return open_recording(recording.path, seconds, limits=limits, key=recording.key)
    except AudioError as error:
        if error.cause != "changed":
            raise
    raise AudioError(forget_changed(recording, cache / _FOLDER))
