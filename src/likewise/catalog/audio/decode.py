"""Files and bytes from untrusted places → samples of one channel, or one named cause why not."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.audio.formats import HIGHEST_RATE, LOWEST_RATE, Header, read_header
from likewise.catalog.audio.recording import AudioError
from likewise.catalog.images.decode import open_regular_file
from likewise.catalog.images.picture import PictureError, compute_key
from likewise.config import AudioSettings
from likewise.errors import MissingExtraError, UserError

OWN_FILES = 10  # times `max_bytes` that a local file may have: WAVs are large
_BLOCK = 65_536  # samples per channel that are decoded at once
_CHECKED_SECONDS = 0.5
_DECODER_FORMATS = {"WAV": ("WAV", "WAVEX"), "FLAC": ("FLAC",), "Ogg": ("OGG",), "MP3": ("MP3", "MPEG")}
_LARGEST_FACTOR = 10_000  # of the fraction that stands for a ratio of rates: filters are as long
_MISSING_SECONDS = 0.5  # by which a decoder may fall short of what a header says; encoders count padding differently
_LIMITS = AudioSettings()


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording, or its first seconds.

    Attributes:
        samples: (n,) float32, one channel, from −1 to 1.
        rate: samples per second.
    """

    samples: NDArray[np.float32]
    rate: int

    def resample(self, rate: int) -> NDArray[np.float32]:
        """The samples at another rate: (about n · rate / self.rate,) float32.

        A ratio of rates that is no fraction of small numbers is approximated, to less than 1/5,000.
        """
        from scipy.signal import resample_poly

        if rate == self.rate:
            return self.samples
        slower, faster = sorted((rate, self.rate))
        ratio = Fraction(slower, faster).limit_denominator(_LARGEST_FACTOR)
        up, down = (ratio.numerator, ratio.denominator) if rate < self.rate else (ratio.denominator, ratio.numerator)
        return np.asarray(resample_poly(self.samples, up, down), np.float32)


def open_recording(
    path: str | Path, seconds: float | None = None, *, limits: AudioSettings = _LIMITS, key: str | None = None
) -> Sound:
    """Decode a sound file to one channel.

    Args:
        path: a regular file; anything else (a pipe, a device) is refused without being read.
        seconds: no more than these are decoded, from the beginning; None: `limits.max_seconds`.
        limits: on bytes, seconds and channels.
        key: SHA-256 that the bytes must have, in hexadecimal digits. None: any.

    Raises:
        AudioError: the file cannot be read, is damaged, exceeds a limit or is no recording; `cause` says which.
        MissingExtraError: soundfile is not installed.

    Example:
        >>> from likewise.catalog.audio.decode import open_recording
        >>> open_recording("bell.wav").resample(16_000).shape
        (8000,)
    """
    try:
        with open_regular_file(path) as file:
            check_file_size(file, limits)
            data = file.read()
    except PictureError as error:
        raise AudioError(error.cause) from None
    except OSError:
        raise AudioError("unreadable") from None
    if key is not None and compute_key(data) != key:
        raise AudioError("changed")
    return decode_bytes(data, seconds, limits)


def decode_bytes(data: bytes, seconds: float | None = None, limits: AudioSettings = _LIMITS) -> Sound:
    """Decode a sound file held in memory; arguments, result and errors are those of `open_recording`."""
    with translate_errors():
        header = _read_checked(data, limits)
        return _decode(header, limits.max_seconds if seconds is None else seconds)


def check_recording(file: BinaryIO, limits: AudioSettings = _LIMITS) -> int:
    """Check that a file is a usable recording by its header and its first half second.

    Floating-point samples are all looked at.

    Returns:
        How long it lasts, in milliseconds; 0 where the file does not say.

    Raises:
        AudioError: it is not usable; `cause` says why.
        MissingExtraError: soundfile is not installed.
    """
    with translate_errors():
        file.seek(0)
        header = _read_checked(file.read(), limits)
        for _ in _decode_blocks(header, limits.max_seconds if header.floating else _CHECKED_SECONDS):
            pass
        return 1_000 * (header.samples or 0) // header.rate


def check_file_size(file: BinaryIO, limits: AudioSettings = _LIMITS) -> os.stat_result:
    """Refuse a local file that is empty or has more bytes than allowed; its size and times.

    Raises:
        AudioError: "too-large" or "empty-file".
    """
    status = os.fstat(file.fileno())
    if status.st_size == 0:
        raise AudioError("empty-file")
    if status.st_size > OWN_FILES * limits.max_bytes:
        raise AudioError("too-large")
    return status


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn whatever a decoder raises inside the block into an `AudioError`."""
    try:
        yield
    except UserError:
        raise
    except Exception:  # decoders are written for whole files; a damaged one surfaces as nearly anything
        raise AudioError("broken") from None


def _read_checked(data: bytes, limits: AudioSettings) -> Header:
    header = read_header(data, limits.max_channels, limits.max_seconds)
    if header.samples is not None and header.samples > limits.max_seconds * header.rate:
        seconds = f"{header.samples / header.rate:,.0f} seconds; at most {limits.max_seconds:g} may be read"
        raise AudioError("too-many-seconds", f"the recording lasts {seconds}")
    return header


def _decode(header: Header, seconds: float) -> Sound:
    """The first seconds, mixed down to one channel."""
    parts, rates = zip(*_decode_blocks(header, seconds), strict=True)
    return Sound(np.concatenate(parts), rates[0])


def _decode_blocks(header: Header, seconds: float) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Blocks of the first seconds, mixed down to one channel, each with the rate; there is at least one."""
    with _open_decoder(header) as sound:
        rate = sound.samplerate
        if sound.format not in _DECODER_FORMATS[header.format] or sound.channels != header.channels:
            raise AudioError("broken")
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise AudioError("sample-rate")
        wanted = left = max(1, int(seconds * rate))
        while left > 0 and len(block := _read_block(sound, min(_BLOCK, left), header)):
            if not np.isfinite(block).all():
                raise AudioError("not-finite")
            yield np.clip(block, -1.0, 1.0).mean(axis=1, dtype=np.float32), rate
            left -= len(block)
    found = wanted - left
    if not found:
        raise AudioError("broken" if header.samples else "no-samples")
    if header.samples is not None:
        promised = header.samples * rate / header.rate
        if found < min(wanted, promised) - _MISSING_SECONDS * rate:
            raise AudioError("truncated")


def _read_block(sound: Any, samples: int, header: Header) -> np.ndarray:
    """(at most samples, channels) float32; nothing at the end."""
    if header.samples is not None:
        return np.asarray(sound.read(samples, dtype="float32", always_2d=True))
    block = np.full((samples, header.channels), np.nan, np.float32)
    try:
        return np.asarray(sound.read(out=block))
    except RuntimeError:  # soundfile looks for a position behind the end, which no one knows, after it has read
        return block[~np.isnan(block[:, 0])]


def _open_decoder(header: Header) -> Any:
    """libsndfile over what the header leaves to it."""
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: libsndfile is missing
        raise MissingExtraError("soundfile", "audio") from None
    return soundfile.SoundFile(io.BytesIO(header.playable))
