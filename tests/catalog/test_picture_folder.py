"""A folder of pictures is a catalogue: titles from names, ids from paths, and everything passed over is counted."""

import os
import shutil
import unicodedata
from pathlib import Path

import polars as pl
import pytest
from catalog.picture_files import JPEG, PNG, encoded, photo
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.catalog.catalog import Catalog
from likewise.catalog.picture_folder import read_picture_folder, title_from_name
from likewise.catalog.report import Report
from likewise.errors import UserError


def write(folder: Path, **files: bytes) -> Path:
    for place, data in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def album(tmp_path: Path) -> Path:
    files = {
        "cover.png": PNG,
        "holiday-2021/IMG_beach.jpg": JPEG,
        "holiday-2021/IMG_0012.JPG": encoded(photo(seed=2), "JPEG"),
        "cats/001": encoded(photo(seed=3)),  # no suffix: the contents decide
        "cats/DCIM/100CANON/DSC00001.png": encoded(photo(seed=4)),
    }
    return write(tmp_path / "album", **files)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("IMG_beach", "beach"),
        ("beach_0012", "beach"),
        ("redCar (2)", "red Car"),
        ("McDonald", "McDonald"),
        ("holiday-2021", "holiday 2021"),
        ("iPhone 15", "iPhone 15"),
        ("Ta\u0308nzer", "Tänzer"),
        ("日本", "日本"),
        ("Copy of cat", "Copy of cat"),
        ("sam at beach", "sam at beach"),
        ("photo of a dog", "photo of a dog"),
        ("Photo_0012_beach", "beach"),
        ("SAM_0012 beach", "beach"),
        ("IMG-20210714-WA0012 lake", "lake"),
        ("P1010012_lake", "lake"),
        ("WhatsApp Image 2021-07-14 at 10.11.12 cat", "cat"),
        ("beach (2)", "beach"),
        ("IMG_0012", None),
        ("DSC00012", None),
        ("PXL_20210714_123456789", None),
        ("Screenshot 2021-07-14 at 10.11.12", None),
        ("WhatsApp Image 2021-07-14", None),
        ("IMG-20210714-WA0012", None),
        ("SAM_0012", None),
        ("Picture 12", None),
        ("photo1", None),
        ("untitled", None),
        ("Screen Shot copy", None),
        ("a1b2c3d4e5f6a7b8", None),
        ("", None),
        ("-__-", None),
    ],
)
def test_titles_are_the_words_of_names(name: str, title: str | None) -> None:
    assert title_from_name(name) == title


@settings(max_examples=200)
@given(st.text(max_size=300))
def test_any_name_has_a_clean_title_or_none(name: str) -> None:
    title = title_from_name(name)
    assert title is None or title == " ".join(title.split()) != ""


def test_a_folder_is_a_catalogue(album: Path, tmp_path: Path) -> None:
    catalog = Catalog.read(album, cache=tmp_path / "cache")
    rows = {row["id"]: row for row in catalog.table.to_dicts()}
    assert list(rows) == [
        "cover.png",
        "cats/001",
        "cats/DCIM/100CANON/DSC00001.png",
        "holiday-2021/IMG_0012.JPG",
        "holiday-2021/IMG_beach.jpg",
    ]
    assert [row["title"] for row in rows.values()] == ["cover", "cats", "cats", "holiday 2021", "beach"]
    assert rows["holiday-2021/IMG_beach.jpg"]["folder"] == "holiday-2021"
    assert rows["cover.png"]["folder"] is None
    assert catalog.fields == ("title", "image")
    assert all(len(shown) == 1 for shown in catalog.pictures)
    assert catalog.report.as_dict()["problems"] == {"title-from-folder": 3}
    assert len(catalog.where("folder == 'holiday-2021'")) == 2
    assert catalog.settings.file == str(album)
    assert catalog.name == "album"


def test_ids_stay_when_the_folder_moves(album: Path, tmp_path: Path) -> None:
    before = Catalog.read(album, cache=tmp_path / "cache").fingerprint
    shutil.move(album, tmp_path / "elsewhere")
    assert Catalog.read(str(tmp_path / "elsewhere"), cache=tmp_path / "cache").fingerprint == before


def test_a_csv_that_says_the_same_has_the_same_fingerprint(album: Path, tmp_path: Path) -> None:
    catalog = Catalog.read(album, cache=tmp_path / "cache")
    catalog.table.with_columns(pl.col("image").list.first()).write_csv(album / "same.csv")
    same = Catalog.read(album / "same.csv", cache=tmp_path / "cache")
    assert same.fingerprint == catalog.fingerprint
    assert [shown[0].key for shown in same.pictures] == [shown[0].key for shown in catalog.pictures]


@pytest.mark.parametrize(
    "name",
    [
        " a.png",
        "50% off.png",
        "a|b.png",
        "[x].png",
        "data:,x.png",
        "http:x.png",
        "a\\b.png",
        "a\nb.png",
        "~.png",
        '"q".png',
    ],
)
def test_odd_names_are_found(name: str, tmp_path: Path) -> None:
    write(tmp_path / "album", **{name: PNG})
    catalog = Catalog.read(tmp_path / "album", cache=tmp_path / "cache")
    assert catalog.ids == [name]
    assert [len(shown) for shown in catalog.pictures] == [1], catalog.report.as_dict()


def test_what_is_no_picture_is_counted_by_cause(album: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", **{"secret.png": PNG})
    write(
        album,
        **{
            ".hidden.png": PNG,
            ".thumbnails/a.png": PNG,
            "@eaDir/cover.png": PNG,
            "notes.txt": b"remember the milk",
            "clip.mp4": b"\0\0\0\x18ftypmp42" + bytes(100),
            "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "empty.jpg": b"",
            "cats/cover.png": encoded(photo(seed=5)),  # a name that another folder has, too
        },
    )
    (album / "secret.png").symlink_to(outside / "secret.png")
    (album / "elsewhere").symlink_to(outside)
    (album / "broken.png").symlink_to(album / "nowhere")
    (album / "kittens").symlink_to(album / "cats")
    (album / "cats" / "loop").symlink_to(album)
    os.mkfifo(album / "pipe.png")
    (album / "again.png").symlink_to(album / "cover.png")
    catalog = Catalog.read(album, cache=tmp_path / "cache")
    assert catalog.report.as_dict()["problems"] == {
        "hidden": 3,
        "link-out-of-folder": 3,
        "link-to-folder": 2,
        "other-format": 2,
        "unreadable-file": 2,
        "other-file": 1,
        "title-from-folder": 3,
        "equal-name": 1,
    }
    assert "again.png" in catalog.ids
    assert not any("secret" in id for id in catalog.ids)
    assert catalog.report.rows == len(catalog) + 5


def test_a_picture_that_becomes_a_link_is_not_followed_out_of_the_folder(album: Path, tmp_path: Path) -> None:
    catalog = Catalog.read(album, cache=tmp_path / "cache")
    outside = write(tmp_path / "outside", **{"secret.png": PNG})
    (album / "cover.png").unlink()
    (album / "cover.png").symlink_to(outside / "secret.png")
    assert [bool(shown) for shown in catalog.pictures] == [False, True, True, True, True]
    assert catalog.report.as_dict()["problems"]["outside-root"] == 1


def test_equal_names_in_other_normal_forms_are_one_id(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "Tänzer.png") for form in ("NFC", "NFD")]
    write(tmp_path / "album", **{names[0]: PNG, names[1]: encoded(photo(seed=7))})
    report = Report()
    assert read_picture_folder(tmp_path / "album", report)["id"].to_list() == [names[0]]
    assert report.as_dict()["problems"] == {"duplicate-id": 1}


def test_names_that_are_not_utf8_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "album", **{"apple.png": PNG})
    Path(os.fsdecode(os.fsencode(tmp_path / "album") + b"/\xff.png")).write_bytes(PNG)
    report = Report()
    assert len(read_picture_folder(tmp_path / "album", report)) == 1
    assert report.as_dict()["problems"] == {"undecodable-name": 1}


def test_folders_without_pictures_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="a folder without pictures: name a folder of pictures"):
        Catalog.read(tmp_path / "empty")
    write(tmp_path / "tables", **{"products.csv": b"title\na\n"})
    with pytest.raises(UserError, match=r"without pictures: .*such as .*products\.csv"):
        Catalog.read(tmp_path / "tables")


def test_a_table_in_the_folder_is_named_and_columns_cannot_be_mapped(album: Path, tmp_path: Path) -> None:
    write(album, **{"captions.csv": b"title\na\n"})
    catalog = Catalog.read(album, cache=tmp_path / "cache")
    assert any("captions.csv" in note for note in catalog.report.notes)
    with pytest.raises(UserError, match="no columns to map"):
        Catalog.read(album, columns={"title": "name"})


def test_a_deep_folder_ends(tmp_path: Path) -> None:
    deep = tmp_path / "album" / "/".join(["d"] * 80)
    deep.mkdir(parents=True)
    write(tmp_path / "album", **{"apple.png": PNG})
    (deep / "b.png").write_bytes(PNG)
    report = Report()
    assert read_picture_folder(tmp_path / "album", report)["id"].to_list() == ["apple.png"]
    assert report.as_dict()["problems"] == {"unreadable-folder": 1}
