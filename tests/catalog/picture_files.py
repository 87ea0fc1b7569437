"""Picture files that tests share: good ones, and every kind of bad one."""

import io
import struct
import zlib

from PIL import Image


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """A colourful picture; different for every seed."""
    picture = Image.radial_gradient("L").resize((width, height))
    return Image.merge("RGB", (picture, picture.rotate(90), picture.point(lambda value: (value + 37 * seed) % 256)))


def png_claiming(width: int, height: int) -> bytes:
    """A tiny PNG file whose header promises a huge picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def webp_claiming(width: int, height: int) -> bytes:
    """A WebP file of a few bytes whose header promises a huge canvas."""
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4)
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + bytes(32)
    return b"RIFF" + struct.pack("<I", len(body)) + body


JPEG = encoded(photo(200, 160), "JPEG")
PNG = encoded(photo())

# name → bytes, and the cause under which they are counted
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "empty-file"),
    "text.jpg": (b"this is no picture, whatever its name says\n", "not-a-picture"),
    "page.jpg": (b"<!doctype html><html><body>Not found <svg></svg></body></html>", "not-a-picture"),
    "program.png": (b"\x7fELF" + bytes(200), "not-a-picture"),
    "zeros.gif": (bytes(5000), "not-a-picture"),
    "drawing.svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "format-not-allowed"),
    "document.png": (b"%PDF-1.7 and so on", "format-not-allowed"),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "format-not-allowed"),
    "phone.jpg": (b"\0\0\0\x18ftypheic" + bytes(64), "format-not-allowed"),
    "tracking.gif": (encoded(Image.new("P", (1, 1)), "GIF"), "too-small"),
    "spacer.png": (encoded(Image.new("RGB", (600, 1))), "too-small"),
    "bomb.png": (png_claiming(50_000, 50_000), "too-many-pixels"),
    "bomb.webp": (webp_claiming(16_000, 16_000), "too-many-pixels"),
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "truncated"),
    "truncated.png": (PNG[: len(PNG) // 2], "truncated"),
    "header-only.jpg": (JPEG[:4], "broken"),
    "truncated.webp": (encoded(photo(), "WEBP")[:200], "broken"),
    "damaged.png": (PNG[:12] + b"\xff" * 30 + PNG[42:], "broken"),
    "damaged.tif": (b"II*\x00" + b"\xff" * 64, "broken"),
}
