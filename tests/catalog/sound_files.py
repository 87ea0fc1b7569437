"""Sound files made for tests: tones in every format that is read, and pieces of files to damage."""

import io
import struct

import numpy as np
import soundfile

RATE = 16_000


def tone(seconds: float = 0.5, hertz: float = 440.0, rate: int = RATE) -> np.ndarray:
    """(samples,) float32: a sine of amplitude 0.5."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: np.ndarray, form: str = "WAV", subtype: str | None = None, rate: int = RATE) -> bytes:
    """A sound file of (samples,) or (samples, channels)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def wav(content: bytes, channels: int = 1, rate: int = RATE, bits: int = 16, kind: int = 1, size: int | None = None):
    """A WAV of raw samples; `size`: what it claims that they take."""
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * frame & 0xFFFFFFFF, frame & 0xFFFF, bits)
    size = len(content) if size is None else size
    return (
        b"RIFF"
        + struct.pack("<I", 36)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
        + content
    )


def ogg_page(
    content: bytes,
    *,
    serial: int = 1,
    number: int = 0,
    flags: int = 0,
    position: int = 0,
    segments: bytes | None = None,
) -> bytes:
    """A page of an Ogg file with its checksum."""
    if segments is None:
        whole, rest = divmod(len(content), 255)
        segments = bytes([255] * whole + [rest])
    head = b"OggS" + struct.pack("<BBQIII", 0, flags, position, serial, number, 0) + bytes([len(segments)]) + segments
    page = head + content
    return page[:22] + struct.pack("<I", ogg_checksum(page)) + page[26:]


def ogg_checksum(page: bytes) -> int:
    """CRC-32 as Ogg has it: polynomial 0x04C11DB7, not reflected."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


def vorbis_claiming(entries: int, dimensions: int, books: int = 256, rate: int = RATE, channels: int = 1) -> bytes:
    """The headers of a Vorbis stream, of a few kilobytes, whose codebooks unfold to `books · entries · dimensions`."""
    bits = "".join(f"{byte:08b}"[::-1] for byte in bytes([books - 1]))
    depth = max(1, (entries - 1).bit_length())
    for _ in range(books):
        book = [(0x564342, 24), (dimensions, 16), (entries, 24), (1, 1), (depth - 1, 5)]
        book += [(entries, entries.bit_length()), (1, 4), (0, 32), (0, 32), (0, 4), (0, 1)]
        bits += "".join(f"{value:0{width}b}"[::-1] for value, width in book)
        bits += "0" * int(entries ** (1 / dimensions) + 1e-9)
    return vorbis_stream(pack_bits(bits), rate, channels)


def pack_bits(bits: str) -> bytes:
    """Bits as Vorbis packs them, the least significant one of a byte first."""
    return bytes(int(bits[at : at + 8].ljust(8, "0")[::-1], 2) for at in range(0, len(bits), 8))


def vorbis_stream(codebooks: bytes, rate: int = RATE, channels: int = 1) -> bytes:
    """The headers of a Vorbis stream with the given codebooks, and a page of nothing."""
    head = b"\x01vorbis" + struct.pack("<IBIIIIB", 0, channels, rate, 0, 64_000, 0, 0xB8) + b"\x01"
    comments = b"\x03vorbis" + struct.pack("<II", 0, 0) + b"\x01"
    setup = b"\x05vorbis" + codebooks
    pages = [ogg_page(head, flags=2)]
    for number, packet in enumerate((comments, setup), start=1):
        while True:
            part, packet = packet[: 255 * 255], packet[255 * 255 :]
            segments = bytes([255] * 255) if packet else None
            pages.append(ogg_page(part, number=number, segments=segments))
            if not packet:
                break
    return b"".join(pages) + ogg_page(b"\0" * 20, number=9, flags=4, position=rate)
