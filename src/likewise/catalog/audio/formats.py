"""Allowed audio formats, recognised by their first bytes and never by name, and judged by their headers.

What the decoder gets is rebuilt of the parts that it needs: no tags, covers, cue sheets or other streams.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from likewise.catalog.audio.mp3 import is_frame, read_frames, skip_tags
from likewise.catalog.audio.ogg import read_stream
from likewise.catalog.audio.recording import AudioError

HEADER_BYTES = 64
LOWEST_RATE, HIGHEST_RATE = 1_000, 384_000
_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _A_LAW: (8,), _MU_LAW: (8,)}
_MOST_CHUNKS = 100_000
_STREAMED = 0x7FFFFFFF  # a size that says: until the end
# Recordings (and films) of a kind that is not read.
_REFUSED = (
    b"FORM",
    b"RIFX",
    b"RF64",
    b"#!AMR",
    b"MThd",
    b".snd",
    b"caff",
    b"wvpk",
    b"MAC ",
    b"\x1aE\xdf\xa3",
    b"0&\xb2u",
)


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        format: "WAV", "FLAC", "Ogg" or "MP3".
        rate: samples per second.
        channels: of the recording.
        samples: per channel; None where the file does not say.
        playable: the bytes that the decoder needs.
        floating: whether samples are floating-point numbers, which need not be finite.
    """

    format: str
    rate: int
    channels: int
    samples: int | None
    playable: bytes
    floating: bool = False


def sniff(data: bytes) -> str:
    """Name the format of a file from its first bytes.

    Raises:
        AudioError: the file is empty, is of a format that is not allowed, or is no recording.
    """
    if not data:
        raise AudioError("empty-file")
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "WAV"
    if data[:4] in (b"fLaC", b"OggS"):
        return "FLAC" if data[:4] == b"fLaC" else "Ogg"
    if data[:3] == b"ID3":
        return "FLAC" if data[skip_tags(data) :][:4] == b"fLaC" else "MP3"
    if is_frame(data):
        return "MP3"
    if data.startswith(_REFUSED) or data[4:8] == b"ftyp" or (data[0] == 0xFF and data[1:2] in (b"\xf1", b"\xf9")):
        raise AudioError("format-not-allowed")
    raise AudioError("not-audio")


def read_header(data: bytes, max_channels: int, max_seconds: float) -> Header:
    """Read the header of a recording; where only counting says how long one is, no further than allowed.

    Raises:
        AudioError: it is no recording, its format is not allowed, or what it says of itself is out of bounds or does
            not hold together.
    """
    readers: dict[str, Callable[[bytes], Header]] = {"WAV": _read_wav, "FLAC": _read_flac, "Ogg": _read_ogg}
    readers["MP3"] = partial(_read_mp3, seconds=max_seconds)
    header = readers[sniff(data)](data)
    if not LOWEST_RATE <= header.rate <= HIGHEST_RATE:
        raise AudioError("sample-rate")
    if not 0 < header.channels <= max_channels:
        raise AudioError("too-many-channels" if header.channels else "broken")
    if header.samples is not None and header.samples < header.rate / 100:
        raise AudioError("too-short" if header.samples else "no-samples")
    return header


def _read_wav(data: bytes) -> Header:
    at, form = 12, b""
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            raise AudioError("truncated")
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data":
            break
        if name == b"fmt ":
            form = data[at + 8 : at + 8 + min(size, 40)]
        at += 8 + size + (size & 1)
    else:
        raise AudioError("broken")
    if len(form) < 16:
        raise AudioError("broken")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if kind == _EXTENSIBLE and len(form) >= 40:
        kind = struct.unpack_from("<H", form, 24)[0]
    if bits not in _BITS.get(kind, ()):
        raise AudioError("format-not-allowed")
    frame = channels * bits // 8
    content = memoryview(data)[at + 8 :]
    if size < _STREAMED:
        if len(content) < size:
            raise AudioError("truncated")
        content = content[:size]
    samples = len(content) // frame if frame else 0
    content = content[: samples * frame]
    form = struct.pack("<HHIIHH", kind, channels, rate, (rate * frame) & 0xFFFFFFFF, frame & 0xFFFF, bits)
    head = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(content))
    playable = b"".join((b"RIFF", struct.pack("<I", len(head) + len(content)), head, content))
    return Header("WAV", rate, channels, samples, playable, floating=kind == _FLOAT)


def _read_flac(data: bytes) -> Header:
    at, last, info = skip_tags(data) + 4, 0, b""
    for _ in range(_MOST_CHUNKS):
        if at + 4 > len(data):
            raise AudioError("truncated")
        kind, size = data[at] & 127, int.from_bytes(data[at + 1 : at + 4], "big")
        last = data[at] >> 7
        if kind == 0 and not info:
            info = data[at + 4 : at + 4 + size]
        at += 4 + size
        if last:
            break
    if len(info) < 34 or not last or at >= len(data):
        raise AudioError("truncated" if at >= len(data) else "broken")
    packed = int.from_bytes(info[10:18], "big")
    rate, channels, samples = packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1
    playable = b"".join((b"fLaC", bytes([128, 0, 0, 34]), info[:34], memoryview(data)[at:]))
    return Header("FLAC", rate, channels, samples or None, playable)


def _read_ogg(data: bytes) -> Header:
    stream = read_stream(data)
    return Header("Ogg", stream.rate, stream.channels, stream.samples, data[: stream.end])


def _read_mp3(data: bytes, seconds: float) -> Header:
    frames = read_frames(data, seconds)
    return Header("MP3", frames.rate, frames.channels, frames.samples, data[frames.start : frames.end])
