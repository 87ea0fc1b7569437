"""Resolution of picture sources to verified local files."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from likewise.catalog.images.decode import MAX_PIXELS, check_file_size, check_picture, open_picture, translate_errors
from likewise.catalog.images.embedded import EmbeddedPictures
from likewise.catalog.images.finder import Medium, find_usable, forget_changed
from likewise.catalog.images.network import PICTURES
from likewise.catalog.images.picture import Picture, PictureError
from likewise.catalog.report import Report
from likewise.config import ImageSettings

_FOLDER = "pictures"


def resolve_pictures(
    sources: Sequence[Sequence[str]],
    *,
    base: Path | str,
    settings: ImageSettings,
    cache: Path,
    report: Report,
    names: Sequence[str] | None = None,
    embedded: EmbeddedPictures | None = None,
) -> list[tuple[Picture, ...]]:
    """Find, and download if necessary, the first usable pictures of every row.

    Pictures are checked by their header and their end; only those with an odd end are decoded. Arguments, result and
    errors are those of `find_usable`.
    """
    medium = Medium(
        noun="picture",
        folder=_FOLDER,
        accept=PICTURES,
        build=Picture,
        check=partial(check_picture, max_pixels=settings.max_pixels),
        check_size=partial(check_file_size, max_pixels=settings.max_pixels),
        translate_errors=translate_errors,
        most=settings.max_pixels,
        exceeds="too-many-pixels",
        causes_of_limits=("too-many-pixels",),
        limits=f"{settings.max_pixels}",
    )
    return find_usable(
        sources,
        medium,
        base=base,
        settings=settings,
        cache=cache,
        report=report,
        names=names,
        embedded=embedded,
    )


def open_unchanged(
    picture: Picture, cache: Path, minimum_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode a picture after verifying its bytes against its key; see `open_picture`.

    Where they are not, what the cache knows of the file is forgotten, so that the next run looks at it, or downloads
    it, anew.

    Raises:
        PictureError: "changed" for a local file, "damaged-copy" for one of the cache, or another cause.
    """
    try:
        return open_picture(picture.path, minimum_side, max_pixels, picture.key)
    except PictureError as error:
        if error.cause != "changed":
            raise
    raise PictureError(forget_changed(picture, cache / _FOLDER))
