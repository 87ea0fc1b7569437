"""Previews of recordings for pages to play, made on first use.

A preview is a WAV of one channel with a chunk that holds the SHA-256 of its recording's key and its own bytes: one that
was damaged, or lies under another name than its own, is made again.
"""

import hashlib
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.audio.decode import open_recording
from likewise.catalog.audio.recording import Recording
from likewise.catalog.images.decode import open_regular_file
from likewise.catalog.images.picture import PictureError, check_key
from likewise.files import make_folder, write_file

SECONDS = 30.0
_HIGHEST_RATE = 24_000  # samples per second; a recording with fewer keeps its own
_SEAL = b"seal"
_SEALED = 12 + 8 + 32  # bytes: RIFF, the head of the seal, the digest
_MOST_BYTES = int(SECONDS * _HIGHEST_RATE) * 2 + 1_000


def preview_path(key: str, cache: Path) -> Path:
    """The path of the preview of the recording with this SHA-256, whether or not it exists.

    Raises:
        PictureError: the key is none.
    """
    return cache / "previews" / check_key(key)[:2] / f"{key}.wav"


def find_preview(key: str, cache: Path) -> Path | None:
    """Find the preview of the recording with this SHA-256, if it exists and is intact."""
    path = preview_path(key, cache)
    try:
        if path.is_symlink():
            return None
        with open_regular_file(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except (PictureError, OSError):
        return None
    return path if len(data) <= _MOST_BYTES and data == _seal(key, data[_SEALED:]) else None


def make_preview(recording: Recording, cache: Path) -> Path:
    """Make a WAV of a recording's first 30 seconds in the cache, unless it exists.

    It has 16 bits, one channel and at most 24,000 samples per second.

    Raises:
        AudioError: the recording cannot be decoded, or its file no longer has the bytes that its key names.
        MissingExtraError: soundfile is not installed.
        UserError: the cache cannot be written.
    """
    path = find_preview(recording.key, cache)
    if path is None:
        sound = open_recording(recording.path, SECONDS, key=recording.key)
        rate = min(sound.rate, _HIGHEST_RATE)
        path = preview_path(recording.key, cache)
        make_folder(path.parent)
        chunks = _encode(sound.resample(rate)[: int(SECONDS * rate)], rate)
        write_file(path, _seal(recording.key, chunks), durable=False)
    return path


def _encode(samples: NDArray[np.float32], rate: int) -> bytes:
    """The chunks "fmt " and "data" of a WAV with 16 bits."""
    data = (np.clip(samples, -1.0, 1.0) * 32_767).round().astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    return b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data


def _seal(key: str, chunks: bytes) -> bytes:
    """A WAV of these chunks, with their checksum before them in a chunk that players pass over."""
    digest = hashlib.sha256(key.encode() + chunks).digest()
    content = b"WAVE" + _SEAL + struct.pack("<I", len(digest)) + digest + chunks
    return b"RIFF" + struct.pack("<I", len(content)) + content
