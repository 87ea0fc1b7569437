"""Directories of TIFF tags, in TIFF files and in EXIF blocks, read without trusting what they say of themselves."""

import io
import struct
from collections import defaultdict
from typing import BinaryIO

from likewise.catalog.images.picture import PictureError

WIDTH, HEIGHT, BITS, SAMPLES = 256, 257, 258, 277
TILE_WIDTH, TILE_HEIGHT = 322, 323
_SUBDIRECTORIES = (34665, 34853, 40965)  # EXIF, GPS, interoperability: read together with the directory
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_BYTES = (1, 2, 6, 7)  # types whose values are one string of bytes, not a Python object each
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST_VALUES = 500_000  # of one tag; a strip for every line of the highest picture takes some 260,000
_MOST_TURNS = 3  # how often the values may cover their file: they share no bytes in honest ones
_OVERHEAD = 100_000

Tags = dict[int, list[int]]  # tag → the first values of all its entries, where they are whole numbers


class OversizedTagsError(PictureError):
    """Reading the tags would take far more memory than the file has bytes."""

    def __init__(self) -> None:
        super().__init__("broken", "the tags of the picture would take far more memory than its file")


def read_tags(file: BinaryIO) -> Tags:
    """Read the first directory of a TIFF file or EXIF block, and check that a reader may read it and its parts.

    Raises:
        OversizedTagsError: values overlap so often, or are so many, that reading them would take far more memory.
        PictureError: there is no directory.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    if head[:2] not in (b"II", b"MM") or len(head) < 8:
        raise PictureError("broken")
    big = head[2:4] in (b"+\0", b"\0+")
    first = _unpack(order, "Q" if big else "I", head[8:] if big else head[4:])
    budget = _MOST_TURNS * size + _OVERHEAD
    tags, read = _read_directory(file, first, order, big, size)
    for pointer in (tags[name][0] for name in _SUBDIRECTORIES if tags.get(name)):
        below, more = _read_directory(file, pointer, order, big, size)
        read += more
        for deeper in (below[name][0] for name in _SUBDIRECTORIES if below.get(name)):
            read += _read_directory(file, deeper, order, big, size)[1]
    if read > budget:
        raise OversizedTagsError
    return tags


def check_exif(block: bytes) -> None:
    """Refuse an EXIF block that would unfold to far more than its bytes; a damaged one is left to its readers.

    Raises:
        OversizedTagsError: it would.
    """
    try:
        read_tags(io.BytesIO(block.removeprefix(b"Exif\0\0")))
    except OversizedTagsError:
        raise
    except PictureError:
        return


def _read_directory(file: BinaryIO, offset: int, order: str, big: bool, size: int) -> tuple[Tags, int]:
    """The tags of a directory, and the bytes of all their values."""
    entry, inline = (20, 8) if big else (12, 4)
    if offset >= size:
        return {}, 0
    file.seek(offset)
    count = _unpack(order, "Q" if big else "H", file.read(8 if big else 2))
    table = file.read(min(count * entry, size))
    tags: defaultdict[int, list[int]] = defaultdict(list)
    total = 0
    for start in range(0, len(table) - entry + 1, entry):
        tag, kind = struct.unpack_from(order + "HH", table, start)
        values = _unpack(order, "Q" if big else "I", table[start + 4 : start + 4 + inline])
        if kind not in _SIZES:
            continue
        if values > _MOST_VALUES and kind not in _BYTES:
            raise OversizedTagsError
        length = values * _SIZES[kind]
        data = table[start + entry - inline : start + entry]
        if length > inline:
            where = _unpack(order, "Q" if big else "I", data)
            total += min(length, max(0, size - where))
            if kind in _NUMBERS and where < size:
                file.seek(where)
                data = file.read(min(length, 64))
            else:
                continue
        if kind in _NUMBERS:
            step = _SIZES[kind]
            whole = range(0, min(len(data), length) - step + 1, step)
            tags[tag] += [struct.unpack_from(order + _NUMBERS[kind], data, at)[0] for at in whole]
    return dict(tags), total


def _unpack(order: str, kind: str, data: bytes) -> int:
    width = struct.calcsize(order + kind)
    if len(data) < width:
        raise PictureError("truncated")
    value: int = struct.unpack(order + kind, data[:width])[0]
    return value
