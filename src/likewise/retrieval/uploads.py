"""Pictures and recordings that were uploaded with an item, kept in the run under the SHA-256 of their bytes.

RUN/pictures/<sha256>.jpg     by the format of its bytes; one that no item has any more may stay
RUN/recordings/<sha256>.ogg   likewise
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from likewise.catalog.images.decode import decode_bytes
from likewise.catalog.images.formats import HEADER_BYTES, sniff
from likewise.catalog.images.picture import FoundFile, PictureError, compute_key
from likewise.config import ImageSettings
from likewise.files import make_folder, write_file

_ENDINGS = {"JPEG": "jpg", "PNG": "png", "WebP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif"}
Found = TypeVar("Found", bound=FoundFile)

_DECODED_SIDE = 64  # pixels; a check need not make more of a JPEG


def check_upload(data: bytes, images: ImageSettings) -> str:
    """See that bytes are a picture within the limits, by decoding it; returns the name of its file.

    Raises:
        PictureError: they are not; `cause` says why.
    """
    if len(data) > images.max_bytes:
        raise PictureError("too-large")
    kind = sniff(data[:HEADER_BYTES])
    decode_bytes(data, _DECODED_SIDE, images.max_pixels)
    return f"{compute_key(data)}.{_ENDINGS[kind]}"


def keep_file(build: Callable[[str, Path], Found], data: bytes, name: str, folder: Path) -> Found:
    """Write a checked upload into a folder, unless it is there; on the disk when this returns.

    Args:
        build: makes what is returned, of the file's key and path.
        name: the key and an ending, as `check_upload` gives it.

    Raises:
        UserError: the folder cannot be written.
    """
    path = folder.absolute() / name
    if not _holds(path, data):
        make_folder(path.parent)
        write_file(path, data)
    return build(path.stem, path)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False
