"""Search as a user sees it: hits, one sentence for every mistake, and an index that knows its model."""

import gc
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from retrieval.fakes import FakeCatalog, FakeModel, catalog_of, save_picture

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture, PictureError
from likewise.errors import UserError
from likewise.retrieval.export import write_vectors
from likewise.retrieval.index import Index
from likewise.retrieval.location import IndexLocation
from likewise.stores.registry import remembered_store, replace_store
from likewise.stores.schema import Schema

MODEL = FakeModel()


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something is true; an open index may take a second to follow."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not seen in time"
        time.sleep(0.02)


@pytest.fixture
def catalog(tmp_path: Path) -> FakeCatalog:
    made = catalog_of("red apple", "green pear", "blue plum", "wooden chair", None, price=[1.5, 2.0, None, 40.0, 9.0])
    made.pictures = [
        (save_picture(tmp_path / "apple.png", (250, 10, 10)),),
        (),
        (save_picture(tmp_path / "plum.png", (10, 10, 250)), save_picture(tmp_path / "other.png", (0, 0, 200))),
        (),
        (),
    ]
    return made


def test_words_find_items_with_all_their_columns(catalog: FakeCatalog) -> None:
    hits = Index.build(MODEL, catalog).search("wooden chair", k=2)
    assert [hits[0].id, hits[0].fields] == ["3", {"id": "3", "title": "wooden chair", "price": 40.0}]
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert hits[1].score < hits[0].score


def test_a_picture_finds_items(catalog: FakeCatalog, tmp_path: Path) -> None:
    index = Index.build(MODEL, catalog)
    path = save_picture(tmp_path / "query.png", (0, 0, 255)).path
    with path.open("rb") as file:
        answers = [index.search(image=image, k=1) for image in (path, str(path), Image.open(path), file)]
    assert [hits[0].id for hits in answers] == ["2"] * 4
    assert answers[0][0].picture == catalog.pictures[2][0]


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK"])
def test_a_picture_in_memory_may_have_any_mode(catalog: FakeCatalog, mode: str) -> None:
    image = Image.new("RGB", (9, 9), (255, 0, 0)).convert(mode)
    assert Index.build(MODEL, catalog).search(image=image, k=1)


def test_words_and_picture_are_weighed(catalog: FakeCatalog) -> None:
    index = Index.build(MODEL, catalog)
    blue = Image.new("RGB", (8, 8), (0, 0, 255))
    assert index.search("wooden chair", image=blue, image_weight=0.1, k=1)[0].id == "3"
    assert index.search("wooden chair", image=blue, image_weight=0.9, k=1)[0].id == "2"
    scores = {
        weight: index.search("green pear", image=blue, image_weight=weight, k=1)[0].score for weight in (0.0, 0.5)
    }
    assert scores[0.0] == pytest.approx(index.search("green pear", k=1)[0].score, abs=1e-5)
    query = MODEL.encode_queries(["green pear"])[0] + MODEL.encode_images([blue])[0]
    best = max(float(row @ query / np.linalg.norm(query)) for row in MODEL.encode_items(catalog)[:4])
    assert scores[0.5] == pytest.approx(best, abs=1e-5)


def test_blank_words_beside_a_picture_do_not_count(catalog: FakeCatalog) -> None:
    index = Index.build(MODEL, catalog)
    blue = Image.new("RGB", (8, 8), (0, 0, 255))
    assert index.search("  ", image=blue) == index.search(image=blue)


def test_opposite_words_and_picture_give_zeros_and_no_error(catalog: FakeCatalog) -> None:
    class Opposite(FakeModel):
        def encode_images(self, images: list) -> np.ndarray:
            return -self.encode_queries(["red apple"])

    hits = Index.from_vectors(Opposite(), MODEL.encode_items(catalog), catalog.table).search(
        "red apple", image=Image.new("RGB", (4, 4))
    )
    assert {hit.score for hit in hits} == {0.0}


def test_an_item_with_nothing_to_encode_is_left_out_and_counted(catalog: FakeCatalog) -> None:
    index = Index.build(MODEL, catalog)
    assert len(index) == 4
    assert index.metadata.left_out == 1
    assert {hit.id for hit in index.search("anything", k=100)} == {"0", "1", "2", "3"}
    assert index.similar("3", k=1)[0].id != "3"
    with pytest.raises(UserError, match="no item '4'"):
        index.similar("4")


def test_similar_items_leave_out_the_item_itself_but_not_its_twin() -> None:
    index = Index.build(MODEL, catalog_of("tea", "tea", "green tea", "coffee"))
    assert [hit.id for hit in index.similar("0", k=2)] == ["1", "2"]
    assert len(index.similar("0", k=50)) == 3


def test_an_empty_catalogue_can_be_searched() -> None:
    index = Index.build(MODEL, catalog_of())
    assert index.search("tea") == []
    assert index.example_titles() == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "give words, a picture or both"),
        ({"text": "   "}, "give words, a picture or both"),
        ({"text": "tea", "k": 0}, "k must be at least 1"),
        ({"text": "tea", "k": -3}, "k must be at least 1"),
        ({"text": "tea", "image": Image.new("RGB", (4, 4)), "image_weight": 1.5}, "between 0 and 1"),
        ({"text": "tea", "image": Image.new("RGB", (4, 4)), "image_weight": float("nan")}, "between 0 and 1"),
    ],
)
def test_a_mistake_in_the_query_is_one_sentence(arguments: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Index.build(MODEL, catalog_of("tea")).search(**arguments)


def test_a_picture_that_is_none_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("I am no picture")
    index = Index.build(MODEL, catalog_of("tea"))
    for path in (tmp_path / "text.jpg", tmp_path / "absent.jpg"):
        with pytest.raises(PictureError):
            index.search(image=path)


def test_an_index_in_a_run_opens_again_and_answers_the_same(catalog: FakeCatalog, tmp_path: Path) -> None:
    run = tmp_path / "run"
    built = Index.build(MODEL, catalog, run)
    opened = Index.open(run, MODEL)
    assert opened.search("red apple", k=4) == built.search("red apple", k=4)
    assert opened.search("red apple", k=4) == Index.build(MODEL, catalog).search("red apple", k=4)
    assert opened.matches(catalog)
    other = catalog_of("red apple", "green pear", "blue plum", "wooden table", None, price=[1.5, 2.0, None, 40.0, 9.0])
    other.pictures, other.fingerprint = catalog.pictures, "other"
    assert not opened.matches(other)
    other = catalog_of("red apple", "green pear", "blue plum", "wooden chair", None)
    other.pictures, other.fingerprint = catalog.pictures, "read in another way"
    assert opened.matches(other), "metadata and order do not count"


def test_a_file_becomes_searchable(tmp_path: Path) -> None:
    save_picture(tmp_path / "plum.png", (0, 0, 250))
    (tmp_path / "items.csv").write_text(
        "sku,title,image_url,price\nA-1,Green pear,,2\nB-2,Plum,plum.png,3\nB-2,Plum again,,3\n", encoding="utf-8"
    )
    catalog = Catalog.read(tmp_path / "items.csv", columns={"id": "sku"}, cache=tmp_path / "cache")
    Index.build(MODEL, catalog, tmp_path / "run")
    hit = Index.open(tmp_path / "run", MODEL).search("blue plum", k=1)[0]
    assert (hit.id, hit.fields["title"], hit.fields["image"]) == ("B-2", "Plum", ["plum.png"])
    assert hit.picture == catalog.pictures[1][0]


def test_indexing_again_replaces_the_index(catalog: FakeCatalog, tmp_path: Path) -> None:
    before = Index.build(MODEL, catalog, tmp_path)
    Index.build(MODEL, catalog_of("tea"), tmp_path)
    assert len(Index.open(tmp_path, MODEL)) == 1
    assert before.search("wooden chair", k=1), "who has the old one open goes on searching"


def test_another_model_is_refused_with_the_way_out(catalog: FakeCatalog, tmp_path: Path) -> None:
    Index.build(MODEL, catalog, tmp_path)
    with pytest.raises(UserError, match=r"made by another model.*likewise index .* --data FILE"):
        Index.open(tmp_path, FakeModel(fingerprint="retrained"))
    with pytest.raises(UserError, match=r"64 dimensions, the model 32.*likewise index .* --data FILE"):
        Index.open(tmp_path, FakeModel(dim=32))


def test_a_run_without_index_says_how_to_make_one(tmp_path: Path) -> None:
    for run in (tmp_path, tmp_path / "no such run"):
        with pytest.raises(UserError, match=r"has no index yet: likewise index .* --data FILE"):
            Index.open(run, MODEL)


@pytest.mark.parametrize("name", ["schema.json", "vectors.f32", "wal"])
@pytest.mark.parametrize("content", [None, "{}"])
def test_a_damaged_index_is_one_sentence(catalog: FakeCatalog, tmp_path: Path, name: str, content: str | None) -> None:
    if (name, content) == ("wal", "{}"):
        return  # the beginning of a record that was never finished is no damage
    Index.build(MODEL, catalog, tmp_path)
    (file,) = (tmp_path / "index").glob(f"*/{name}")
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=r"damaged: build it again"):
        Index.open(tmp_path, MODEL)


def test_a_store_of_something_else_is_refused(tmp_path: Path) -> None:
    items = pl.DataFrame({"id": ["a"]})
    with replace_store("faiss:index", Schema.of(items, MODEL.dim), folder=tmp_path) as store:
        store.upsert(items, np.ones((1, MODEL.dim)))
    with pytest.raises(UserError, match="was made by another program or version"):
        Index.open(tmp_path, MODEL)


def test_the_description_names_model_and_catalogue(catalog: FakeCatalog, tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    described = Index.build(MODEL, catalog, tmp_path).metadata
    assert described == Index.open(tmp_path, MODEL).metadata
    assert (described.model, described.dim, described.catalog) == ("fake-model", 64, "fake-catalog")
    assert (described.count, described.left_out) == (4, 1)
    assert before <= datetime.fromisoformat(described.created) <= datetime.now(UTC)


def test_an_index_that_cannot_be_written_is_one_sentence_and_nothing_was_encoded(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file where the folder should be")
    model = FakeModel()
    with pytest.raises(UserError, match=r"cannot write an index into .*index"):
        Index.build(model, catalog_of("tea"), tmp_path)
    assert model.encoded == [], "the mistake shows before the long work"


def test_an_index_for_now_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    index = Index.build(MODEL, catalog_of("tea"))
    assert list(tmp_path.iterdir())
    del index
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["faiss:elsewhere", "lancedb:items", "faiss://{folder}/shop"])
def test_a_run_remembers_its_store(catalog: FakeCatalog, tmp_path: Path, uri: str) -> None:
    run, uri = tmp_path / "run", uri.format(folder=tmp_path)
    Index.build(MODEL, catalog, run, store=uri)
    assert str(remembered_store(run)) == uri
    assert not (run / "index").exists()
    assert Index.open(run, MODEL).search("wooden chair", k=1)[0].id == "3"
    Index.build(MODEL, catalog_of("tea"), run)
    assert len(Index.open(run, MODEL, store=uri)) == 1, "building again writes to the same store"


def test_the_memory_of_a_store_holds_no_secret(tmp_path: Path) -> None:
    IndexLocation.for_run(tmp_path, "qdrant://me:secret@localhost:6333?api_key=hush&collection=shop").remember()
    assert "secret" not in (tmp_path / "store.json").read_text()
    assert "hush" not in (tmp_path / "store.json").read_text()
    assert str(remembered_store(tmp_path)) == "qdrant://localhost:6333?collection=shop"


def test_a_run_can_be_moved(catalog: FakeCatalog, tmp_path: Path) -> None:
    Index.build(MODEL, catalog, tmp_path / "here", store="lancedb:items")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Index.open(tmp_path / "there", MODEL)
    assert moved.search("chair", hybrid=True, k=1)[0].id == "3"


def test_a_store_without_a_run_is_refused() -> None:
    with pytest.raises(UserError, match="needs a run folder"):
        Index.build(MODEL, catalog_of("tea"), store="faiss:/tmp/x")


def test_an_open_index_follows_a_new_one_and_refuses_that_of_another_model(tmp_path: Path) -> None:
    served = Index.build(MODEL, catalog_of("tea"), tmp_path)
    Index.build(MODEL, catalog_of("coffee", "wooden chair"), tmp_path)
    eventually(lambda: [hit.fields["title"] for hit in served.search("chair", k=1)] == ["wooden chair"])
    assert len(served) == 2
    Index.build(FakeModel(fingerprint="retrained"), catalog_of("tea"), tmp_path)
    eventually(lambda: len(served) == 1)
    with pytest.raises(UserError, match="made by another model; start again"):
        served.search("tea")
    Index.build(FakeModel(dim=32), catalog_of("tea"), tmp_path)
    time.sleep(0.4)
    with pytest.raises(UserError, match="32 dimensions, the model 64; start again"):
        served.search("tea")


def test_columns_come_back_as_what_json_can_hold() -> None:
    table = pl.DataFrame(
        {
            "id": ["a", "b"],
            "title": ["tea", "coffee"],
            "image": [["x.jpg", "y.jpg"], []],
            "price": [float("nan"), 2.5],
            "since": [datetime(2024, 5, 1), None],
            "_likewise": ["a column of the user's", None],
        }
    )
    picture = Picture(key="f" * 64, path=Path("/pictures/ü x.jpg"))
    index = Index.from_vectors(MODEL, MODEL.encode_queries(["tea", "coffee"]), table, pictures=[picture, None])
    item = index.item("a")
    assert item.fields == {
        "id": "a",
        "title": "tea",
        "image": ["x.jpg", "y.jpg"],
        "price": None,
        "since": "2024-05-01 00:00:00",
        "_likewise": "a column of the user's",
    }
    assert item.picture == picture
    assert index.item("b").picture is None
    assert index.search("tea", where="_likewise is not null")[0].id == "a"
    with pytest.raises(UserError, match="no item 'c'"):
        index.item("c")


def test_example_titles_are_short_different_and_from_everywhere() -> None:
    titles = [None, "  ", "x" * 41, *(f"title {number % 100}" for number in range(400))]
    table = pl.DataFrame({"id": [str(row) for row in range(len(titles))], "title": titles})
    index = Index.from_vectors(MODEL, np.ones((len(titles), MODEL.dim), np.float32), table)
    examples = index.example_titles(6)
    assert len(set(examples)) == 6
    numbers = [int(title.split()[1]) for title in examples]
    assert min(numbers) < 30
    assert max(numbers) > 60
    small = Index.from_vectors(MODEL, np.ones((1, 64)), pl.DataFrame({"id": ["a"], "title": [" Tea "]}))
    assert small.example_titles() == ["Tea"]
    untitled = Index.from_vectors(MODEL, np.ones((1, 64)), pl.DataFrame({"id": ["a"], "name": ["Tea"]}))
    assert untitled.example_titles() == []


def test_items_with_the_same_id_are_refused_also_far_apart(catalog: FakeCatalog, tmp_path: Path) -> None:
    count = 10_001
    table = pl.DataFrame({"id": [f"item-{row % (count - 1)}" for row in range(count)]})
    with pytest.raises(UserError, match="id 'item-0' occurs more than once"):
        Index.from_vectors(MODEL, np.ones((count, MODEL.dim), np.float32), table)
    index = Index.build(MODEL, catalog, tmp_path)
    catalog.table = catalog.table.with_columns(id=pl.lit("one"))
    with pytest.raises(UserError, match="id 'one' occurs more than once"):
        index.update(catalog)
    assert len(index) == 4
    with pytest.raises(UserError, match="id 'a' occurs more than once"):
        write_vectors(tmp_path / "vectors.parquet", ["a", "b", "a"], np.ones((3, 4), np.float32))
    assert not (tmp_path / "vectors.parquet").exists()


@pytest.mark.parametrize(
    "items", [pl.DataFrame({"title": ["a"]}), pl.DataFrame({"id": [1]}), pl.DataFrame({"id": [None]})]
)
def test_vectors_without_ids_are_refused(items: pl.DataFrame) -> None:
    with pytest.raises(UserError, match='need a column "id"'):
        Index.from_vectors(MODEL, np.ones((1, MODEL.dim), np.float32), items)


def test_vectors_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(UserError, match="2 items in 64 dimensions"):
        Index.from_vectors(MODEL, np.zeros((2, 8), dtype=np.float32), pl.DataFrame({"id": ["a", "b"]}))


def test_vectors_need_not_be_normalised() -> None:
    table = catalog_of("tea", "coffee").table
    index = Index.from_vectors(MODEL, 7.0 * MODEL.encode_queries(["tea", "coffee"]), table)
    assert index.search("tea", k=1)[0].score == pytest.approx(1.0, abs=1e-5)
