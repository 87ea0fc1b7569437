"""Search as a user sees it: hits, one sentence for every mistake, and an index that knows its model."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from retrieval.fakes import FakeCatalog, FakeModel, catalog_of, save_picture

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.causes import PictureError
from likewise.errors import UserError
from likewise.retrieval.index import Index

MODEL = FakeModel()


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
    assert index.description.left_out == 1
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
    catalog.fingerprint = "changed"
    assert not opened.matches(catalog)


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
    assert before.search("wooden chair", k=1)[0].id == "3", "who has the old one open goes on reading it"


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


@pytest.mark.parametrize("name", ["index.json", "vectors.faiss", "items.sqlite"])
@pytest.mark.parametrize("content", [None, "{}"])
def test_a_damaged_index_is_one_sentence(catalog: FakeCatalog, tmp_path: Path, name: str, content: str | None) -> None:
    Index.build(MODEL, catalog, tmp_path)
    (file,) = (tmp_path / "index").glob(f"*/{name}")
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=r"damaged.*likewise index"):
        Index.open(tmp_path, MODEL)


def test_the_description_names_model_and_catalogue(catalog: FakeCatalog, tmp_path: Path) -> None:
    Index.build(MODEL, catalog, tmp_path)
    version = (tmp_path / "index" / "current").read_text().strip()
    described = json.loads((tmp_path / "index" / version / "index.json").read_text())
    assert described.pop("created").endswith("+00:00")
    assert described == {
        "model": "fake-model",
        "dim": 64,
        "catalog": "fake-catalog",
        "count": 4,
        "left_out": 1,
        "kind": "exact",
    }


def test_an_index_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write the index"):
        Index.build(MODEL, catalog_of("tea"), tmp_path)


def test_vectors_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(UserError, match="2 items in 64 dimensions"):
        Index.from_vectors(MODEL, np.zeros((2, 8), dtype=np.float32), pl.DataFrame({"id": ["a", "b"]}))


def test_vectors_need_not_be_normalised() -> None:
    table = catalog_of("tea", "coffee").table
    index = Index.from_vectors(MODEL, 7.0 * MODEL.encode_queries(["tea", "coffee"]), table)
    assert index.search("tea", k=1)[0].score == pytest.approx(1.0, abs=1e-5)
