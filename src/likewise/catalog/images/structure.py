"""What the structure of a picture file would make its reader allocate or repeat, checked before a reader sees it.

Readers take the memory that a header asks for, and walk from part to part however many there are. Width times height
does not bound that: tiles may be larger than their picture, and twenty megabytes hold a million empty parts.
"""

import os
import struct
from typing import BinaryIO

from likewise.catalog.images import tags
from likewise.catalog.images.avif import find_largest_picture
from likewise.catalog.images.picture import PictureError

_MOST_PNG_CHUNKS = 100_000  # at the usual 8 KB, 800 MB
_MOST_PNG_TEXTS = 1_000
_MOST_RIFF_CHUNKS = 100_000
_MOST_JPEG_SEGMENTS = 2_000
_MOST_JPEG_METADATA = 16_000_000  # bytes of profiles, previews and notes before the picture
_MOST_GIF_BLOCKS = 4_000  # of 255 bytes, before the first frame; a reader joins comments in quadratic time
_MOST_JUNK = 10_000  # bytes between the parts of a file
_WIDEST_PIXEL = 64  # bits: four channels of 16
_LONGEST_SKIP = 256  # rows that one code of a run-length encoded BMP may skip


def check_structure(file: BinaryIO, name: str, max_pixels: int) -> None:
    """Refuse a file whose reader would take far more memory or time than its size and its number of pixels suggest.

    Args:
        file: a seekable binary file at any position.
        name: its format, as `sniff` says.
        max_pixels: width times height that may not be exceeded, by tiles and coded pictures either.

    Raises:
        PictureError: "too-many-pixels", "broken" or "truncated".
    """
    checks = {"PNG": _check_png, "JPEG": _check_jpeg, "GIF": _check_gif, "WebP": _check_webp}
    if name in checks:
        checks[name](file)
    elif name == "TIFF":
        _check_tiff(file, max_pixels)
    elif name == "BMP":
        _check_bmp(file, max_pixels)
    elif name == "AVIF":
        check_pixels(*find_largest_picture(file), max_pixels)


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture, or a part of one, that has too many pixels.

    Raises:
        PictureError: "too-many-pixels".
    """
    if width * height > max_pixels:
        raise PictureError(
            "too-many-pixels", f"the picture has {width} × {height} pixels; at most {max_pixels} may be read"
        )


def _check_png(file: BinaryIO) -> None:
    position, chunks, texts = 8, 0, 0
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        chunks += 1
        texts += head[4:] in (b"tEXt", b"zTXt", b"iTXt")
        if chunks > _MOST_PNG_CHUNKS or texts > _MOST_PNG_TEXTS:
            raise _build_error("chunks")
        position += 12 + int.from_bytes(head[:4], "big")


def _check_webp(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    position, chunks = 12, 0
    while position + 8 <= size:
        file.seek(position + 4)
        length = int.from_bytes(file.read(4), "little")
        chunks += 1
        if chunks > _MOST_RIFF_CHUNKS:
            raise _build_error("chunks")
        position += 8 + length + (length & 1)


def _check_jpeg(file: BinaryIO) -> None:
    """Walk over the segments before the picture, as readers do: other bytes between them are passed over."""
    file.seek(2)
    segments = metadata = junk = 0
    exif = b""
    while byte := file.read(1):
        if byte != b"\xff":
            junk += 1
        else:
            while (byte := file.read(1)) == b"\xff":
                junk += 1
            if byte == b"\xda" or not byte:
                break
            if byte == b"\0" or b"\xd0" <= byte <= b"\xd9":
                junk += 1
            else:
                length = int.from_bytes(file.read(2), "big")
                segments += 1
                if byte >= b"\xe0":
                    metadata += length
                segment = file.read(6) if length >= 8 else b""
                if byte == b"\xe1" and segment == b"Exif\0\0":
                    exif += file.read(length - 8)
                else:
                    file.seek(max(0, length - 2) - len(segment), os.SEEK_CUR)
        if segments > _MOST_JPEG_SEGMENTS or metadata > _MOST_JPEG_METADATA or junk > _MOST_JUNK:
            raise _build_error("segments")
    tags.check_exif(exif)


def _check_gif(file: BinaryIO) -> None:
    file.seek(10)
    flags = file.read(1)
    if not flags:
        raise PictureError("truncated")
    file.seek(13 + (3 << (flags[0] & 7) + 1 if flags[0] & 0x80 else 0))
    blocks = junk = 0
    while (byte := file.read(1)) not in (b",", b";", b""):
        if byte != b"!":
            junk += 1
        else:
            file.seek(1, os.SEEK_CUR)
            while (length := file.read(1)) not in (b"\0", b""):
                file.seek(length[0], os.SEEK_CUR)
                blocks += 1
                if blocks > _MOST_GIF_BLOCKS:
                    raise _build_error("blocks")
            blocks += 1
        if junk > _MOST_JUNK or blocks > _MOST_GIF_BLOCKS:
            raise _build_error("blocks")


def _check_tiff(file: BinaryIO, max_pixels: int) -> None:
    found = tags.read_tags(file)

    def most(tag: int) -> int:  # where a tag comes twice, readers differ in which they believe
        return max(found.get(tag, []), default=1)

    check_pixels(most(tags.WIDTH), most(tags.HEIGHT), max_pixels)
    check_pixels(most(tags.TILE_WIDTH), most(tags.TILE_HEIGHT), max_pixels)
    if most(tags.BITS) * most(tags.SAMPLES) > _WIDEST_PIXEL:
        raise PictureError("broken", "the picture has more bits a pixel than any format that is read")


def _check_bmp(file: BinaryIO, max_pixels: int) -> None:
    file.seek(14)
    header = file.read(20)
    if len(header) < 20 or int.from_bytes(header[:4], "little") < 40:
        return  # of a kind without compression
    width, compression = struct.unpack_from("<I", header, 4)[0], struct.unpack_from("<I", header, 16)[0]
    if compression in (1, 2):
        check_pixels(width, _LONGEST_SKIP, max_pixels)


def _build_error(parts: str) -> PictureError:
    return PictureError("broken", f"the picture consists of more {parts} than any picture needs")
