"""Words and heat maps over HTTP: who may ask, what comes back, what is refused."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import one_torch_thread
from retrieval.shop_catalogue import write_shop, write_untrained_run
from starlette.testclient import TestClient

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.decode import open_picture
from likewise.model.model import Model
from likewise.retrieval.index import Index
from likewise.retrieval.query import build_query
from likewise.serving.api.app import create_api
from likewise.serving.auth import is_write
from likewise.serving.limits import longest_body
from likewise.serving.service import Limits, SearchService
from likewise.serving.thumbnails import thumbnails_in


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    return folder


@pytest.fixture(scope="module")
def shop_service(shop: Path) -> Iterator[SearchService]:
    with one_torch_thread():
        model = Model.load(write_untrained_run(shop / "run"), "cpu")
        with Index.build(model, Catalog.read(shop / "products.csv", cache=shop / "cache"), shop / "run") as index:
            service = SearchService(
                index, model, limits=Limits(image_bytes=100_000), thumbnails=thumbnails_in(shop / "cache")
            )
            yield service
            service.close()


@pytest.fixture(scope="module")
def web(shop_service: SearchService) -> Iterator[TestClient]:
    with TestClient(create_api(shop_service), raise_server_exceptions=False) as client:
        yield client


def test_a_heat_map_of_a_hit(web: TestClient) -> None:
    hit = web.post("/v1/search", json={"text": "red circle", "k": 1}).json()["hits"][0]
    key = hit["thumbnail"].partition("picture=")[2]
    answer = web.post(f"/v1/items/{hit['id']}/heatmap", json={"text": "red circle", "picture": key}).json()
    assert answer.keys() == {"rows", "columns", "values", "width", "height"}
    assert len(answer["values"]) == answer["rows"] == 8
    assert {len(row) for row in answer["values"]} == {answer["columns"]}
    assert max(abs(value) for row in answer["values"] for value in row) == 1.0
    same = web.post(f"/v1/items/{hit['id']}/heatmap", json={"text": "red circle"}).json()
    assert same == answer


def test_it_is_that_of_the_thumbnail(web: TestClient, shop_service: SearchService) -> None:
    answer = web.post("/v1/items/sku-1003/heatmap", json={"text": "red circle", "minus": "square"}).json()
    _, thumbnail = shop_service.find_thumbnail("sku-1003")
    query = build_query("red circle", minus="square")
    found = shop_service.index.measure_heat_map("sku-1003", open_picture(thumbnail), query)
    assert (answer["width"], answer["height"]) == found.picture.size
    for mine, theirs in zip(answer["values"], found.values.tolist(), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)


def test_every_part_of_a_query_counts(web: TestClient, shop: Path) -> None:
    photo = base64.b64encode((shop / "photo.jpg").read_bytes()).decode()
    path = "/v1/items/sku-1003/heatmap"
    queries = [
        {"text": "red circle"},
        {"image": photo},
        {"like": "sku-1005"},
        {"text": {"text": "red", "weight": 2.0}, "image": {"image": photo}, "minus": "blue", "image_weight": 0.2},
    ]
    maps = [web.post(path, json=query) for query in queries]
    assert [answer.status_code for answer in maps] == [200] * len(queries)
    assert len({str(answer.json()["values"]) for answer in maps}) == len(queries)


@pytest.mark.parametrize(
    ("id", "body", "status", "detail"),
    [
        ("nobody", {"text": "red"}, 404, "the index has no item"),
        ("sku-1003", {"text": "red", "picture": "0" * 64}, 404, "this item has no such picture: search again"),
        ("sku-1003", {"text": "red", "picture": "../../etc/passwd"}, 404, "this item has no such picture"),
        ("sku-1003", {}, 422, "nothing to search for"),
        ("sku-1003", {"like": "nobody"}, 404, "the index has no item"),
        ("sku-1003", {"text": "red", "where": "price < 5"}, 422, 'there is no parameter "where"'),
        ("sku-1003", {"image": "http://127.0.0.1/x.png"}, 422, "pictures are not fetched from URLs here"),
        ("sku-1003", {"image": "bm90aGluZw=="}, 422, "picture"),
        ("sku-1003", {"text": "red", "picture": "x" * 65}, 422, "picture"),
        ("sku-1003", {"audio": "bm90aGluZw=="}, 422, "recording"),
    ],
)
def test_what_is_refused(web: TestClient, id: str, body: dict, status: int, detail: str) -> None:
    answer = web.post(f"/v1/items/{id}/heatmap", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]


def test_asking_for_a_heat_map_is_no_write() -> None:
    assert not is_write("POST", "/v1/items/sku-1003/heatmap")
    assert is_write("POST", "/v1/items")
    assert is_write("POST", "/v1/items/sku-1003")
    assert is_write("PUT", "/v1/items/sku-1003/heatmap")
    assert longest_body("POST", "/v1/items/a/heatmap", 50_000_000, 0) == longest_body(
        "POST", "/v1/search", 50_000_000, 0
    )


def test_words_in_an_explanation(web: TestClient) -> None:
    asked = {"text": "red circle", "minus": "leather", "k": 2, "explain": "words", "hybrid": True}
    for hit in web.post("/v1/search", json=asked).json()["hits"]:
        why = hit["explanation"]
        assert [one["word"] for one in why["query_words"]] == ["red", "circle", "leather"]
        assert [one["field"] for one in why["words"]] == ["title", "description"]
        for of_text in why["words"]:
            assert of_text["text"] == hit["fields"][of_text["field"]]
            for word in of_text["words"]:
                assert of_text["text"][word["start"] : word["end"]].isalnum()
                assert -2.0 <= word["share"] <= 2.0
    plain = web.post("/v1/search", json=asked | {"explain": True}).json()["hits"][0]["explanation"]
    assert "words" not in plain


def test_words_of_too_many_hits_are_refused(web: TestClient) -> None:
    answer = web.post("/v1/search", json={"text": "red", "k": 21, "explain": "words"})
    assert answer.status_code == 422
    assert "20 hits are explained word by word at once" in answer.json()["detail"]
    assert web.post("/v1/search", json={"text": "red", "explain": "letters"}).status_code == 422


def test_a_model_that_gives_no_heat_maps_says_so(client: TestClient) -> None:
    answer = client.post("/v1/items/0/heatmap", json={"text": "red"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"] == "this model cannot say what single words and parts of a picture add to a score"
    assert client.post("/v1/items/1/heatmap", json={"text": "red"}).status_code == 404  # no picture
