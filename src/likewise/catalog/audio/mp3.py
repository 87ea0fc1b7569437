"""Frames of MP3 files, counted by their headers (ISO/IEC 11172-3 2.4.1.3 and 13818-3)."""

import struct
from dataclasses import dataclass

from likewise.catalog.audio.recording import AudioError

_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KILOBITS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MOST_JUNK = 4_096  # bytes between tags and the first frame
_MOST_TRAILING = 100_000  # bytes behind the last frame: tags
_MOST_TAGS = 100


@dataclass(frozen=True)
class Frames:
    """The frames of a file: where they begin and end, and what they hold."""

    start: int
    end: int
    rate: int
    channels: int
    samples: int


@dataclass(frozen=True)
class _Frame:
    rate: int
    channels: int
    samples: int
    length: int
    side: int  # bytes of side information, behind which an encoder may say how many frames there are


def skip_tags(data: bytes) -> int:
    """The offset behind the ID3v2 tags that a file begins with.

    Raises:
        AudioError: "truncated" or "broken".
    """
    start = 0
    for _ in range(_MOST_TAGS):
        if data[start : start + 3] != b"ID3":
            return start
        head = data[start : start + 10]
        if len(head) < 10:
            raise AudioError("truncated")
        size = sum((byte & 127) << 7 * place for place, byte in enumerate(reversed(head[6:10])))
        start += 10 + size + (10 if head[5] & 16 else 0)
        if start > len(data):
            raise AudioError("truncated")
    raise AudioError("broken")


def is_frame(data: bytes, start: int = 0) -> bool:
    """Whether a frame of MPEG audio layer III begins at `start`."""
    return _read_frame(data, start) is not None


def read_frames(data: bytes, max_seconds: float) -> Frames:
    """Walk over the frames of a file, no further than it is known to last too long.

    Raises:
        AudioError: "not-audio", "broken", "truncated" or "too-many-seconds".
    """
    start = _find_first(data, skip_tags(data))
    first = _read_frame(data, start)
    if first is None:
        raise AudioError("not-audio")
    declared = _read_declared(data, start, first)
    at, frames, most = start, 0, max_seconds * first.rate / first.samples
    while (frame := _read_frame(data, at)) is not None and at + frame.length <= len(data):
        if frame.rate != first.rate:
            raise AudioError("broken")
        at += frame.length
        frames += 1
        if frames > most:
            raise AudioError(
                "too-many-seconds", f"the recording lasts longer than the {max_seconds:g} seconds that may be read"
            )
    left = len(data) - at
    if (declared is not None and frames < 0.95 * declared) or not frames:
        raise AudioError("truncated")
    if frame is None and left > _MOST_TRAILING:
        raise AudioError("broken")
    return Frames(start, at, first.rate, first.channels, frames * first.samples)


def _find_first(data: bytes, start: int) -> int:
    for at in range(start, min(start + _MOST_JUNK, len(data))):
        frame = _read_frame(data, at)
        if frame is not None and (at + frame.length >= len(data) or _read_frame(data, at + frame.length) is not None):
            return at
    raise AudioError("not-audio")


def _read_frame(data: bytes, at: int) -> _Frame | None:
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:  # a frame of layer III
        return None
    version, kilobits, rate = data[at + 1] >> 3 & 3, data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or kilobits in (0, 15) or rate == 3:
        return None
    first_version, mono = version == 3, data[at + 3] >> 6 == 3
    per_second = _RATES[version][rate]
    samples = 1_152 if first_version else 576
    length = samples // 8 * _KILOBITS[first_version][kilobits - 1] * 1_000 // per_second + (data[at + 2] >> 1 & 1)
    side = (17 if mono else 32) if first_version else (9 if mono else 17)
    return _Frame(per_second, 1 if mono else 2, samples, length, side)


def _read_declared(data: bytes, start: int, frame: _Frame) -> int | None:
    """How many frames the encoder says that there are."""
    at = start + 4 + frame.side
    if data[at : at + 4] in (b"Xing", b"Info") and len(data) >= at + 12 and data[at + 7] & 1:
        return int(struct.unpack_from(">I", data, at + 8)[0])
    return None
