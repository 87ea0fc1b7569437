"""Pages and headers of Ogg files, read without trusting what they say of themselves.

Sources: RFC 3533 (Ogg), RFC 7845 (Opus in Ogg), the Vorbis I specification 3.2 and 4.2.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from likewise.catalog.audio.recording import AudioError

_MOST_PAGES, _BYTES_OF_PAGE = 1_000, 64  # pages of any file, and bytes for each further one; the usual ones have 4,000
_MOST_HEADER_BYTES = 4_000_000  # of each of a Vorbis stream's three headers; covers are in the second
_MOST_SETUP_BYTES = 100_000  # of the third; those of libvorbis have some 10,000
_LONGEST_CODE = 32  # bits of an entry of a codebook
_MOST_ENTRIES = 32_768  # of one codebook; the largest of libvorbis has some 7,000
_MOST_VALUES = 2**22  # entries times dimensions, of all codebooks: a few bytes can ask for gigabytes
_UNKNOWN = 2**64 - 1  # the position of a page on which no packet ends
_FIRST, _CONTINUED = 2, 1


@dataclass(frozen=True)
class Stream:
    """The first logical stream of an Ogg file.

    Attributes:
        rate: samples per second that positions count.
        channels: of the recording.
        samples: position of the last page that has one.
        end: offset behind the last page; other streams may follow.
    """

    rate: int
    channels: int
    samples: int
    end: int


@dataclass(frozen=True)
class _Page:
    flags: int
    position: int
    serial: int
    lengths: bytes  # of the segments
    start: int  # of the content
    end: int


def read_stream(data: bytes) -> Stream:
    """Read what an Ogg file says of its first stream, and check that its decoder may read it.

    Raises:
        AudioError: "truncated", "broken", or "format-not-allowed" where it is not Vorbis or Opus, or where several
            streams are interleaved (a video).
    """
    samples, end, serial = 0, 0, None
    for page in _walk(data):
        if serial is None:
            serial = page.serial
        elif page.flags & _FIRST:
            if samples == 0:  # streams begin together
                raise AudioError("format-not-allowed")
            break
        elif page.serial != serial:
            raise AudioError("format-not-allowed")
        if page.position != _UNKNOWN:
            samples = page.position
        end = page.end
    packets = _read_packets(data, end)
    head = next(packets, b"")
    if head.startswith(b"\x01vorbis") and len(head) >= 30:
        _check_setup(next(packets, b""), next(packets, b""))
        return Stream(struct.unpack_from("<I", head, 12)[0], head[11], samples, end)
    if head.startswith(b"OpusHead") and len(head) >= 19:
        skipped = struct.unpack_from("<H", head, 10)[0]
        return Stream(48_000, head[9], max(0, samples - skipped), end)
    raise AudioError("format-not-allowed" if head else "broken")


def _walk(data: bytes) -> Iterator[_Page]:
    start, pages, most = 0, 0, _MOST_PAGES + len(data) // _BYTES_OF_PAGE
    while start < len(data):
        if data[start : start + 4] != b"OggS":
            if pages and not any(data[start:]):  # padding
                return
            raise AudioError("truncated" if b"OggS".startswith(data[start : start + 4]) else "broken")
        head = data[start : start + 27]
        lengths = data[start + 27 : start + 27 + head[26]] if len(head) == 27 else b""
        content = start + 27 + len(lengths)
        end = content + sum(lengths)
        if len(head) < 27 or len(lengths) < head[26] or end > len(data):
            raise AudioError("truncated")
        pages += 1
        if pages > most:
            raise AudioError("broken", "the pages of the recording are smaller than those of any recording")
        flags, position, serial = struct.unpack_from("<BQI", head, 5)
        yield _Page(flags, position, serial, lengths, content, end)
        start = end


def _read_packets(data: bytes, end: int) -> Iterator[bytes]:
    """The packets of a stream from its start, up to the size that headers may have; `end`: of the last page."""
    packet = bytearray()
    for page in _walk(data):
        if page.start >= end:
            return
        at = page.start
        for length in page.lengths:
            packet += data[at : at + length]
            at += length
            if len(packet) > _MOST_HEADER_BYTES:
                raise _oversized_headers()
            if length < 255:
                yield bytes(packet)
                packet.clear()


def _check_setup(comments: bytes, setup: bytes) -> None:
    """Refuse codebooks for which a decoder would take far more memory than they have bytes."""
    if not comments.startswith(b"\x03vorbis") or not setup.startswith(b"\x05vorbis"):
        raise AudioError("broken")
    if len(setup) > _MOST_SETUP_BYTES:
        raise _oversized_headers()
    bits = _Bits(setup[7:])
    values = 0
    for _ in range(bits.take(8) + 1):
        values += _read_codebook(bits)
        if values > _MOST_VALUES:
            raise _oversized()


def _read_codebook(bits: "_Bits") -> int:
    """Pass over a codebook; how many values it unfolds to."""
    if bits.take(24) != 0x564342:
        raise AudioError("broken")
    dimensions, entries = bits.take(16), bits.take(24)
    if entries > _MOST_ENTRIES or not dimensions or not entries:
        raise _oversized() if entries else AudioError("broken")
    if bits.take(1):
        counted, length = 0, bits.take(5) + 1
        while counted < entries:
            if length > _LONGEST_CODE:
                raise AudioError("broken")
            counted += bits.take((entries - counted).bit_length())
            length += 1
        if counted > entries:
            raise AudioError("broken")
    elif bits.take(1):
        bits.skip_optional(entries, 5)
    else:
        bits.skip(5 * entries)
    kind = bits.take(4)
    if kind > 2:
        raise AudioError("broken")
    if kind:
        bits.skip(64)
        width = bits.take(4) + 1
        bits.take(1)
        bits.skip(width * (_count_lattice(entries, dimensions) if kind == 1 else entries * dimensions))
    return entries * dimensions


def _count_lattice(entries: int, dimensions: int) -> int:
    """The largest whole number whose power of `dimensions` is at most `entries`."""
    root = int(entries ** (1 / dimensions)) + 1
    while root**dimensions > entries:
        root -= 1
    return root


def _oversized_headers() -> AudioError:
    return AudioError("broken", "the headers of the recording are larger than any recording needs")


def _oversized() -> AudioError:
    return AudioError("broken", "the codebooks of the recording would take far more memory than its file")


class _Bits:
    """Bit reader, least significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._bits = format(int.from_bytes(data, "little"), f"0{8 * len(data)}b")[::-1]
        self._at = 0

    def take(self, width: int) -> int:
        start, self._at = self._at, self._at + width
        if self._at > len(self._bits):
            raise AudioError("truncated")
        return int(self._bits[start : self._at][::-1], 2) if width else 0

    def skip(self, width: int) -> None:
        self._at += width
        if self._at > len(self._bits):
            raise AudioError("truncated")

    def skip_optional(self, count: int, width: int) -> None:
        """Pass over `count` flags, and `width` bits behind each that is set."""
        bits, at = self._bits, self._at
        for _ in range(count):
            at += 1 + width if bits[at : at + 1] == "1" else 1
        self._at = at
        self.skip(0)
