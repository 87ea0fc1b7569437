"""Small files that would cost their readers gigabytes or minutes are refused before a reader sees them."""

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from catalog import hostile_pictures as hostile
from catalog.picture_files import encoded, photo
from PIL import Image

from likewise.catalog.images.avif import find_largest_picture
from likewise.catalog.images.decode import check_picture, decode_bytes
from likewise.catalog.images.picture import PictureError

_MEASURE = """
import resource, sys
from pathlib import Path
from likewise.catalog.images.decode import PictureError, decode_bytes
from likewise.catalog.images import colour
data = Path(sys.argv[1]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_bytes(data, max_pixels=int(sys.argv[2]))
    print("none")
except PictureError as error:
    print(error.cause)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def exif_segments(block: bytes) -> list[tuple[int, bytes]]:
    """An EXIF block too long for one segment, as some programs write it."""
    return [(0xE1, b"Exif\0\0" + block[start : start + 60_000]) for start in range(0, len(block), 60_000)]


# what the file would take, its bytes, the limit of pixels, and the cause; None: it is read
HUNGRY: dict[str, tuple[Callable[[], bytes], int, str | None]] = {
    "a TIFF tile of 268 million pixels": (lambda: hostile.tiff_with_a_huge_tile(16_384), 64_000_000, "too-many-pixels"),
    "TIFF tags that all hold the file": (lambda: hostile.overlapping_tags(2_000_000, 300), 64_000_000, "broken"),
    "a JPEG's EXIF tags that all hold all of it": (
        lambda: hostile.jpeg_with(*exif_segments(hostile.overlapping_tags(2_000_000, 300))),
        64_000_000,
        "broken",
    ),
    "a PNG's EXIF tags that all hold all of it": (
        lambda: hostile.png_with((b"eXIf", hostile.overlapping_tags(2_000_000, 300))),
        64_000_000,
        None,
    ),
    "a million segments of a JPEG": (lambda: hostile.jpeg_with(*[(0xE5, b"")] * 1_000_000), 64_000_000, "broken"),
    "a BMP's code that skips 255 rows": (lambda: hostile.bmp_that_skips(2_000_000), 64_000_000, "too-many-pixels"),
    "an AVIF that is coded larger": (
        lambda: hostile.avif_declaring(64, 64, (6000, 6000)),
        4_000_000,
        "too-many-pixels",
    ),
    "a strip that would be resized to gigabytes": (
        lambda: encoded(Image.new("L", (8_000_000, 4))),
        64_000_000,
        "too-long",
    ),
}


@pytest.mark.parametrize("name", HUNGRY)
def test_a_file_takes_no_more_memory_than_its_pixels_suggest(name: str, tmp_path: Path) -> None:
    make, max_pixels, cause = HUNGRY[name]
    (tmp_path / "picture").write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _MEASURE, str(tmp_path / "picture"), str(max_pixels)],
        capture_output=True,
        text=True,
        check=True,
    )
    found, grown = done.stdout.split()
    assert found == str(cause).lower()
    assert int(grown) < 40, f"{grown} MB"


@pytest.mark.parametrize(
    "make",
    [
        lambda: hostile.png_with(*[(b"teSt", b"")] * 150_000),
        lambda: hostile.png_with(*[(b"tEXt", b"a\0b")] * 2_000),
        lambda: hostile.jpeg_with(*[(0xE2, bytes(65_000))] * 300),
        lambda: hostile.jpeg_with((0xE5, b"")).replace(b"\xff\xe5\0\2", b"\xff\xe5\0\2" + bytes(50_000)),
        lambda: hostile.gif_with_comments(1, 5_000),
        lambda: hostile.gif_with_comments(5_000, 1),
        lambda: hostile.webp_with_chunks(150_000),
        lambda: hostile.tiff({256: hostile.number(64), 273: (4, 2_000_000, b"\x08")}, bytes(8_000_000)),
        lambda: hostile.tiff({256: hostile.number(64), 257: hostile.number(64), 258: hostile.number(4096)}),
    ],
    ids=["chunks", "texts", "metadata", "junk", "comment", "comments", "riff", "strips", "bits"],
)
def test_endless_parts_are_refused_from_memory_and_from_a_file(make: Callable[[], bytes]) -> None:
    data = make()
    for read in (decode_bytes, lambda data: check_picture(io.BytesIO(data))):
        with pytest.raises(PictureError) as error:
            read(data)
        assert error.value.cause == "broken"


@pytest.mark.parametrize("coded", [(1000, 1000), (3000, 20)])
def test_the_coded_size_of_an_avif_counts(coded: tuple[int, int]) -> None:
    assert find_largest_picture(io.BytesIO(hostile.avif_declaring(16, 16, coded))) == coded
    assert find_largest_picture(io.BytesIO(hostile.avif_sequence(coded))) == coded
    assert find_largest_picture(io.BytesIO(hostile.avif_declaring(5000, 5000, coded))) == (5000, 5000)


def test_a_tag_that_comes_twice_counts_by_its_largest_value() -> None:
    for tag, entry in ((257, hostile.number(100_000)), (323, hostile.number(2**20))):
        rows = [(256, *hostile.number(4_000)), (257, *hostile.number(64)), (322, *hostile.number(4_000))]
        rows += [(323, *hostile.number(64)), (tag, *entry)]
        for order in (rows, rows[::-1]):
            with pytest.raises(PictureError) as error:
                decode_bytes(hostile.tiff(order))
            assert error.value.cause == "too-many-pixels"


def test_honest_files_are_read() -> None:
    profile = bytes(600_000)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9286] = bytes(30_000)
    many = [
        encoded(photo(400, 300), "JPEG", icc_profile=profile, exif=exif, comment=b"x" * 60_000),
        hostile.jpeg_with(*[(0xE2, b"MPF\0" + bytes(60_000))] * 100),
        encoded(photo(400, 300), "PNG", icc_profile=profile, exif=exif),
        encoded(photo(400, 300), "WEBP", icc_profile=profile, exif=exif),
        encoded(photo(400, 300), "AVIF", icc_profile=profile, exif=exif),
        encoded(photo(400, 300), "AVIF", subsampling="4:4:4"),
        encoded(photo(400, 300).convert("RGBA"), "AVIF"),
        encoded(photo(400, 300), "AVIF", save_all=True, append_images=[photo(400, 300, seed=1)] * 5),
        encoded(photo(400, 300), "TIFF", compression="tiff_deflate", exif=exif),
        encoded(photo(400, 300).convert("CMYK"), "TIFF", compression="jpeg"),
        encoded(photo(400, 300), "TIFF", big_tiff=True),
        encoded(photo(400, 300).convert("P"), "GIF", comment=b"x" * 200_000),
    ]
    for data in many:
        check_picture(io.BytesIO(data))
        assert sorted(decode_bytes(data).size) in ([300, 400], [48, 64])
    assert decode_bytes(encoded(photo(16, 4000), "PNG")).size == (16, 4000)


def test_damaged_boxes_and_headers_of_an_avif_have_a_cause() -> None:
    whole = encoded(photo(), "AVIF")
    for position in range(len(whole)):
        for data in (
            whole[:position],
            whole[:position] + struct.pack("B", whole[position] ^ 255) + whole[position + 1 :],
        ):
            try:
                find_largest_picture(io.BytesIO(data))
            except PictureError as error:
                assert error.cause in ("broken", "truncated")
