"""Files and bytes from untrusted places → upright RGB pictures, or one named cause why not."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image, ImageFile, JpegImagePlugin

from likewise.catalog.images.colour import to_rgb
from likewise.catalog.images.formats import open_lazily
from likewise.catalog.images.picture import PictureError, compute_key
from likewise.catalog.images.structure import check_pixels
from likewise.catalog.images.tags import check_exif

MAX_PIXELS = 64_000_000
SMALLEST_SIDE = 4  # pixels: what is smaller is a tracking pixel or a spacer
_LONGEST_SIDE = 250  # times the shorter one: resizing the shorter side of a longer strip would take gigabytes
_MOST_SCANS = 100  # of a progressive JPEG; encoders write about ten, and each costs a pass over the whole picture
_LARGEST_PIXEL = 8  # bytes: four channels of 16 bits
_HEADER_ALLOWANCE = 1_000_000  # bytes of profiles and previews beside the pixels
_TAIL = 65_536
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))
_FOLDER_FLAGS = sum(getattr(os, name, 0) for name in ("O_PATH", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC"))
LONGEST_PATH = 32_767  # characters: no system opens a longer one

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_picture(
    path: str | Path, minimum_side: int | None = None, max_pixels: int = MAX_PIXELS, key: str | None = None
) -> Image.Image:
    """Decode a picture file, upright and in RGB; the first frame of an animation.

    Args:
        path: a regular file; anything else (a pipe, a device) is refused without being read.
        minimum_side: pixels that the shorter side must have at least. Large pictures are then returned reduced, JPEGs
            being decoded at reduced scale, which is several times quicker. None: full size.
        max_pixels: width times height that may not be exceeded.
        key: SHA-256 that the bytes must have, in hexadecimal digits: the bytes that are checked are those that are
            decoded. None: any.

    Raises:
        PictureError: the file cannot be read, is damaged, is too large or is no picture; `cause` says which.
    """
    with open_regular_file(path) as file:
        check_file_size(file, max_pixels)
        with translate_errors():
            data = file.read()
    if key is not None and compute_key(data) != key:
        raise PictureError("changed")
    return decode_bytes(data, minimum_side, max_pixels)


def decode_bytes(data: bytes, minimum_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture held in memory; arguments, result and errors are those of `open_picture`."""
    with translate_errors():
        image = _open_checked(io.BytesIO(data), max_pixels)
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            if data.count(b"\xff\xda") > _MOST_SCANS:
                raise PictureError("broken")
            if minimum_side is not None:
                image.draft(None, (minimum_side, minimum_side))
        image.load()
        check_pixels(*image.size, max_pixels)  # no reader may find more pixels than its header has promised
        return _reduce(_rotate_upright(image, to_rgb(image)), minimum_side)


def decode_stream(file: BinaryIO, minimum_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture from an open binary file, of which no more is read than any picture of `max_pixels` needs."""
    data = file.read(_compute_largest_file(max_pixels) + 1)
    if len(data) > _compute_largest_file(max_pixels):
        raise PictureError("too-large")
    return decode_bytes(data, minimum_side, max_pixels)


def check_picture(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> int:
    """Check that a file is a usable picture by its header and its end, decoding it only if its end looks wrong.

    Returns:
        Its number of pixels.

    Raises:
        PictureError: it is not usable; `cause` says why.
    """
    with translate_errors():
        image = _open_checked(file, max_pixels)
        pixels = image.width * image.height
        if not _looks_complete(file, image.format):
            file.seek(0)
            decode_bytes(file.read(), SMALLEST_SIDE, max_pixels)
        return pixels


def open_regular_file(path: str | Path, root: Path | None = None) -> io.BufferedReader:
    """Open a regular file for reading; never waits on a pipe and never touches a device.

    Args:
        path: a file; without `root`, a link to one is followed.
        root: the file must lie below this folder, and no part of its path below it may be a link; None: anywhere.

    Raises:
        PictureError: there is no such file, it may not be read, or it is not a regular file.
    """
    if len(os.fspath(path)) > LONGEST_PATH:  # a `data:` URI, perhaps, that would be split at every slash
        raise PictureError("malformed-source")
    try:
        real, mode = os.fspath(path), os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            if root is not None:  # a loop, or swapped since links were resolved
                raise PictureError("no-file")
            real = os.path.realpath(path, strict=True)
            mode = os.lstat(real).st_mode
        if not stat.S_ISREG(mode):
            raise PictureError("not-a-file")
        # Between the two calls the file may be swapped for a link, or for a pipe, whose writer must not be waited for.
        descriptor = os.open(real, _FLAGS) if root is None else _open_below(root, real)
    except ValueError:  # a NUL byte or a lone surrogate in the name
        raise PictureError("malformed-source") from None
    except PermissionError:
        raise PictureError("unreadable") from None
    except OSError:
        raise PictureError("no-file") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PictureError("not-a-file")
    return os.fdopen(descriptor, "rb")


def _open_below(root: Path, path: str) -> int:
    """Open a file below a folder, part by part, so that no part can be a link by the time it is opened."""
    folder = os.path.realpath(root)
    if not Path(path).is_relative_to(folder):
        raise PictureError("outside-root")
    *parts, name = Path(path).relative_to(folder).parts
    if os.open not in os.supports_dir_fd:
        return _open_and_compare(path)
    descriptor = os.open(folder, _FOLDER_FLAGS)
    try:
        for part in parts:
            above, descriptor = descriptor, os.open(part, _FOLDER_FLAGS, dir_fd=descriptor)
            os.close(above)
        return os.open(name, _FLAGS, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _open_and_compare(path: str) -> int:
    """Open a file and see afterwards that its path leads to it without links, where folders cannot be held open."""
    descriptor = os.open(path, _FLAGS)
    if os.path.realpath(path) == path and os.path.samestat(os.fstat(descriptor), os.lstat(path)):
        return descriptor
    os.close(descriptor)
    raise PictureError("no-file")


def check_file_size(file: BinaryIO, max_pixels: int) -> os.stat_result:
    """Refuse a file that is larger than any picture of `max_pixels` pixels; its size and times.

    Raises:
        PictureError: "too-large" or "empty-file".
    """
    status = os.fstat(file.fileno())
    if status.st_size == 0:
        raise PictureError("empty-file")
    if status.st_size > _compute_largest_file(max_pixels):
        raise PictureError("too-large")
    return status


def _compute_largest_file(max_pixels: int) -> int:
    return max_pixels * _LARGEST_PIXEL + _HEADER_ALLOWANCE


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn whatever a picture reader raises inside the block into a `PictureError`."""
    try:
        yield
    except PictureError:
        raise
    except Image.DecompressionBombError:  # a GIF whose frame is larger than its header says
        raise PictureError("too-many-pixels") from None
    except Exception as error:  # readers are written for whole files; a damaged one surfaces as nearly anything
        raise PictureError("truncated" if "truncated" in str(error).lower() else "broken") from None


def _open_checked(file: BinaryIO, max_pixels: int) -> ImageFile.ImageFile:
    image = open_lazily(file, max_pixels)
    if min(image.size) < SMALLEST_SIDE:
        raise PictureError("too-small")
    if max(image.size) > _LONGEST_SIDE * min(image.size):
        raise PictureError("too-long")
    return image


def _looks_complete(file: BinaryIO, format_name: str | None) -> bool:
    """Whether the end of a file is what its format ends with; formats without a fixed end always look complete."""
    size = file.seek(0, os.SEEK_END)
    if format_name == "JPEG":
        file.seek(max(0, size - _TAIL))
        tail = file.read()
        return tail.rfind(b"\xff\xd9") > tail.rfind(b"\xff\xda")
    if format_name == "PNG":
        file.seek(max(0, size - _TAIL))
        return b"IEND" in file.read()
    if format_name == "WEBP":
        file.seek(4)
        return int.from_bytes(file.read(4), "little") + 8 <= size
    return True


def _rotate_upright(original: ImageFile.ImageFile, image: Image.Image) -> Image.Image:
    if original.format == "JPEG" and "exif" not in original.info and "xmp" not in original.info:
        return image
    try:
        block = original.info.get("exif")
        if block is None and "Raw profile type exif" in original.info:  # as ImageMagick writes it into PNGs
            block = bytes.fromhex("".join(original.info["Raw profile type exif"].split("\n")[3:]))
        check_exif(block or b"")
        turn = _TURNS.get(original.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the tags are a courtesy: a picture with damaged ones is still a picture
        return image
    return image if turn is None else image.transpose(turn)


def _reduce(image: Image.Image, minimum_side: int | None) -> Image.Image:
    factor = min(image.size) // minimum_side if minimum_side else 1
    return image.reduce(factor) if factor > 1 else image
