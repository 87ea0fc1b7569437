"""Single items are written into an open index: checked, cleaned as a catalogue's, found at once, and kept."""

import io
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from retrieval.fakes import FakeModel
from retrieval.stores_of_runs import STORES

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.cache import PictureCache
from likewise.catalog.images.outcomes import Remembered
from likewise.catalog.images.picture import PictureError
from likewise.config import ImageSettings
from likewise.errors import UserError
from likewise.retrieval import words, writing
from likewise.retrieval.index import Index
from likewise.retrieval.items import BookkeepingColumns
from likewise.retrieval.timestamps import next_timestamp

CSV = """id,title,description,image,price,stock,sold,brand
a1,red chair,<b>Soft</b> &amp; warm,,12.5,3,true,Acme
a2,blue lamp,,,7.0,0,false,null
a3,green vase,tall,,,12,true,Bolt
"""


def write_catalog(folder: Path, *lines: str) -> Catalog:
    (folder / "products.csv").write_text(CSV + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Catalog.read(folder / "products.csv", cache=folder / "cache")


def picture(colour: tuple[int, int, int], kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(data, kind)
    return data.getvalue()


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def index(tmp_path: Path, model: FakeModel) -> Index:
    index = Index.build(model, write_catalog(tmp_path), tmp_path / "run")
    model.encoded.clear()
    return index


def ids_of(index: Index, text: str, **parameters) -> list[str]:
    return [hit.id for hit in index.search(text, **parameters)]


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_a_new_item_is_found_by_id_vector_and_words_at_once(tmp_path: Path, model: FakeModel, store: str) -> None:
    index = Index.build(model, write_catalog(tmp_path), tmp_path / "run", store=store)
    written = index.upsert([{"id": "n1", "title": "purple xj-905 hat", "price": 3}])
    assert (written.new, str(written)) == (("n1",), "1 new, 0 changed, 0 with other metadata, 0 unchanged")
    for opened in (index, Index.open(tmp_path / "run", model)):
        assert opened.item("n1").fields["price"] == 3.0
        assert opened.item("n1").fields["stock"] is None
        assert ids_of(opened, "purple hat", k=1) == ["n1"]
        assert ids_of(opened, "xj905", k=1, hybrid=True) == ["n1"]
        assert ids_of(opened, "hat", where="price == 3", k=1) == ["n1"]
        assert len(opened) == 4


def test_an_item_is_the_same_whether_it_comes_from_a_file_or_by_a_call(tmp_path: Path, model: FakeModel) -> None:
    index = Index.build(model, write_catalog(tmp_path), tmp_path / "run")
    row = {
        "id": " a4 ",
        "title": "  <i>Red</i> &eacute;toile ",
        "description": "nan",
        "price": "8.50",
        "stock": 4,
        "sold": "TRUE",
        "brand": " null ",
    }
    index.upsert([row])
    catalog = write_catalog(tmp_path, ' a4 ,"  <i>Red</i> &eacute;toile ",nan,,8.50,4,TRUE, null ')
    elsewhere = Index.build(model, catalog, tmp_path / "elsewhere")
    assert index.item("a4").fields == elsewhere.item("a4").fields
    for name, vector in elsewhere.field_vectors("a4").items():
        np.testing.assert_array_equal(index.field_vectors("a4")[name], vector)
    model.encoded.clear()
    assert str(index.update(catalog)) == "0 new, 0 changed, 0 with other metadata, 0 removed, 4 unchanged"
    assert model.encoded == []


def test_only_what_the_model_sees_is_encoded(index: Index, model: FakeModel) -> None:
    whole = {"id": "a1", "title": "red chair", "description": "Soft & warm", "stock": 3, "sold": True, "brand": "Acme"}
    assert index.upsert([{**whole, "price": 12.5}]).unchanged == ("a1",)
    assert index.upsert([{**whole, "price": 11}]).rewritten == ("a1",)
    assert model.encoded == []
    assert index.item("a1").fields["price"] == 11.0
    assert ids_of(index, "red chair", k=1, where="price == 11") == ["a1"]
    assert index.upsert([{**whole, "title": "red sofa"}]).changed == ("a1",)
    assert model.encoded == ["a1"]
    assert index.item("a1").fields["price"] is None, "a whole item replaces what was there"
    assert ids_of(index, "sofa", k=1, hybrid=True) == ["a1"]
    assert "a1" not in [hit.id for hit in index.search("chair", hybrid=True) if hit.score > 0.9]


def test_a_patch_keeps_what_it_does_not_name(index: Index, model: FakeModel) -> None:
    assert index.patch("a1", {"price": 9, "brand": None}).rewritten == ("a1",)
    assert model.encoded == []
    fields = index.item("a1").fields
    assert (fields["price"], fields["brand"], fields["title"]) == (9.0, None, "red chair")
    assert fields["description"] == "Soft & warm"
    assert index.patch("a1", {"title": "blue chair"}).changed == ("a1",)
    assert model.encoded == ["a1"]
    assert ids_of(index, "blue chair", k=1) == ["a1"]
    assert index.patch("a1", {}).unchanged == ("a1",)
    with pytest.raises(UserError, match="the index has no item 'zzz'"):
        index.patch("zzz", {"price": 1})
    with pytest.raises(UserError, match="the id of an item cannot be changed"):
        index.patch("a1", {"id": "a9"})
    with pytest.raises(UserError, match=r"'a1' has nothing that could be found: give it a title or a picture"):
        index.patch("a1", {"title": None})


def test_deleted_items_are_gone(index: Index, tmp_path: Path, model: FakeModel) -> None:
    index.upsert([{"id": "n1", "title": "purple hat"}])
    assert ids_of(index, "purple", hybrid=True, k=1) == ["n1"]
    assert index.delete(["n1", "a2", "unknown"]) == 2
    assert index.delete(["n1"]) == 0
    for opened in (index, Index.open(tmp_path / "run", model)):
        assert sorted(ids_of(opened, "purple lamp", hybrid=True, k=10)) == ["a1", "a3"]
    index.upsert([{"id": "a2", "title": "purple lamp"}])
    assert ids_of(index, "purple", hybrid=True, k=1) == ["a2"]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"id": "x", "title": "t", "prise": 1}, r'no column "prise"; did you mean price\?'),
        ({"id": "x", "title": "t", "_likewise": 1}, 'no column "_likewise"'),
        ({"id": "x", "title": "t", "price": "cheap"}, "item 'x': the column \"price\" needs a number, not 'cheap'"),
        ({"id": "x", "title": "t", "price": True}, 'the column "price" needs a number, not True'),
        ({"id": "x", "title": "t", "price": float("inf")}, 'the column "price" needs a number, not inf'),
        ({"id": "x", "title": "t", "stock": 1.5}, 'the column "stock" needs a whole number, not 1.5'),
        ({"id": "x", "title": "t", "stock": 2**70}, 'the column "stock" needs a whole number'),
        ({"id": "x", "title": "t", "sold": 1}, 'the column "sold" needs true or false, not 1'),
        ("a text", "item 2 is no object of columns and values, but 'a text'"),
        ({"title": "t"}, "item 2 has no id"),
        ({"id": " \x00 ", "title": "t"}, "item 2 has no id"),
        ({"id": ["x"], "title": "t"}, "the id of item 2 must be a text"),
        ({"id": "x" * 600, "title": "t"}, "the id of item 2 has 600 characters: at most 512"),
        ({"id": "good", "title": "t"}, "the id 'good' occurs more than once"),
        ({"id": "x", "description": "no title"}, "item 'x' has nothing that could be found"),
        ({"id": "x", "title": "t", "image": 7}, 'the column "image" needs an http'),
        ({"id": "x", "title": "t", "image": "photo.jpg"}, "the picture 'photo.jpg' is no http"),
        ({"id": "x", "title": "t", "image": "/etc/passwd"}, "is no http"),
        ({"id": "x", "title": "t", "image": "file:///etc/passwd"}, "is no http"),
        ({"id": "x", "title": "t", "image": "s3://shop/secret.png"}, "is no http"),
        ({"id": "x", "title": "t", "image": ["data:image/png;base64,AAAA"]}, "is no http"),
        ({"id": "x", "title": "t", "image": "https://example.com/a.jpg"}, r"not fetched .* allow_urls=True"),
    ],
)
def test_what_cannot_be_written_is_one_sentence_and_nothing_is_written(
    index: Index, row: object, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        index.upsert([{"id": "good", "title": "a good one"}, row])
    assert len(index) == 3
    assert index.upsert([]).new == ()


def test_addresses_are_fetched_if_allowed_but_never_from_private_hosts(index: Index, tmp_path: Path) -> None:
    row = {"id": "x", "title": "t", "image": "http://127.0.0.1:8099/a.jpg"}
    allowed = ImageSettings(allow_private_hosts=True, retries=0)
    with pytest.raises(PictureError, match="item 'x': the picture leads to an address that pictures may not come from"):
        index.upsert([row], allow_urls=True, images=allowed, cache=tmp_path / "cache")
    assert len(index) == 3


def test_a_picture_at_an_address_is_the_one_that_a_catalogue_would_have(
    tmp_path: Path, index: Index, model: FakeModel
) -> None:
    url, data = "https://pictures.example/red.png", picture((250, 0, 0))
    with PictureCache(tmp_path / "cache" / "pictures") as cache:  # as an earlier download has left it
        cache.remember(url, Remembered(cache.keep(data), len(data), 1200, False, None, ""))
    row = {"id": "x", "title": "a thing", "image": [url], "price": 1, "stock": 1, "sold": True, "brand": "Acme"}
    index.upsert([row], allow_urls=True, cache=tmp_path / "cache")
    assert index.item("x").picture.path.read_bytes() == data
    model.encoded.clear()
    changes = index.update(write_catalog(tmp_path, f"x,a thing,,{url},1,1,true,Acme"))
    assert (len(changes.unchanged), model.encoded) == (4, [])
    assert index.patch("x", {"image": None}).changed == ("x",)
    assert index.item("x").picture is None


def test_an_uploaded_picture_is_kept_in_the_run_and_found(index: Index, model: FakeModel, tmp_path: Path) -> None:
    red, blue = picture((250, 0, 0)), picture((0, 0, 250), "JPEG")
    index.upsert([{"id": "p1"}, {"id": "p2", "title": "lamp"}], pictures={"p1": [red], "p2": [blue]})
    shown = index.item("p1").picture
    assert shown.path.parent == tmp_path / "run" / "pictures"
    assert shown.path.name == f"{shown.key}.png"
    assert index.item("p2").picture.path.suffix == ".jpg"
    assert shown.path.read_bytes() == red
    assert ids_of(index, "red", k=1, where='id in ["p1", "p2"]') == ["p1"]
    assert index.patch("p2", {"price": 1}).rewritten == ("p2",)
    assert index.patch("p1", {}, pictures=[blue]).changed == ("p1",)
    assert index.patch("p2", {"title": "blue lamp"}).changed == ("p2",), "with the picture that it has"
    assert set(index.field_vectors("p2")) == {"title", "image"}
    assert index.patch("p2", {}, pictures=[]).changed == ("p2",)
    assert index.item("p2").picture is None
    index.upsert([{"id": "p1", "title": "hat"}])
    assert index.item("p1").picture is None


def test_several_pictures_of_an_item_stay_when_its_texts_change(index: Index) -> None:
    pictures = [picture((250, 0, 0)), picture((0, 0, 250))]
    with pytest.raises(UserError, match="item 'p1': it may have 1 pictures, but 2 were uploaded"):
        index.upsert([{"id": "p1"}], pictures={"p1": pictures})
    index.upsert([{"id": "p1"}], pictures={"p1": pictures}, images=ImageSettings(per_item=2))
    before = index.field_vectors("p1")["image"]
    index.patch("p1", {"title": "a hat"})
    np.testing.assert_array_equal(index.field_vectors("p1")["image"], before)


@pytest.mark.parametrize("data", [b"", b"no picture", b"<svg/>", picture((1, 2, 3))[:-40], picture((1, 2, 3))[:60]])
def test_a_bad_picture_is_a_sentence_and_nothing_is_written(index: Index, tmp_path: Path, data: bytes) -> None:
    good = picture((9, 9, 9))
    with pytest.raises(PictureError, match=r"^item 'p2': the picture "):
        index.upsert([{"id": "p1"}, {"id": "p2"}], pictures={"p1": [good], "p2": [data]})
    assert len(index) == 3
    assert not (tmp_path / "run" / "pictures").exists()
    with pytest.raises(UserError, match="there are pictures for 'p9', but no item of this id"):
        index.upsert([{"id": "p1", "title": "t"}], pictures={"p9": [good]})


def test_a_picture_beyond_the_limits_is_refused(index: Index) -> None:
    for limits in (ImageSettings(max_bytes=50), ImageSettings(max_pixels=100)):
        with pytest.raises(PictureError, match=r"item 'p1': the picture has (more bytes than|40 × 30 pixels)"):
            index.upsert([{"id": "p1"}], pictures={"p1": [picture((1, 2, 3))]}, images=limits)


def test_an_update_keeps_items_that_came_by_a_call(tmp_path: Path, index: Index, model: FakeModel, way: str) -> None:
    index.upsert([{"id": "n1", "title": "purple hat", "price": 2}], pictures={"n1": [picture((0, 0, 250))]})
    vectors = index.field_vectors("n1")
    changes = index.update(write_catalog(tmp_path, "a4,green xj-77 sofa,,,1,1,true,Acme"))
    assert str(changes) == "1 new, 0 changed, 0 with other metadata, 0 removed, 3 unchanged, 1 written singly and kept"
    assert ids_of(index, "purple hat", k=1, hybrid=True) == ["n1"]
    assert ids_of(index, "xj77", k=1, hybrid=True) == ["a4"]
    assert index.item("n1").fields["price"] == 2.0
    assert index.item("n1").picture.path.parent.name == "pictures"
    np.testing.assert_array_equal(index.field_vectors("n1")["title"], vectors["title"])
    assert Index.open(tmp_path / "run", model).update(write_catalog(tmp_path)).kept == ["n1"]
    assert index.update(write_catalog(tmp_path), prune=True).removed == ["n1"]
    assert len(index) == 3


def test_an_item_that_the_catalogue_has_too_belongs_to_it(tmp_path: Path, index: Index, way: str) -> None:
    row = {"id": "a4", "title": "green sofa", "price": 1, "stock": 1, "sold": True, "brand": "Acme"}
    index.upsert([row])
    line = "a4,green sofa,,,1,1,true,Acme"
    assert len(index.update(write_catalog(tmp_path, line)).unchanged) == 4
    assert index.update(write_catalog(tmp_path)).removed == ["a4"]
    index.upsert([row | {"price": 5}])
    index.update(write_catalog(tmp_path, line))
    assert index.item("a4").fields["price"] == 1.0, "the catalogue wins"


def test_an_item_of_the_catalogue_that_is_written_whole_stays_without_it(tmp_path: Path, index: Index) -> None:
    fields = {name: value for name, value in index.item("a3").fields.items() if name != "image"}
    assert index.upsert([fields]).unchanged == ("a3",)
    index.patch("a2", {"price": 1})
    (tmp_path / "products.csv").write_text("\n".join(CSV.splitlines()[:2]) + "\n")
    changes = index.update(Catalog.read(tmp_path / "products.csv"))
    assert (changes.kept, changes.removed) == (["a3"], ["a2"])


def test_kept_items_fit_into_other_columns(tmp_path: Path, index: Index) -> None:
    index.upsert([{"id": "n1", "title": "purple hat", "price": 2.5, "stock": 3, "brand": "Acme"}])
    (tmp_path / "products.csv").write_text("id,title,price,brand,size\na1,red chair,12,7,xl\n")
    changes = index.update(Catalog.read(tmp_path / "products.csv"))
    assert changes.kept == ["n1"]
    assert index.item("n1").fields == {
        "id": "n1",
        "title": "purple hat",
        "description": None,
        "image": [],
        "price": None,  # whole numbers now
        "brand": None,
        "size": None,
    }
    assert ids_of(index, "purple", k=1, hybrid=True) == ["n1"]


def test_a_store_without_the_marks_opens_and_takes_writes(tmp_path: Path, model: FakeModel, monkeypatch) -> None:
    add = BookkeepingColumns.add

    def as_before(self, *arguments):
        table = add(self, *arguments[:5])
        kept = pl.col(self.name).struct
        return table.with_columns(
            pl.struct([kept.field(name) for name in ("input", "row", "picture", "path")]).alias(self.name)
        )

    with monkeypatch.context() as patch:
        patch.setattr(BookkeepingColumns, "add", as_before)
        index = Index.build(model, write_catalog(tmp_path), tmp_path / "run")
        assert "singly" not in index._handle._current.store.fetch(["a1"])[0].fields["_likewise"]
    index = Index.open(tmp_path / "run", model)
    index.upsert([{"id": "n1", "title": "purple hat"}])
    assert index.patch("a1", {"price": 1}).rewritten == ("a1",)
    assert index.update(write_catalog(tmp_path)).kept == ["n1"]


def test_another_model_cannot_write(tmp_path: Path, index: Index) -> None:
    Index.build(FakeModel(fingerprint="retrained"), write_catalog(tmp_path), tmp_path / "run")
    for write in (
        lambda: index.upsert([{"id": "x", "title": "t"}]),
        lambda: index.patch("a1", {"price": 1}),
        lambda: index.delete(["a1"]),
    ):
        with pytest.raises(UserError, match="made by another model"):
            write()


def test_other_handles_find_a_write_within_half_a_second(tmp_path: Path, index: Index, model: FakeModel) -> None:
    other = Index.open(tmp_path / "run", model)
    other.search("anything", hybrid=True)
    for turn in range(4):
        index.upsert([{"id": f"n{turn}", "title": f"hat xj-90{turn}"}])
        time.sleep(0.5)
        assert other.item(f"n{turn}").id == f"n{turn}"
        assert ids_of(other, f"xj90{turn}", hybrid=True, k=1) == [f"n{turn}"]


def test_writers_in_several_threads_lose_nothing(tmp_path: Path, model: FakeModel, monkeypatch) -> None:
    monkeypatch.setattr(words, "_MANY_RECENT", 25)  # words are written to the disk again and again
    index = Index.build(model, write_catalog(tmp_path), tmp_path / "run")
    handles = [index, Index.open(tmp_path / "run", model)]
    errors: list[str] = []
    stop = threading.Event()

    def write(name: int) -> None:
        try:
            for turn in range(25):
                handles[name % 2].upsert([{"id": f"{name}-{turn}", "title": f"hat w{name}x{turn}"}])
                handles[name % 2].patch("a1", {"price": float(turn)} if name else {"stock": turn})
                if turn % 5 == 4:
                    handles[name % 2].delete([f"{name}-{turn - 1}"])
        except Exception as error:
            errors.append(repr(error))

    def read() -> None:
        try:
            while not stop.is_set():
                index.search("red chair hat", hybrid=True, k=50)
        except Exception as error:
            errors.append(repr(error))

    writers = [threading.Thread(target=write, args=(name,)) for name in range(3)]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert errors == []
    time.sleep(0.5)
    for opened in (*handles, Index.open(tmp_path / "run", model)):
        assert (opened.item("a1").fields["stock"], opened.item("a1").fields["price"]) == (24, 24.0), "no patch was lost"
        assert len(opened) == 3 + 3 * 20
        for name in range(3):
            for turn in (0, 7, 22, 24):
                assert ids_of(opened, f"w{name}x{turn}", hybrid=True, k=1) == [f"{name}-{turn}"]
            assert f"{name}-3" not in ids_of(opened, f"w{name}x3", hybrid=True, k=100)


def test_writes_during_updates_are_not_lost(tmp_path: Path, index: Index, model: FakeModel, way: str) -> None:
    catalogs = [write_catalog(tmp_path, f"a4,green sofa w{turn}x,,,1,1,true,Acme") for turn in range(2)]
    errors: list[str] = []
    stop, written = threading.Event(), list[str]()

    def write() -> None:
        try:
            while not stop.is_set():
                id = f"n{len(written)}"
                index.upsert([{"id": id, "title": f"hat {id}w"}])
                written.append(id)
        except Exception as error:
            errors.append(repr(error))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        updater = Index.open(tmp_path / "run", model)
        for turn in range(6):
            updater.update(catalogs[turn % 2])
            index.patch("a1", {"stock": turn})  # which the next update takes back
    finally:
        stop.set()
        writer.join()
    assert errors == []
    assert len(written) > 6
    for opened in (index, Index.open(tmp_path / "run", model)):
        assert len(opened) == 4 + len(written)
        assert [opened.item(id).id for id in written] == written
        for id in written[:: max(1, len(written) // 10)]:
            assert ids_of(opened, f"{id}w", hybrid=True, k=1) == [id]


def test_patches_through_different_handles_see_each_other(tmp_path: Path, index: Index, model: FakeModel) -> None:
    other = Index.open(tmp_path / "run", model)
    for turn in range(6):
        assert other.item("a1").fields["price"] is not None  # it has just looked at what others wrote
        index.patch("a1", {"price": float(turn)})
        other.patch("a1", {"stock": turn})
        assert (other.item("a1").fields["price"], other.item("a1").fields["stock"]) == (float(turn), turn)


def test_writers_take_turns_from_reading_to_writing(
    tmp_path: Path, index: Index, model: FakeModel, monkeypatch
) -> None:
    def next_timestamp_slowly(*arguments) -> int:
        found = next_timestamp(*arguments)
        time.sleep(0.02)
        return found

    monkeypatch.setattr(writing, "next_timestamp", next_timestamp_slowly)
    handles = [index, Index.open(tmp_path / "run", model)]
    columns = ["price", "stock"]

    def patch(handle: Index, column: str) -> None:
        for turn in range(8):
            handle.patch("a1", {column: turn})

    threads = [threading.Thread(target=patch, args=both) for both in zip(handles, columns, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.5)  # within which what others wrote is seen
    assert [index.item("a1").fields[column] for column in columns] == [7, 7]
