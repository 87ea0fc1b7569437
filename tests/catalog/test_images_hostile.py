"""Pictures as hostile shops serve them: each is a picture or one named cause, within bounds of time and memory."""

import io
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from catalog import hostile_pictures as hostile
from catalog.picture_files import JPEG, PNG, encoded, photo, png_claiming, webp_claiming
from PIL import Image, ImageCms

from likewise.catalog.doctor import check_catalog
from likewise.catalog.images.decode import check_picture, decode_bytes
from likewise.catalog.images.picture import PictureError
from likewise.catalog.report import PICTURE_CAUSES
from likewise.config import ImageSettings
from likewise.progress import quiet

MAX_PIXELS = 4_000_000
ANY = "any"  # a picture or not, as the decoder's version likes
Tags = dict[int, tuple[int, int, bytes]]

GIF = encoded(photo().convert("P"), "GIF")
WEBP = encoded(photo(), "WEBP")
BMP = encoded(photo(), "BMP")
TIFF = encoded(photo(), "TIFF")
AVIF = encoded(photo(), "AVIF", speed=10)


def chunk(name: bytes, content: bytes, crc: int | None = None) -> bytes:
    """A chunk of a PNG; `crc`: a wrong checksum."""
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content) if crc is None else crc)
    )


def png(width, height, depth, colour, pixels: bytes, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def rows(count: int, length: int) -> bytes:
    return zlib.compress(bytes((length + 1) * count), 9)


def jpeg_claiming(width: int, height: int, data: bytes = JPEG) -> bytes:
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def gif_claiming(width: int, height: int, frame: tuple[int, int] | None = None) -> bytes:
    data = bytearray(GIF)
    data[6:10] = struct.pack("<HH", width, height)
    if frame:
        at = data.index(b",", 13 + 768)
        data[at + 5 : at + 9] = struct.pack("<HH", *frame)
    return bytes(data)


def gif_of_an_impossible_code() -> bytes:
    at = GIF.index(b",", 781) + 10
    return GIF[:at] + b"\x0f" + GIF[at + 1 :]


def jpeg_of_200_components() -> bytes:
    at = JPEG.index(b"\xff\xc0") + 9
    return JPEG[:at] + b"\xc8" + JPEG[at + 1 :]


def tiff_that_inflates() -> bytes:
    """A TIFF of 64 × 64 pixels, whose strip inflates to 100 MB."""
    data = zlib.compress(bytes(100_000_000), 9)
    tags = {259: hostile.number(8), 273: hostile.number(122), 279: hostile.number(len(data))}
    return tiff_claiming(64, 64, tags=tags, rest=data)


def gif_of_frames(count: int) -> bytes:
    start = 13 + (3 << (GIF[10] & 7) + 1)
    frame = GIF[GIF.index(b",", start) : -1]
    tiny = b",\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    return GIF[:start] + frame + tiny * (count - 1) + b";"


def bmp_claiming(width: int, height: int, bits: int = 24) -> bytes:
    data = bytearray(BMP)
    data[18:26] = struct.pack("<ii", width, height)
    data[28:30] = struct.pack("<H", bits)
    return bytes(data)


def ico_claiming_png() -> bytes:
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(PNG), 22) + PNG


def tiff_claiming(width: int, height: int, tags: Tags | None = None, rest: bytes = b"") -> bytes:
    usual = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 10}
    return hostile.tiff({tag: hostile.number(value) for tag, value in usual.items()} | (tags or {}), rest)


def tiff_in_a_circle() -> bytes:
    """A TIFF whose next directory is its first."""
    data = bytearray(TIFF)
    start = struct.unpack("<I", data[4:8])[0]
    count = struct.unpack("<H", data[start : start + 2])[0]
    end = start + 2 + 12 * count
    data[end : end + 4] = struct.pack("<I", start)
    return bytes(data)


def tiff_of_directories(count: int) -> bytes:
    """A good TIFF with a chain of directories behind its first."""
    data = bytearray(TIFF)
    start = struct.unpack("<I", data[4:8])[0]
    number = struct.unpack("<H", data[start : start + 2])[0]
    at = start + 2 + 12 * number
    data[at : at + 4] = struct.pack("<I", len(data))
    size = 2 + 12 + 4
    base = len(data)
    for position in range(count):
        following = base + size * (position + 1) if position + 1 < count else 0
        data += struct.pack("<HHHIII", 1, 256, 4, 1, 1, following)
    return bytes(data)


def exif_in_a_circle() -> bytes:
    """An EXIF block whose sub-directory is the directory itself."""
    return b"Exif\0\0" + hostile.tiff({34665: hostile.number(8), 34853: hostile.number(8), 274: (3, 1, b"\6\0")})


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(n + struct.pack("<I", len(c)) + c + bytes(len(c) & 1) for n, c in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def vp8x(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def webp_of_frames(count: int) -> bytes:
    frame = WEBP[12:]
    size = (0).to_bytes(3, "little") * 2 + (63).to_bytes(3, "little") + (47).to_bytes(3, "little")
    anmf = (b"ANMF", size + (10).to_bytes(3, "little") + b"\0" + frame)
    return riff(vp8x(64, 48, 2), (b"ANIM", bytes(6)), *[anmf] * count)


def apng_of_frames(count: int) -> bytes:
    control = struct.pack(">IIIIIHHBB", 0, 64, 48, 0, 0, 1, 100, 0, 0)
    ends = b"".join(
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * n + 1, 1, 1, 0, 0, 1, 100, 0, 0))
        + chunk(b"fdAT", struct.pack(">I", 2 * n + 2) + zlib.compress(bytes(4)))
        for n in range(count - 1)
    )
    with_control = PNG[:33] + chunk(b"acTL", struct.pack(">II", count, 0)) + chunk(b"fcTL", control) + PNG[33:-12]
    return with_control + ends + PNG[-12:]


def cmyk(**options) -> bytes:
    return encoded(Image.new("CMYK", (32, 32), (10, 20, 30, 40)), "JPEG", **options)


def progressive(scans: int) -> bytes:
    data = encoded(photo(), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * scans + data[-2:]


def ftyp(brand: bytes, boxes: bytes = b"") -> bytes:
    return struct.pack(">I", 16) + b"ftyp" + brand + bytes(4) + boxes


def nested_boxes(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = struct.pack(">I", len(data) + 8) + b"meta" + data
    return ftyp(b"avif", data)


def parts_without_bytes(items: int) -> bytes:
    """Items of 65,535 parts each, whose places and lengths take no bytes to write down."""
    behind_the_end = 0xFFFFFFFF
    located = bytes(4) + struct.pack(">HH", 4 << 4, items) + struct.pack(">HHIH", 1, 0, behind_the_end, 0xFFFF) * items
    iloc = struct.pack(">I", len(located) + 8) + b"iloc" + located
    return ftyp(b"avif", struct.pack(">I", len(iloc) + 12) + b"meta" + bytes(4) + iloc)


def oriented(*entry: object, rest: bytes = b"") -> bytes:
    """A good JPEG with an orientation of any type."""
    return hostile.jpeg_with((0xE1, b"Exif\0\0" + hostile.tiff({274: entry}, rest)))


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# name → what makes the file, and the cause why it is no picture; None: it is read
HOSTILE: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "jpeg of two bytes": (lambda: b"\xff\xd8", "not-a-picture"),
    "jpeg of three bytes": (lambda: b"\xff\xd8\xff", "broken"),
    "jpeg without a frame": (lambda: b"\xff\xd8\xff\xd9", "broken"),
    "jpeg cut in its header": (lambda: JPEG[:100], "truncated"),
    "jpeg cut in its tables": (lambda: JPEG[:400], "truncated"),
    "jpeg cut in its pixels": (lambda: JPEG[: len(JPEG) * 3 // 4], "truncated"),
    "jpeg cut in its pixels with an end": (lambda: JPEG[: len(JPEG) // 2] + b"\xff\xd9", None),
    "jpeg of 65,535 pixels a side": (lambda: jpeg_claiming(65_535, 65_535), "too-many-pixels"),
    "jpeg of no height": (lambda: jpeg_claiming(200, 0), "broken"),
    "jpeg of more height than pixels": (lambda: jpeg_claiming(200, 9_000), None),
    "jpeg of twelve bits": (lambda: JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), ANY),
    "jpeg of 200 components": (jpeg_of_200_components, "broken"),
    "jpeg without tables": (lambda: JPEG.replace(b"\xff\xc4", b"\xff\xee"), ANY),
    "jpeg without quantization": (lambda: JPEG.replace(b"\xff\xdb", b"\xff\xee"), ANY),
    "jpeg of arithmetic coding": (lambda: JPEG.replace(b"\xff\xc0", b"\xff\xc9"), ANY),
    "jpeg of lossless coding": (lambda: JPEG.replace(b"\xff\xc0", b"\xff\xc3"), ANY),
    "jpeg of 90 scans": (lambda: progressive(90), None),
    "jpeg of 5,000 scans": (lambda: progressive(5_000), "broken"),
    "jpeg with an orientation of 99": (lambda: oriented(3, 1, b"\x63\0"), None),
    "jpeg with an orientation as text": (lambda: oriented(2, 4, b"up!\0"), None),
    "jpeg with 5,000 orientations": (
        lambda: hostile.jpeg_with((0xE1, b"Exif\0\0" + hostile.tiff([(274, 3, 1, b"\6\0")] * 5000))),
        None,
    ),
    "jpeg with exif of noise": (lambda: hostile.jpeg_with((0xE1, b"Exif\0\0" + bytes(range(256)) * 20)), None),
    "jpeg with exif in a circle": (lambda: hostile.jpeg_with((0xE1, exif_in_a_circle())), None),
    "jpeg with a rational orientation of zero": (lambda: oriented(5, 1, struct.pack("<I", 26), rest=bytes(8)), None),
    "jpeg with a profile of noise": (lambda: encoded(photo(), "JPEG", icc_profile=bytes(range(256)) * 40), None),
    "jpeg with half a profile": (lambda: encoded(photo(), "JPEG", icc_profile=PROFILE[:200]), None),
    "jpeg with profile parts out of order": (
        lambda: hostile.jpeg_with((0xE2, b"ICC_PROFILE\0\x05\x02" + b"x" * 100), (0xE2, b"ICC_PROFILE\0")),
        "broken",
    ),
    "jpeg with a broken preview list": (lambda: hostile.jpeg_with((0xE2, b"MPF\0II*\0" + b"\xff" * 40)), None),
    "jpeg with a broken photoshop block": (
        lambda: hostile.jpeg_with((0xED, b"Photoshop 3.0\0" + b"8BIM\xff\xff\xff" * 9)),
        None,
    ),
    "jpeg with xmp of noise": (
        lambda: hostile.jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation='9'")),
        None,
    ),
    "cmyk jpeg": (cmyk, None),
    "cmyk jpeg with a profile of noise": (lambda: cmyk(icc_profile=b"\xff" * 3000), None),
    "cmyk jpeg with an rgb profile": (lambda: cmyk(icc_profile=PROFILE), None),
    "jpeg followed by a zip": (lambda: JPEG + b"PK\3\4" + bytes(100_000), None),
    "jpeg followed by a page": (lambda: JPEG + b"<script>alert(1)</script>" * 1000, None),
    "jpeg that is a page in a comment": (
        lambda: hostile.jpeg_with((0xFE, b"<html><script>alert(1)</script>" * 100)),
        None,
    ),
    "png that is cut in its header": (lambda: PNG[:20], "truncated"),
    "png without pixels": (lambda: PNG[:33] + chunk(b"IEND", b""), "broken"),
    "png with an end but half its pixels": (lambda: png(64, 48, 8, 2, rows(20, 192)), None),
    "png of 2 billion pixels a side": (lambda: png_claiming(2**31 - 1, 2**31 - 1), "too-many-pixels"),
    "png of 4 billion pixels a side": (lambda: png_claiming(2**32 - 1, 2**32 - 1), "too-many-pixels"),
    "png of no width": (lambda: png_claiming(0, 64), "broken"),
    "png of 400 million pixels in 400 kB": (lambda: png(20_000, 20_000, 8, 0, rows(1000, 20_000)), "too-many-pixels"),
    "png whose pixels inflate to more than its size": (
        lambda: png(64, 48, 8, 0, zlib.compress(bytes(30_000_000), 9)),
        None,
    ),
    "png with a profile that inflates to 100 MB": (
        lambda: hostile.png_with((b"iCCP", b"x\0\0" + zlib.compress(bytes(100_000_000), 9))),
        "broken",
    ),
    "png with a text that inflates to 100 MB": (
        lambda: hostile.png_with((b"zTXt", b"x\0\0" + zlib.compress(bytes(100_000_000), 9))),
        "broken",
    ),
    "png with a profile of noise": (lambda: hostile.png_with((b"iCCP", b"x\0\0" + b"noise" * 99)), None),
    "png with a palette of no colours": (lambda: png(16, 16, 8, 3, rows(16, 16), chunk(b"PLTE", b"")), ANY),
    "png without its palette": (lambda: png(16, 16, 8, 3, rows(16, 16)), "broken"),
    "png with two colours and a pixel of the 200th": (
        lambda: png(16, 16, 8, 3, zlib.compress((b"\0" + b"\xc8" * 16) * 16), chunk(b"PLTE", bytes(6))),
        None,
    ),
    "png with half a colour": (lambda: png(16, 16, 8, 3, rows(16, 16), chunk(b"PLTE", bytes(4))), ANY),
    "png with more transparency than palette": (
        lambda: png(16, 16, 8, 3, rows(16, 16), chunk(b"PLTE", bytes(6)), chunk(b"tRNS", bytes(900))),
        None,
    ),
    "png with transparency of one byte": (lambda: png(16, 16, 16, 2, rows(16, 96), chunk(b"tRNS", b"x")), "broken"),
    "png of 16 bits": (lambda: png(16, 16, 16, 0, rows(16, 32)), None),
    "png of 16 bits with alpha": (lambda: png(16, 16, 16, 6, rows(16, 128)), None),
    "png of 7 bits": (lambda: png(16, 16, 7, 0, rows(16, 16)), "broken"),
    "png of an unknown filter": (lambda: png(16, 16, 8, 0, zlib.compress((b"\x09" + bytes(16)) * 16)), "broken"),
    "png with wrong checksums": (lambda: PNG[:33] + chunk(b"gAMA", bytes(4), crc=1) + PNG[33:], "broken"),
    "png with a chunk of 4 GB": (lambda: PNG[:33] + struct.pack(">I", 2**32 - 1) + b"tEXt" + bytes(100), "truncated"),
    "png with a second header": (
        lambda: PNG[:33] + chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)) + PNG[33:],
        "too-many-pixels",
    ),
    "png with exif of noise": (lambda: hostile.png_with((b"eXIf", bytes(range(256)) * 20)), None),
    "png with exif as broken text": (
        lambda: hostile.png_with((b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  9\nzz\n"))),
        None,
    ),
    "png of 100,000 frames": (lambda: apng_of_frames(100_000), "broken"),
    "png of 40,000 frames": (lambda: apng_of_frames(40_000), None),
    "png followed by a program": (lambda: PNG + b"MZ" + bytes(100_000), None),
    "gif of a signature": (lambda: b"GIF89a", "truncated"),
    "gif without frames": (lambda: GIF[: 13 + 768] + b";", "truncated"),
    "gif cut in its palette": (lambda: GIF[:300], "truncated"),
    "gif cut in its pixels": (lambda: GIF[: len(GIF) - 500], "truncated"),
    "gif of 65,535 pixels a side": (lambda: gif_claiming(65_535, 65_535), "too-many-pixels"),
    "gif whose frame is larger than it": (lambda: gif_claiming(64, 48, (60_000, 60_000)), "truncated"),
    "gif of 100,000 frames": (lambda: gif_of_frames(100_000), None),
    "gif of no width": (lambda: gif_claiming(0, 48), ANY),
    "gif of an impossible code size": (gif_of_an_impossible_code, "broken"),
    "gif without a palette": (lambda: GIF[:10] + bytes([GIF[10] & 0x7F]) + GIF[11:13] + GIF[13 + 768 :], ANY),
    "webp of twelve bytes": (lambda: WEBP[:12], "truncated"),
    "webp cut in its pixels": (lambda: WEBP[: len(WEBP) // 2], "broken"),
    "webp of 16,383 pixels a side": (lambda: webp_claiming(16_383, 16_383), "too-many-pixels"),
    "webp whose canvas is 2^24 pixels a side": (
        lambda: riff(vp8x(2**24, 2**24), (WEBP[12:16], WEBP[20:])),
        "too-many-pixels",
    ),
    "webp whose canvas is not its picture's": (lambda: riff(vp8x(640, 480), (WEBP[12:16], WEBP[20:])), "broken"),
    "webp of an unknown kind": (lambda: riff((b"VP9 ", bytes(100))), "broken"),
    "webp of 100,000 frames": (lambda: webp_of_frames(100_000), "broken"),
    "webp of 5,000 frames": (lambda: webp_of_frames(5_000), None),
    "webp with a profile of noise": (lambda: encoded(photo(), "WEBP", icc_profile=b"noise" * 100), None),
    "webp with exif of noise": (lambda: encoded(photo(), "WEBP", exif=b"Exif\0\0" + b"\xff" * 500), None),
    "bmp of a header": (lambda: BMP[:14], "broken"),
    "bmp of 2 billion pixels a side": (lambda: bmp_claiming(2**31 - 1, 2**31 - 1), "too-many-pixels"),
    "bmp of negative sides": (lambda: bmp_claiming(-64, -(2**31)), "too-many-pixels"),
    "bmp of 3 bits": (lambda: bmp_claiming(64, 48, 3), "broken"),
    "bmp of 8 bits without a palette": (lambda: bmp_claiming(64, 48, 8), ANY),
    "bmp with a palette of 4 billion colours": (
        lambda: bmp_claiming(64, 48, 8)[:46] + b"\xff" * 4 + BMP[50:],
        "broken",
    ),
    "bmp cut in its pixels": (lambda: BMP[:2000], "truncated"),
    "bmp whose pixels begin at 4 GB": (lambda: BMP[:10] + b"\xff" * 4 + BMP[14:], "truncated"),
    "bmp with masks of noise": (lambda: BMP[:28] + struct.pack("<HI", 32, 3) + bytes([0xAA] * 200), "broken"),
    "tiff of a header": (lambda: TIFF[:8], "broken"),
    "tiff whose directory is beyond its end": (lambda: b"II*\0\xff\xff\xff\x7f", "broken"),
    "tiff of 4 billion pixels a side": (lambda: tiff_claiming(2**32 - 1, 2**32 - 1), "too-many-pixels"),
    "tiff without pixels": (lambda: tiff_claiming(64, 64), "truncated"),
    "tiff of 0 strips": (lambda: hostile.tiff({256: hostile.number(64), 257: hostile.number(64)}), "broken"),
    "tiff in a circle": (tiff_in_a_circle, None),
    "tiff of 100,000 directories": (lambda: tiff_of_directories(100_000), None),
    "tiff whose directory is its header": (lambda: b"II*\0\0\0\0\0" + bytes(100), "broken"),
    "tiff of an unknown compression": (lambda: tiff_claiming(64, 64, tags={259: hostile.number(60_000)}), "broken"),
    "tiff of jpeg without tables": (lambda: tiff_claiming(64, 64, tags={259: hostile.number(7)}, rest=JPEG), "broken"),
    "tiff that deflates to 100 MB": (tiff_that_inflates, None),
    "tiff of 16 bits and a profile of noise": (
        lambda: encoded(Image.new("I;16", (32, 32)), "TIFF", icc_profile=b"noise" * 99),
        None,
    ),
    "tiff with a palette of three colours": (
        lambda: tiff_claiming(8, 8, tags={262: hostile.number(3), 320: (3, 3, struct.pack("<I", 8))}),
        ANY,
    ),
    "tiff of 255 samples": (lambda: tiff_claiming(64, 64, tags={277: hostile.number(255)}), "broken"),
    "big tiff of nothing": (lambda: b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(50), "broken"),
    "avif of a signature": (lambda: ftyp(b"avif"), "truncated"),
    "avif of 10,000 nested boxes": (lambda: nested_boxes(10_000), "broken"),
    "avif of items whose parts take no bytes": (lambda: parts_without_bytes(2_000), "broken"),
    "avif cut in its pixels": (lambda: AVIF[: len(AVIF) - 60], "truncated"),
    "avif of boxes without an end": (lambda: ftyp(b"avif", b"\xff\xff\xff\xffmeta" * 50), "truncated"),
    "icon of 256 pixels": (ico_claiming_png, "format-not-allowed"),
    "icon of 65,535 pictures": (lambda: b"\0\0\1\0\xff\xff" + bytes(1000), "format-not-allowed"),
    "svg": (
        lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='99999999' height='99999999'/>",
        "format-not-allowed",
    ),
    "svg that includes a file": (
        lambda: b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
        "format-not-allowed",
    ),
    "svg of a billion laughs": (
        lambda: b'<!DOCTYPE s [<!ENTITY a "ha">' + b'<!ENTITY b "&a;&a;">' * 20 + b"]><svg>&b;</svg>",
        "format-not-allowed",
    ),
    "page": (lambda: b"<!doctype html><title>Not found</title>", "not-a-picture"),
    "text": (lambda: "Fehler: Bild nicht verfügbar".encode("utf-16"), "not-a-picture"),
    "json": (lambda: b'{"error": "no such picture"}', "not-a-picture"),
    "one byte": (lambda: b"\xff", "not-a-picture"),
    "zeros": (lambda: bytes(100_000), "not-a-picture"),
    "zip": (lambda: b"PK\3\4" + bytes(1000), "not-a-picture"),
    "gzip of a picture": (lambda: zlib.compress(PNG, wbits=31), "not-a-picture"),
    "gif that is a script": (lambda: b"GIF89a/*" + b"*/=1;alert(1)//" * 20, "broken"),
    "bmp that is a script": (lambda: b"BM=1;alert(document.cookie)//" + b" " * 200, "truncated"),
    "byte order mark and a picture": (lambda: b"\xef\xbb\xbf" + PNG, "not-a-picture"),
    "line break and a picture": (lambda: b"\r\n" + JPEG, "not-a-picture"),
}


def outcome(read: Callable[[], object]) -> str | None:
    """The cause why a file is no picture; None: it is one."""
    try:
        read()
    except PictureError as error:
        assert str(error)
        return error.cause
    return None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_picture_or_one_cause(name: str) -> None:
    make, cause = HOSTILE[name]
    data = make()
    started = time.monotonic()
    checked = outcome(lambda: check_picture(io.BytesIO(data), MAX_PIXELS))
    decoded = outcome(lambda: decode_bytes(data, 224, MAX_PIXELS))
    assert time.monotonic() - started < 5
    assert decoded == cause or (cause == ANY and decoded in (None, *PICTURE_CAUSES))
    assert checked in (None, decoded)  # a check reads the header only where the end looks right


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All hostile files as pictures of a catalogue, with names that say nothing."""
    folder = tmp_path_factory.mktemp("hostile")
    for row, (make, _) in enumerate(HOSTILE.values()):
        (folder / f"{row}.jpg").write_bytes(make())
    images = [f"{row}.jpg" for row in range(len(HOSTILE))]
    pl.DataFrame({"id": list(HOSTILE), "title": list(HOSTILE), "image": images}).write_csv(folder / "shop.csv")
    return folder


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_doctor_counts_every_hostile_file(files: Path) -> None:
    with quiet():
        report = check_catalog(
            files / "shop.csv", images=ImageSettings(max_pixels=MAX_PIXELS), cache=files.parent / "hostile-cache"
        )
    expected = Counter(cause for _, cause in HOSTILE.values() if cause not in (None, ANY))
    counted = Counter({cause: report.problems[cause].count for cause in PICTURE_CAUSES if cause in report.problems})
    surplus = counted - expected
    assert not expected - counted
    assert surplus.total() <= sum(cause == ANY for _, cause in HOSTILE.values())
    assert report.usable == len(HOSTILE)


_MEASURE = """
import resource, sys
from pathlib import Path
from likewise.catalog.images import colour
from likewise.catalog.images.decode import PictureError, open_picture
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1024)
before = peak()
for path in sorted(Path(sys.argv[1]).glob("*.jpg")):
    try:
        open_picture(path, max_pixels=int(sys.argv[2]))
    except PictureError:
        pass
print(peak() - before)
"""


def test_hostile_files_take_no_more_memory_than_allowed_pictures(files: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _MEASURE, str(files), str(MAX_PIXELS)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 200  # MB; a picture of 4 million pixels takes up to 84, and its file is read whole
