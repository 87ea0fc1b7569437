"""Small picture files that would cost their reader far more than their header says, built by hand."""

import struct
import zlib

from catalog.picture_files import encoded, photo
from PIL import Image

SHORT, LONG = 3, 4  # types of TIFF values


def tiff(entries: dict[int, tuple[int, int, bytes]] | list[tuple[int, int, int, bytes]], rest: bytes = b"") -> bytes:
    """A little-endian TIFF file of one directory: tag, type, number of values, and four bytes of values or offset."""
    rows = [(tag, *entry) for tag, entry in entries.items()] if isinstance(entries, dict) else entries
    table = b"".join(struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0") for tag, kind, count, value in rows)
    return b"II*\0" + struct.pack("<IH", 8, len(rows)) + table + bytes(4) + rest


def number(value: int) -> tuple[int, int, bytes]:
    """A TIFF entry of one number."""
    return LONG, 1, struct.pack("<I", value)


def tiff_with_a_huge_tile(side: int, of: int = 64) -> bytes:
    """A picture of `of` × `of` pixels in one deflated tile of `side` × `side`, which is all black."""
    tile = zlib.compress(bytes(side * side), 9)
    tags = {256: number(of), 257: number(of), 258: number(8), 259: number(8), 262: number(1), 277: number(1)}
    tags |= {322: number(side), 323: number(side)}
    offset = 8 + 2 + 12 * (len(tags) + 2) + 4
    return tiff(tags | {324: number(offset), 325: number(len(tile))}, tile)


def overlapping_tags(size: int, number_of_tags: int) -> bytes:
    """A TIFF block whose tags all point at the same bytes, nearly all of the block."""
    start = 8 + 2 + 12 * number_of_tags + 4
    value = struct.pack("<I", start)
    rows = [(60_000 + tag, 7, size - start, value) for tag in range(number_of_tags)]
    return tiff(rows, bytes(size - start))


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    """A good JPEG file with more segments before its picture: marker and content."""
    data = encoded(photo(), "JPEG")
    more = b"".join(struct.pack(">BBH", 255, marker, len(content) + 2) + content for marker, content in segments)
    return data[:2] + more + data[2:]


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A good PNG file with more chunks before its pixels."""
    data = encoded(photo())
    more = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return data[:33] + more + data[33:]


def gif_with_comments(count: int, length: int) -> bytes:
    """A good GIF file with comments of `length` × 255 bytes before its frame."""
    data = encoded(photo().convert("P"), "GIF")
    flags = data[10]
    start = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    comment = b"!\xfe" + (b"\xff" + b"x" * 255) * length + b"\0"
    return data[:start] + comment * count + data[start:]


def webp_with_chunks(count: int) -> bytes:
    """A good WebP file with more chunks than any needs."""
    data = encoded(photo(), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    data += (b"UNKN" + bytes(4)) * count
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def bmp_that_skips(width: int, height: int = 8) -> bytes:
    """A run-length encoded BMP whose one code skips 255 rows."""
    pixels = b"\0\x02\xff\xff" + b"\0\1"
    offset = 14 + 40 + 1024
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + head + bytes(1024) + pixels


def avif_declaring(width: int, height: int, coded: tuple[int, int]) -> bytes:
    """An AVIF file whose boxes declare another size than its AV1 data has."""
    data = encoded(Image.new("RGB", coded), "AVIF", speed=10)
    assert data.count(struct.pack(">II", *coded)) == 1
    return data.replace(struct.pack(">II", *coded), struct.pack(">II", width, height))


def avif_sequence(size: tuple[int, int]) -> bytes:
    """An animated AVIF file, whose boxes all declare 64 × 64."""
    frames = [Image.new("RGB", size, colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:], speed=10)
    data = data.replace(struct.pack(">II", *size), struct.pack(">II", 64, 64))
    data = data.replace(struct.pack(">HH", *size), struct.pack(">HH", 64, 64))
    return data.replace(struct.pack(">II", size[0] << 16, size[1] << 16), struct.pack(">II", 64 << 16, 64 << 16))
