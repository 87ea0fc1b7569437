"""Pictures and recordings that were uploaded with an item, kept in the run under the SHA-256 of their bytes.

RUN/pictures/<sha256>.jpg     the ending follows the format of the bytes; files of removed items may stay
RUN/recordings/<sha256>.ogg   likewise
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from likewise.catalog.audio.decode import check_recording
from likewise.catalog.audio.formats import HEADER_BYTES as AUDIO_HEADER_BYTES
from likewise.catalog.audio.formats import sniff as sniff_recording
from likewise.catalog.audio.recording import AudioError
from likewise.catalog.images.decode import decode_bytes
from likewise.catalog.images.formats import HEADER_BYTES, sniff
from likewise.catalog.images.picture import FoundFile, PictureError, compute_key
from likewise.config import AudioSettings, ImageSettings
from likewise.files import make_folder, write_file

_ENDINGS = {"JPEG": "jpg", "PNG": "png", "WebP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif"}
_AUDIO_ENDINGS = {"WAV": "wav", "FLAC": "flac", "Ogg": "ogg", "MP3": "mp3"}
Found = TypeVar("Found", bound=FoundFile)

_DECODED_SIDE = 64  # pixels; a check need not make more of a JPEG


def check_uploaded_picture(data: bytes, images: ImageSettings) -> str:
    """Check that bytes are a picture within the limits, by decoding it; returns the name of its file.

    Raises:
        PictureError: they are not; `cause` says why.
    """
    if len(data) > images.max_bytes:
        raise PictureError("too-large")
    kind = sniff(data[:HEADER_BYTES])
    decode_bytes(data, _DECODED_SIDE, images.max_pixels)
    return f"{compute_key(data)}.{_ENDINGS[kind]}"


def check_uploaded_recording(data: bytes, audio: AudioSettings) -> str:
    """Check that bytes are a recording within the limits; returns the name of its file.

    Raises:
        AudioError: they are not; `cause` says why.
    """
    if len(data) > audio.max_bytes:
        raise AudioError("too-large")
    kind = sniff_recording(data[:AUDIO_HEADER_BYTES])
    check_recording(io.BytesIO(data), audio)
    return f"{compute_key(data)}.{_AUDIO_ENDINGS[kind]}"


def keep_file(build: Callable[[str, Path], Found], data: bytes, name: str, folder: Path) -> Found:
    """Write a checked upload into a folder, unless it is there; durable when this returns.

    Args:
        build: makes the result from the file's key and path.
        name: the key and an ending, as `check_uploaded_picture` gives it.

    Raises:
        UserError: the folder cannot be written.
    """
    path = folder.absolute() / name
    if not _holds(path, data):
        make_folder(path.parent)
        write_file(path, data)
    return build(path.stem, path)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False
