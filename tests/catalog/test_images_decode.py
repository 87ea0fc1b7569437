"""Pictures of every mode and format come out upright, in RGB and in the right colours; bad ones with their cause."""

import hashlib
import io
import os
import time

import numpy as np
import pytest
from catalog.picture_files import BAD_FILES, JPEG, encoded, photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from likewise.catalog.images import decode
from likewise.catalog.images.decode import check_picture, decode_bytes, open_picture
from likewise.catalog.images.picture import PictureError
from likewise.catalog.report import PICTURE_CAUSES, describe_picture_cause


def colour_of(data: bytes, at: tuple[int, int] = (8, 8)) -> tuple[int, ...]:
    image = decode_bytes(data)
    assert image.mode == "RGB"
    return image.getpixel(at)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_allowed_format_is_read(kind):
    data = encoded(Image.new("RGB", (32, 24), (200, 40, 40)), kind)
    assert check_picture(io.BytesIO(data)) == 32 * 24
    assert decode_bytes(data).size == (32, 24)
    assert np.allclose(colour_of(data), (200, 40, 40), atol=6)


def test_transparency_is_laid_over_white():
    clear_red = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    half_black = Image.new("LA", (16, 16), (0, 128))
    palette = Image.new("P", (16, 16), 3)
    palette.putpalette([0, 0, 0] * 3 + [10, 200, 10])
    assert colour_of(encoded(clear_red)) == (255, 255, 255)
    assert colour_of(encoded(clear_red, "WEBP", lossless=True)) == (255, 255, 255)
    assert colour_of(encoded(half_black)) == (127, 127, 127)
    assert colour_of(encoded(palette)) == (10, 200, 10)
    assert colour_of(encoded(palette, transparency=3)) == (255, 255, 255)
    assert colour_of(encoded(palette, transparency=bytes([255, 255, 255, 0]))) == (255, 255, 255)
    assert colour_of(encoded(palette, "GIF", transparency=3)) == (255, 255, 255)
    assert colour_of(encoded(Image.new("RGB", (16, 16), (1, 2, 3)), transparency=(1, 2, 3))) == (255, 255, 255)


def test_cmyk_jpegs_keep_their_colours():
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    assert np.allclose(colour_of(encoded(red, "JPEG", quality=95)), (255, 0, 0), atol=8)
    assert np.allclose(colour_of(encoded(red, "TIFF")), (255, 0, 0), atol=8)


def test_16_bit_pictures_are_scaled_not_clipped():
    middle = Image.fromarray(np.full((16, 16), 32_896, np.uint16))
    bright = Image.fromarray(np.full((16, 16), 65_535, np.uint16))
    assert colour_of(encoded(middle)) == (128, 128, 128)
    assert colour_of(encoded(middle, "TIFF")) == (128, 128, 128)
    assert colour_of(encoded(bright)) == (255, 255, 255)
    whole_range = np.linspace(0, 65_535, 256).astype(np.int32).reshape(16, 16)
    decoded = np.asarray(decode_bytes(encoded(Image.fromarray(whole_range), "TIFF")))[..., 0]
    assert np.array_equal(decoded.ravel(), np.arange(256))


def test_floating_point_and_one_bit_pictures_are_stretched_to_white():
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    ramp[0, 0] = np.nan
    decoded = np.asarray(decode_bytes(encoded(Image.fromarray(ramp), "TIFF")))[..., 0]
    assert np.array_equal(decoded.ravel(), np.arange(256))
    assert colour_of(encoded(Image.new("1", (16, 16), 1))) == (255, 255, 255)


def test_exif_rotation_is_undone():
    half_red = Image.new("RGB", (40, 20), "white")
    half_red.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        image = decode_bytes(encoded(half_red, kind, exif=exif))
        assert image.size == (20, 40), kind
        assert np.allclose(image.getpixel((10, 5)), (255, 0, 0), atol=12), kind
        assert np.allclose(image.getpixel((10, 35)), (255, 255, 255), atol=12), kind


def test_a_picture_with_damaged_exif_is_still_a_picture():
    for damage in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40):
        data = encoded(photo(), "JPEG")
        block = b"\xff\xe1" + (len(damage) + 2).to_bytes(2, "big") + damage
        assert decode_bytes(data[:2] + block + data[2:]).size == (64, 48)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("blue", "red", "lime")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert np.allclose(colour_of(data), (0, 0, 255), atol=6)


def test_an_embedded_profile_is_converted_to_srgb():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = bytearray(srgb)  # a profile of our own: sRGB with its red and blue primaries exchanged
    red, blue = srgb.index(b"rXYZ"), srgb.index(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    swapped = bytes(swapped).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    image = Image.new("RGB", (16, 16), (250, 10, 10))
    assert colour_of(encoded(image, icc_profile=srgb)) == (250, 10, 10)
    assert colour_of(encoded(image, icc_profile=lab)) == (250, 10, 10)  # does not fit the picture: left alone
    assert colour_of(encoded(image, icc_profile=b"nonsense" * 40)) == (250, 10, 10)
    assert np.allclose(colour_of(encoded(image, icc_profile=swapped)), (10, 10, 250), atol=3)


def test_large_pictures_are_reduced_but_never_below_the_side_asked_for():
    wide = photo(2000, 1000)
    for kind in ("JPEG", "PNG"):
        data = encoded(wide, kind)
        assert decode_bytes(data).size == (2000, 1000)
        assert decode_bytes(data, minimum_side=224).size == (500, 250)
        assert decode_bytes(data, minimum_side=1000).size == (2000, 1000)
        assert decode_bytes(data, minimum_side=5000).size == (2000, 1000)


@given(width=st.integers(4, 300), height=st.integers(4, 300), side=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_a_reduced_picture_keeps_the_side_and_the_shape(width, height, side):
    reduced = decode_bytes(encoded(Image.new("L", (width, height)), "JPEG"), minimum_side=side)
    assert min(reduced.size) >= min(side, width, height)
    assert reduced.width <= width
    assert reduced.height <= height


def test_reduced_decoding_is_quicker():
    data = encoded(photo(4000, 3000), "JPEG")

    def seconds(side):
        start = time.perf_counter()
        decode_bytes(data, minimum_side=side)
        return time.perf_counter() - start

    assert min(seconds(224) for _ in range(3)) < 0.7 * min(seconds(None) for _ in range(3))


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_has_one_cause(name, tmp_path):
    data, cause = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(PictureError) as from_file:
        open_picture(path)
    with pytest.raises(PictureError) as from_memory:
        decode_bytes(data)
    assert from_file.value.cause == from_memory.value.cause == cause


def test_a_jpeg_of_endless_scans_is_refused():
    data = encoded(photo(), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    with pytest.raises(PictureError, match="damaged"):
        decode_bytes(data[:start] + data[start:-2] * 200 + data[-2:])


@given(cut=st.integers(0, len(JPEG)), flips=st.lists(st.tuples(st.integers(0, len(JPEG) - 1), st.integers(0, 255))))
@settings(max_examples=200, deadline=None)
def test_damage_anywhere_gives_a_picture_or_a_cause(cut, flips):
    data = bytearray(JPEG)
    for position, value in flips:
        data[position] = value
    try:
        assert decode_bytes(bytes(data[:cut])).mode == "RGB"
    except PictureError as error:
        assert error.cause in PICTURE_CAUSES


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_damage_to_other_formats_gives_a_picture_or_a_cause(kind):
    whole = encoded(photo(), kind)
    random = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for position in random.integers(0, len(data), size=random.integers(1, 6)):
            data[position] = random.integers(256)
        try:
            assert decode_bytes(bytes(data)).mode == "RGB"
        except PictureError as error:
            assert error.cause in PICTURE_CAUSES


def test_only_regular_files_are_opened(tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for path, cause in (
        (pipe, "not-a-file"),
        (tmp_path, "not-a-file"),
        ("/dev/zero", "not-a-file"),
        (tmp_path / "absent.jpg", "no-file"),
        (tmp_path / ("long" * 200), "no-file"),
        ("nul\0.jpg", "malformed-source"),
    ):
        with pytest.raises(PictureError) as error:
            open_picture(path)
        assert error.value.cause == cause


def test_a_file_that_is_swapped_for_a_link_is_not_followed(tmp_path, monkeypatch):
    secret, picture = tmp_path / "secret.png", tmp_path / "picture.png"
    secret.write_bytes(encoded(photo()))
    picture.write_bytes(encoded(photo()))
    looked_at = os.lstat

    def swap(path, **options):
        status = looked_at(path, **options)
        if os.fspath(path) == str(picture) and not picture.is_symlink():
            picture.unlink()
            picture.symlink_to(secret)
        return status

    monkeypatch.setattr(decode.os, "lstat", swap)
    with pytest.raises(PictureError) as error:
        decode.open_regular_file(picture)
    assert error.value.cause in ("no-file", "not-a-file")


@pytest.mark.parametrize("holds_folders_open", [True, False])
@pytest.mark.parametrize("part", ["shop", "shop/images", "shop/images/a.png"])
def test_below_a_root_nothing_is_followed_that_is_swapped_for_a_link(part, holds_folders_open, tmp_path, monkeypatch):
    if not holds_folders_open:
        monkeypatch.setattr(decode.os, "supports_dir_fd", set())
    picture, secret = tmp_path / "root/shop/images/a.png", tmp_path / "elsewhere/shop/images/a.png"
    for path, seed in ((picture, 1), (secret, 2)):
        path.parent.mkdir(parents=True)
        path.write_bytes(encoded(photo(seed=seed)))
    with decode.open_regular_file(picture, tmp_path / "root") as file:
        assert file.read() == picture.read_bytes()
    looked_at, swapped = os.lstat, tmp_path / "root" / part

    def swap(path, **options):
        status = looked_at(path, **options)
        if os.fspath(path) == str(picture) and not swapped.is_symlink():
            swapped.rename(tmp_path / "away")
            swapped.symlink_to(tmp_path / "elsewhere" / part)
        return status

    monkeypatch.setattr(decode.os, "lstat", swap)
    with pytest.raises(PictureError) as error:
        decode.open_regular_file(picture, tmp_path / "root")
    assert error.value.cause == "no-file"
    assert swapped.is_symlink()


def test_the_bytes_that_are_checked_are_those_that_are_decoded(tmp_path):
    picture = tmp_path / "picture.png"
    data = encoded(photo())
    picture.write_bytes(data)
    assert open_picture(picture, key=hashlib.sha256(data).hexdigest()).size == (64, 48)
    with pytest.raises(PictureError, match="has changed since it was last read"):
        open_picture(picture, key="0" * 64)
    (tmp_path / "link.png").symlink_to(picture)
    assert open_picture(tmp_path / "link.png").size == (64, 48)  # links of one's own are fine


def test_every_cause_reads_as_a_sentence():
    assert str(PictureError("truncated")) == "the picture ends too early"
    assert describe_picture_cause("http-404") == "was refused by its server with status 404"
