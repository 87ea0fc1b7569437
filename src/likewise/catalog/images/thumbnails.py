"""Thumbnails for pages, created on first use.

A thumbnail is a JPEG with a comment that holds the SHA-256 of its picture's key and its own bytes: one that was
damaged, or lies under another name than its own, is made again.
"""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.catalog.images.decode import MAX_PIXELS, check_picture, open_picture, open_regular_file
from likewise.catalog.images.formats import HEADER_BYTES, sniff
from likewise.catalog.images.picture import PictureError, check_key
from likewise.files import make_folder, write_file

if TYPE_CHECKING:
    from likewise.catalog.images.picture import Picture

SIDE = 320  # pixels, of the longer side
_QUALITY = 85
_MOST_BYTES = 1_000_000
_START = b"\xff\xd8"
_COMMENT = b"\xff\xfe\x00\x2alikewise"  # 2 bytes of length, 8 of the name, 32 of the digest
_SEALED = len(_START) + len(_COMMENT) + 32


def thumbnail_path(key: str, cache: Path) -> Path:
    """The path of the thumbnail of the picture with this SHA-256, whether or not it exists.

    Raises:
        PictureError: the key is none.
    """
    return cache / "thumbnails" / check_key(key)[:2] / f"{key}.jpg"


def find_thumbnail(key: str, cache: Path) -> Path | None:
    """Find the thumbnail of the picture with this SHA-256, if it exists and is intact."""
    path = thumbnail_path(key, cache)
    try:
        if path.is_symlink():
            return None
        with open_regular_file(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except (PictureError, OSError):
        return None
    return path if len(data) <= _MOST_BYTES and data[:_SEALED] == _seal(key, _START + data[_SEALED:]) else None


def make_thumbnail(picture: "Picture", cache: Path, max_pixels: int = MAX_PIXELS) -> Path:
    """Make a JPEG of at most 320 × 320 pixels in the cache, unless it exists.

    Args:
        picture: small ones keep their size.
        cache: the cache folder of the catalogue.
        max_pixels: width times height of the original that may not be exceeded.

    Raises:
        PictureError: the picture cannot be decoded, or its file no longer has the bytes that its key names.
        UserError: the cache cannot be written.
    """
    path = find_thumbnail(picture.key, cache)
    if path is None:
        image = open_picture(picture.path, minimum_side=SIDE, max_pixels=max_pixels, key=picture.key)
        image.thumbnail((SIDE, SIDE))
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=_QUALITY)
        path = _write(picture.key, encoded.getvalue(), cache)
    return path


def add_thumbnail(key: str, jpeg: bytes, cache: Path) -> bool:
    """Add a thumbnail from another source to the cache; False if it is not a JPEG of at most 320 × 320 pixels.

    Raises:
        PictureError: the key is none.
        UserError: the cache cannot be written.
    """
    check_key(key)
    try:
        if len(jpeg) > _MOST_BYTES or sniff(jpeg[:HEADER_BYTES]) != "JPEG":
            return False
        check_picture(io.BytesIO(jpeg), SIDE * SIDE)
    except PictureError:
        return False
    if jpeg[: len(_START) + len(_COMMENT)] == _START + _COMMENT:
        jpeg = _START + jpeg[_SEALED:]
    _write(key, jpeg, cache)
    return True


def _write(key: str, jpeg: bytes, cache: Path) -> Path:
    path = thumbnail_path(key, cache)
    make_folder(path.parent)
    write_file(path, _seal(key, jpeg) + jpeg[len(_START) :], durable=False)
    return path


def _seal(key: str, jpeg: bytes) -> bytes:
    """The first bytes of a thumbnail, with its checksum."""
    return _START + _COMMENT + hashlib.sha256(key.encode() + jpeg).digest()
