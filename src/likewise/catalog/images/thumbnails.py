"""Small copies of pictures for pages, made when first asked for."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.catalog.images.cache import write_atomically
from likewise.catalog.images.decode import MAX_PIXELS, open_picture

if TYPE_CHECKING:
    from likewise.catalog.pictures import Picture

SIDE = 320  # pixels, of the longer side
_QUALITY = 85


def thumbnail_path(key: str, cache: Path) -> Path:
    """Where the thumbnail of the picture with this SHA-256 lies, or would lie."""
    return cache / "thumbnails" / key[:2] / f"{key}.jpg"


def thumbnail(picture: "Picture", cache: Path, max_pixels: int = MAX_PIXELS) -> Path:
    """The picture as a JPEG of at most 320 × 320 pixels in the cache, made if it is not there yet.

    Args:
        picture: small ones keep their size.
        cache: the cache folder of the catalogue.
        max_pixels: width times height of the original that may not be exceeded.

    Raises:
        PictureError: the picture cannot be decoded.
        UserError: the cache cannot be written.
    """
    path = thumbnail_path(picture.key, cache)
    if not path.exists():
        image = open_picture(picture.path, minimum_side=SIDE, max_pixels=max_pixels)
        image.thumbnail((SIDE, SIDE))
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=_QUALITY)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, encoded.getvalue(), temporary=path.parent)
    return path
