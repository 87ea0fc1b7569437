"""Allowed picture formats, recognised by their first bytes and never by name."""

import struct
from typing import BinaryIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from likewise.catalog.images.picture import PictureError
from likewise.catalog.images.structure import check_pixels, check_structure

HEADER_BYTES = 1024  # enough to name a format, and to tell an SVG behind its XML preamble

_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
if features.check("avif"):
    _READERS["AVIF"] = AvifImagePlugin.AvifImageFile

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)
# Pictures of a kind that is not read: vectors and documents run programs of a sort, the others have no decoder here.
_REFUSED = (b"8BPS", b"%!PS", b"%PDF", b"\x00\x00\x01\x00", b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51", b"\xff\x0a")


def sniff(header: bytes) -> str:
    """Name the format of a file from its first `HEADER_BYTES` bytes.

    Raises:
        PictureError: the file is empty, is a picture of a format that is not allowed, or is no picture.
    """
    if not header:
        raise PictureError("empty-file")
    for signature, name in _SIGNATURES:
        if header.startswith(signature):
            return name
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return "WebP"
    if header[4:8] == b"ftyp":
        if header[8:12] in (b"avif", b"avis") and "AVIF" in _READERS:
            return "AVIF"
        raise PictureError("format-not-allowed")
    if header.startswith(_REFUSED) or _is_svg(header.lower()):
        raise PictureError("format-not-allowed")
    raise PictureError("not-a-picture")


def _is_svg(header: bytes) -> bool:
    return b"<svg" in header and b"<html" not in header and b"<!doctype html" not in header


def open_lazily(file: BinaryIO, max_pixels: int) -> ImageFile.ImageFile:
    """Read the header of a picture and check its size; pixels are decoded when the result is loaded.

    The reader of the sniffed format is called directly: `Image.open` would guard its size with a limit that is global
    to the process, and would try other formats.

    Args:
        file: a seekable binary file at any position.
        max_pixels: width times height that may not be exceeded.

    Raises:
        PictureError: the file is no picture, its format is not allowed, or it has too many pixels, or parts.
        SyntaxError, OSError, ValueError: the reader found the header damaged.
    """
    file.seek(0)
    header = file.read(HEADER_BYTES)
    name = sniff(header)
    if name == "WebP":
        check_pixels(*_read_webp_canvas(header), max_pixels)
    check_structure(file, name, max_pixels)
    file.seek(0)
    image = _READERS[name](file)
    check_pixels(*image.size, max_pixels)
    return image


def _read_webp_canvas(header: bytes) -> tuple[int, int]:
    """Width and height from a WebP header; its decoder allocates the whole canvas before it would tell them."""
    if len(header) < 30:
        raise PictureError("truncated")
    kind = header[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(header[start : start + 3], "little") + 1 for start in (24, 27))
    elif kind == b"VP8L":
        packed = int.from_bytes(header[21:25], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", header[26:30]))
    else:
        raise PictureError("broken")
    return width, height
