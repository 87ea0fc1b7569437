"""What a user of `Catalog` sees."""

from pathlib import Path

import pytest
from catalog.picture_files import encoded, photo

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import PictureError
from likewise.config import ImageSettings
from likewise.errors import UserError


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Six items; four with pictures, one of them named twice, one broken, one missing."""
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(photo(seed=number)))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    path = tmp_path / "shop.csv"
    path.write_text(
        "id,title,description,image_url,price,split\n"
        "a,Red shoes,,0.png,10,train\n"
        'b,Blue hat,"warm, soft",1.png|2.png,20,train\n'
        "c,Green bag,,broken.jpg|2.png,30,test\n"
        "d,Green bag,,nowhere.png,,test\n"
        "e,Old coat,,,50,test\n"
        "f,,only words,0.png,60,train\n",
        encoding="utf-8",
    )
    return path


def read(path: Path, **options) -> Catalog:
    return Catalog.read(path, cache=path.parent / "cache", **options)


def test_reading(shop: Path) -> None:
    catalog = read(shop)
    assert len(catalog) == 6
    assert catalog.ids == ["a", "b", "c", "d", "e", "f"]
    assert catalog.fields == ("title", "description", "image")
    assert catalog.texts("title")[4:] == ["Old coat", None]
    assert catalog.texts("price")[0] == "10"
    assert catalog.column("price") == [10, 20, 30, None, 50, 60]
    with pytest.raises(UserError, match="did you mean price"):
        catalog.column("prices")
    with pytest.raises(UserError, match="holds lists"):
        catalog.texts("image")


def test_filters_and_selections_keep_the_order(shop: Path) -> None:
    catalog = read(shop)
    assert catalog.where("split == 'test' and price >= 30").ids == ["c", "e"]
    assert catalog.where("price > 15").where("split == 'train'").ids == ["b", "f"]
    assert catalog.select([4, 0]).ids == ["e", "a"]
    assert catalog.select([]).ids == []
    assert catalog.where("id == 'e'").fields == ("title",)
    assert read(shop, where="split == 'test'").ids == ["c", "d", "e"]
    with pytest.raises(UserError, match="none of the 6 items matches the filter price > 100"):
        catalog.where("price > 100")


def test_at_most_so_many_items(shop: Path) -> None:
    catalog = read(shop, max_items=5)
    assert len(catalog) == 5
    assert len(set(catalog.texts("title"))) == 5  # one of the two green bags is left out
    assert any("sampled with seed 0" in note for note in catalog.report.notes)
    assert read(shop, max_items=5).ids == catalog.ids
    assert len(read(shop, max_items=50)) == 6
    with pytest.raises(UserError, match="at least 1"):
        read(shop, max_items=0)


def test_pictures_are_resolved_once_for_all_selections(shop: Path) -> None:
    catalog = read(shop)
    part = catalog.select([3, 2, 0])
    assert [len(pictures) for pictures in part.pictures] == [0, 1, 1]
    (shop.parent / "0.png").unlink()
    assert [len(pictures) for pictures in catalog.pictures] == [1, 1, 1, 0, 0, 1]
    assert catalog.pictures[0] == catalog.pictures[5]
    assert part.pictures[2] == catalog.pictures[0]
    counts = catalog.report.as_dict()["problems"]
    assert (counts["not-a-picture"], counts["no-file"], counts["without-picture"]) == (1, 1, 1)
    assert part.report is catalog.report


def test_several_pictures_of_an_item(shop: Path) -> None:
    catalog = read(shop, images=ImageSettings(per_item=2))
    assert [len(pictures) for pictures in catalog.pictures] == [1, 2, 1, 0, 0, 1]


def test_opening_pictures_and_thumbnails(shop: Path) -> None:
    catalog = read(shop)
    picture = catalog.pictures[0][0]
    assert catalog.open_picture(picture).size == (64, 48)
    path = catalog.make_thumbnail(picture.key)
    assert path.is_relative_to(catalog.cache)
    assert catalog.make_thumbnail(picture) == path == catalog.select([0]).make_thumbnail(picture.key)
    with pytest.raises(PictureError):
        catalog.make_thumbnail("0" * 64)


def test_placeholder_pictures_are_absent(shop: Path) -> None:
    titles = ["Garden chair", "USB cable", "Tea pot", "Winter tyres", "Novel"]
    shop.write_text("title,image\n" + "".join(f"{title},0.png\n" for title in titles) + "Red shoes,1.png\n")
    catalog = read(shop)
    assert [len(pictures) for pictures in catalog.pictures] == [0, 0, 0, 0, 0, 1]
    assert catalog.report.problems["placeholder-picture"].count == 5


def test_the_fingerprint_is_that_of_the_contents(shop: Path) -> None:
    catalog = read(shop)
    assert catalog.fingerprint == read(shop).fingerprint
    assert catalog.select(range(6)).fingerprint == catalog.fingerprint
    assert catalog.select([1, 0, 2, 3, 4, 5]).fingerprint != catalog.fingerprint
    shop.write_text(shop.read_text().replace("warm", "cold"))
    assert read(shop).fingerprint != catalog.fingerprint


def test_a_file_without_usable_rows_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("title,price\n,5\n,6\n")
    with pytest.raises(UserError, match=r"none of the 2 rows .* can be used \(2 × no-content\)"):
        read(path)
