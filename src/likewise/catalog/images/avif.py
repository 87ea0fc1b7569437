"""Size check for AVIF: the largest picture that a file makes its decoder allocate, from its boxes and AV1 headers.

What a file declares (ispe, tkhd) and what its AV1 stream holds may differ, and the decoder allocates for both.
Sources: ISO/IEC 14496-12 (boxes), 23008-12 (items), AV1 bitstream specification 5.3, 5.5 and 5.9.2.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from likewise.catalog.images.picture import PictureError
from likewise.catalog.images.tags import check_exif

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"iprp", b"ipco"}
_FULL_CONTAINERS = {b"meta": 4}
_MOST_BOXES = 10_000
_MOST_UNITS = 10_000  # OBUs of all items
_MOST_EXTENTS = 10_000  # parts of all items
_DEEPEST = 8
_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6

Box = tuple[bytes, int, int]  # name, start and end of its content


def find_largest_picture(file: BinaryIO) -> tuple[int, int]:
    """Find the width and height of the largest picture that a file declares or codes.

    Raises:
        PictureError: "broken" or "truncated": the boxes or headers do not hold together, are of a size that only
            their decoder could tell, or there are more of them than any picture needs.
    """
    file.seek(0)
    data = file.read()
    boxes = list(_walk(data, 0, len(data), 0, [0]))
    largest = (1, 1)
    for width, height in _read_declared_sizes(data, boxes):
        largest = max(largest, (width, height), key=_area)
    budget = [_MOST_UNITS]
    for kind, payload in _read_payloads(data, boxes):
        for width, height in _read_grid_size(payload) if kind == b"grid" else _read_coded_sizes(payload, budget):
            largest = max(largest, (width, height), key=_area)
    return largest


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _walk(data: bytes, start: int, end: int, depth: int, count: list[int]) -> Iterator[Box]:
    while start + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1:
            if start + 16 > end:
                raise PictureError("truncated")
            (length,), head = struct.unpack_from(">Q", data, start + 8), 16
        elif length == 0:
            length = end - start
        count[0] += 1
        if length < head or count[0] > _MOST_BOXES or depth > _DEEPEST:
            raise PictureError("broken")
        content, stop = start + head, min(start + length, end)
        yield name, content, stop
        if name in _CONTAINERS or name in _FULL_CONTAINERS:
            yield from _walk(data, content + _FULL_CONTAINERS.get(name, 0), stop, depth + 1, count)
        start += length


def _read_declared_sizes(data: bytes, boxes: list[Box]) -> Iterator[tuple[int, int]]:
    for name, start, end in boxes:
        if name == b"ispe" and end - start >= 12:
            yield struct.unpack_from(">II", data, start + 4)
        elif name == b"tkhd" and end - start >= 84:
            width, height = struct.unpack_from(">II", data, end - 8)
            yield width >> 16, height >> 16
        elif name == b"stsd" and end - start >= 8 + 8 + 28:
            yield struct.unpack_from(">HH", data, start + 8 + 8 + 24)


def _read_payloads(data: bytes, boxes: list[Box]) -> Iterator[tuple[bytes, bytes]]:
    """The data of every coded item or grid of items, and of every track's first sample, each with its kind.

    EXIF blocks are checked on the way.
    """
    idat = next((start for name, start, _ in boxes if name == b"idat"), 0)
    kinds: dict[int, bytes] = {}
    for name, start, end in boxes:
        if name == b"iinf":
            kinds |= _read_item_kinds(data, start, end)
    extents = [_MOST_EXTENTS]
    for name, start, end in boxes:
        if name == b"av1C":
            yield b"av01", data[start + 4 : end]
        elif name == b"iloc":
            for item, payload in _read_items(data, start, end, idat, extents):
                if kinds.get(item) == b"Exif":
                    skipped = 4 + int.from_bytes(payload[:4], "big")
                    check_exif(payload[skipped:])
                elif kinds.get(item, b"av01") in (b"av01", b"grid"):
                    yield kinds.get(item, b"av01"), payload
    for sample in _read_first_samples(data, boxes):
        yield b"av01", sample


def _read_item_kinds(data: bytes, start: int, end: int) -> dict[int, bytes]:
    kinds: dict[int, bytes] = {}
    content = start + (8 if data[start : start + 1] > b"\0" else 6)
    for name, at, stop in _walk(data, content, end, 0, [0]):
        if name != b"infe" or stop - at < 14:
            continue
        version = data[at]
        if version == 2:
            kinds[struct.unpack_from(">H", data, at + 4)[0]] = data[at + 8 : at + 12]
        elif version == 3:
            kinds[struct.unpack_from(">I", data, at + 4)[0]] = data[at + 10 : at + 14]
    return kinds


def _read_items(data: bytes, start: int, end: int, idat: int, extents: list[int]) -> Iterator[tuple[int, bytes]]:
    """The items that a box locates, each with its content.

    Args:
        extents: how many more parts of items may follow in the file; a part can be described in no bytes at all.
    """
    reader = _Fields(data, start, end)
    version = reader.number(1)
    reader.number(3)
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    remaining = 2 * len(data)  # items may share bytes, but not read them for ever
    for _ in range(reader.number(4 if version == 2 else 2)):
        item = reader.number(4 if version == 2 else 2)
        method = reader.number(2) & 15 if version in (1, 2) else 0
        reader.number(2)
        base = reader.number(base_size) + (idat if method == 1 else 0)
        payload = bytearray()
        for _ in range(reader.number(2)):
            extents[0] -= 1
            if extents[0] < 0:
                raise PictureError("broken")
            if version in (1, 2):
                reader.number(index_size)
            where, length = base + reader.number(offset_size), reader.number(length_size)
            part = data[where : where + length] if length else data[where:]
            remaining -= len(part)
            if remaining < 0:
                raise PictureError("broken")
            payload += part
        yield item, bytes(payload)


def _read_first_samples(data: bytes, boxes: list[Box]) -> Iterator[bytes]:
    """What every track decodes first; the sizes of a track's samples and where its chunks lie come in pairs."""
    lengths = [
        struct.unpack_from(">I", data, start + 4)[0] or struct.unpack_from(">I", data, start + 12)[0]
        for name, start, end in boxes
        if name == b"stsz" and end - start >= 16
    ]
    offsets = [
        struct.unpack_from(">I" if name == b"stco" else ">Q", data, start + 8)[0]
        for name, start, end in boxes
        if name in (b"stco", b"co64") and end - start >= (12 if name == b"stco" else 16)
    ]
    if len(offsets) != len(lengths):
        raise PictureError("broken")
    for offset, length in zip(offsets, lengths, strict=True):
        yield data[offset : offset + length]


def _read_grid_size(payload: bytes) -> Iterator[tuple[int, int]]:
    if len(payload) < 8:
        raise PictureError("truncated")
    large = payload[1] & 1
    if large and len(payload) < 12:
        raise PictureError("truncated")
    yield struct.unpack_from(">II" if large else ">HH", payload, 4)


def _read_coded_sizes(payload: bytes, budget: list[int]) -> Iterator[tuple[int, int]]:
    """The sizes that the sequence headers of a stream of OBUs declare; no frame may override them."""
    position, sequence = 0, None
    while position < len(payload):
        budget[0] -= 1
        if budget[0] < 0:
            raise PictureError("broken")
        header = payload[position]
        kind, extended, sized = header >> 3 & 15, header >> 2 & 1, header >> 1 & 1
        position += 1 + extended
        length = len(payload) - position
        if sized:
            length, position = _read_leb128(payload, position)
        body = payload[position : position + min(length, 256)]
        if kind == _SEQUENCE:
            sequence = _Sequence(_Bits(body))
            yield sequence.width, sequence.height
        elif kind in (_FRAME_HEADER, _FRAME) and (sequence is None or sequence.overrides_size(_Bits(body))):
            raise PictureError("broken", "a frame of the picture differs in size from the picture")
        position += length


def _read_leb128(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        if position >= len(data):
            raise PictureError("truncated")
        byte = data[position]
        position += 1
        value |= (byte & 127) << 7 * place
        if not byte & 128:
            return value, position
    raise PictureError("broken")


class _Fields:
    """Reader of big-endian numbers."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self._at, self._end = data, start, end

    def number(self, width: int) -> int:
        value = self._data[self._at : min(self._at + width, self._end)]
        if len(value) < width:
            raise PictureError("truncated")
        self._at += width
        return int.from_bytes(value, "big")


class _Bits:
    """Bit reader, most significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, width: int = 1) -> int:
        if width > self._left:
            raise PictureError("truncated")
        self._left -= width
        return self._value >> self._left & (1 << width) - 1

    def skip_uvlc(self) -> None:
        zeros = 0
        while not self.take():
            zeros += 1
        self.take(zeros if zeros < 32 else 0)


class _Sequence:
    """A sequence header, as far as frame headers depend on it (AV1 5.5)."""

    def __init__(self, bits: _Bits) -> None:
        bits.take(3)
        bits.take()
        self.reduced = bool(bits.take())
        self._time_bits = 0
        if self.reduced:
            bits.take(5)
        else:
            self._take_operating_points(bits)
        wide, high = bits.take(4) + 1, bits.take(4) + 1
        self.width, self.height = bits.take(wide) + 1, bits.take(high) + 1
        self._id_bits, self._screen, self._integer = 0, 2, 2
        if not self.reduced:
            if bits.take():
                delta = bits.take(4) + 2
                self._id_bits = delta + bits.take(3) + 1
            self._take_tools(bits)

    def _take_operating_points(self, bits: _Bits) -> None:
        decoder_model, delay_bits, equal = 0, 0, 0
        if bits.take():  # timing info
            bits.take(32)
            bits.take(32)
            equal = bits.take()
            if equal:
                bits.skip_uvlc()
            decoder_model = bits.take()
            if decoder_model:
                delay_bits = bits.take(5) + 1
                bits.take(32)
                bits.take(5)
                time_bits = bits.take(5) + 1
                self._time_bits = 0 if equal else time_bits
        initial_delay = bits.take()
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take()
            if decoder_model and bits.take():
                bits.take(2 * delay_bits + 1)
            if initial_delay and bits.take():
                bits.take(4)

    def _take_tools(self, bits: _Bits) -> None:
        bits.take(3)  # superblocks, filter intra, intra edge filter
        bits.take(4)  # compound tools, warped motion, dual filter
        if bits.take():  # order hint
            bits.take(2)
        self._screen = 2 if bits.take() else bits.take()
        self._integer = 2
        if self._screen > 0:
            self._integer = 2 if bits.take() else bits.take()

    def overrides_size(self, bits: _Bits) -> bool:
        """Whether a frame header overrides the size of the sequence (AV1 5.9.2)."""
        if self.reduced or bits.take():  # show_existing_frame: shows one that was decoded before
            return False
        kind, shown = bits.take(2), bits.take()
        if shown:
            bits.take(self._time_bits)
        else:
            bits.take()
        if kind != 3 and not (kind == 0 and shown):
            bits.take()
        bits.take()
        screen = bits.take() if self._screen == 2 else self._screen
        if screen and self._integer == 2:
            bits.take()
        bits.take(self._id_bits)
        return kind == 3 or bool(bits.take())
