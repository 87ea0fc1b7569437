"""Thumbnails: small, made once, never half."""

import hashlib

import pytest
from catalog.picture_files import BAD_FILES, encoded, photo
from PIL import Image

from likewise.catalog.images.cache import PictureCache
from likewise.catalog.images.picture import Picture, PictureError
from likewise.catalog.images.thumbnails import add_thumbnail, find_thumbnail, make_thumbnail, thumbnail_path


def picture_of(path, data):
    path.write_bytes(data)
    return Picture(hashlib.sha256(data).hexdigest(), path)


def test_a_thumbnail_fits_320_pixels_and_is_made_once(tmp_path):
    picture = picture_of(tmp_path / "original", encoded(photo(1600, 900), "JPEG"))
    path = make_thumbnail(picture, tmp_path / "cache")
    assert path == thumbnail_path(picture.key, tmp_path / "cache")
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (320, 180))
    picture.path.unlink()
    assert make_thumbnail(picture, tmp_path / "cache") == path
    assert [file.name for file in path.parent.iterdir()] == [f"{picture.key}.jpg"]


def test_small_pictures_are_not_enlarged(tmp_path):
    with Image.open(make_thumbnail(picture_of(tmp_path / "original", encoded(photo(40, 30))), tmp_path)) as image:
        assert image.size == (40, 30)


def test_a_broken_picture_leaves_no_thumbnail(tmp_path):
    picture = picture_of(tmp_path / "original", BAD_FILES["truncated.jpg"][0])
    with pytest.raises(PictureError, match="ends too early"):
        make_thumbnail(picture, tmp_path)
    assert not thumbnail_path(picture.key, tmp_path).exists()


def test_a_damaged_thumbnail_is_made_again(tmp_path):
    picture = picture_of(tmp_path / "original", encoded(photo(600, 400)))
    path = make_thumbnail(picture, tmp_path)
    whole = path.read_bytes()
    places = (0, 9, 20, len(whole) // 2, len(whole) - 1)
    flipped = [bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]) for at in places]
    for damaged in (*flipped, b"", whole[:-1], whole[: len(whole) // 2], b"<html>", encoded(photo(), "JPEG")):
        path.write_bytes(damaged)
        assert make_thumbnail(picture, tmp_path).read_bytes() == whole
    secret = picture_of(tmp_path / "secret", encoded(photo(seed=9), "JPEG"))
    other = make_thumbnail(secret, tmp_path)
    path.unlink()
    path.symlink_to(other)  # a whole thumbnail, but of another picture
    assert make_thumbnail(picture, tmp_path).read_bytes() == whole
    assert not path.is_symlink()


_NO_KEYS = ["", "../" * 3 + "a" * 55, "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "/" + "a" * 63]


@pytest.mark.parametrize("key", _NO_KEYS)
def test_nothing_but_a_sha256_names_a_picture(key, tmp_path):
    refusing = (
        lambda: Picture(key, tmp_path / "a.jpg"),
        lambda: thumbnail_path(key, tmp_path),
        lambda: add_thumbnail(key, encoded(photo(), "JPEG"), tmp_path),
        lambda: PictureCache(tmp_path / "pictures").path(key),
    )
    for refuse in refusing:
        with pytest.raises(PictureError, match="64 lower-case hexadecimal digits"):
            refuse()
    assert not list(tmp_path.rglob("*.jpg"))


def test_what_is_no_small_jpeg_is_not_taken_for_a_thumbnail(tmp_path):
    key = "a" * 64
    cut = encoded(photo(300, 300), "JPEG")[:-500]
    for data in (b"", b"<script>", encoded(photo()), encoded(photo(2000, 1000), "JPEG"), cut):
        assert not add_thumbnail(key, data, tmp_path)
        assert find_thumbnail(key, tmp_path) is None
    assert add_thumbnail(key, encoded(photo(), "JPEG"), tmp_path)
    assert find_thumbnail(key, tmp_path) is not None
