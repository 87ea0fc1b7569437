"""Thumbnails: small, made once, never half."""

import pytest
from catalog.picture_files import BAD_FILES, encoded, photo
from PIL import Image

from likewise.catalog.images.thumbnails import thumbnail, thumbnail_path
from likewise.catalog.pictures import Picture, PictureError


def test_a_thumbnail_fits_320_pixels_and_is_made_once(tmp_path):
    original = tmp_path / "original"
    original.write_bytes(encoded(photo(1600, 900), "JPEG"))
    path = thumbnail(Picture("ab12", original), tmp_path / "cache")
    assert path == thumbnail_path("ab12", tmp_path / "cache")
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (320, 180))
    original.unlink()
    assert thumbnail(Picture("ab12", original), tmp_path / "cache") == path
    assert [file.name for file in path.parent.iterdir()] == ["ab12.jpg"]


def test_small_pictures_are_not_enlarged(tmp_path):
    original = tmp_path / "original"
    original.write_bytes(encoded(photo(40, 30)))
    with Image.open(thumbnail(Picture("cd34", original), tmp_path)) as image:
        assert image.size == (40, 30)


def test_a_broken_picture_leaves_no_thumbnail(tmp_path):
    original = tmp_path / "original"
    original.write_bytes(BAD_FILES["truncated.jpg"][0])
    with pytest.raises(PictureError, match="ends too early"):
        thumbnail(Picture("ef56", original), tmp_path)
    assert not thumbnail_path("ef56", tmp_path).exists()
