"""Writing items over HTTP: what was acknowledged is found at once, by vector, by words and by id."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from retrieval.fakes import catalog_of
from serving.api.examples import FakeTextModel, png
from starlette.testclient import TestClient

from likewise.retrieval.index import Index
from likewise.serving.api.app import create_api
from likewise.serving.service import Limits, SearchService
from likewise.serving.thumbnails import thumbnails_in


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    catalog = catalog_of("red apple", "green pear", "blue berry")
    catalog.table = catalog.table.with_columns(
        pl.Series("description", ["sweet", None, None]),
        pl.Series("image", [None, None, None], pl.List(pl.String)),
        pl.Series("price", [1.0, 2.5, 3.0]),
        pl.Series("stock", [1, 2, 3]),
    )
    index = Index.build(FakeTextModel(), catalog, tmp_path / "run")
    service = SearchService(
        index, limits=Limits(image_bytes=50_000, audio_bytes=50_000), thumbnails=thumbnails_in(tmp_path / "cache")
    )
    with TestClient(create_api(service), raise_server_exceptions=False) as client:
        yield client
    service.close()
    index.close()


def best(client: TestClient, **body: Any) -> str:
    return client.post("/v1/search", json={"k": 1, **body}).json()["hits"][0]["id"]


def test_an_item_is_found_as_soon_as_it_is_written(client: TestClient) -> None:
    answer = client.put("/v1/items/new%2F1", json={"title": "violet umbrella", "price": 12.5})
    assert (answer.status_code, answer.json()) == (201, {"id": "new/1", "result": "new"})
    assert best(client, text="umbrella") == "new/1"
    assert best(client, text="umbrella", hybrid=True) == "new/1"
    item = client.get("/v1/items/new%2F1").json()["fields"]
    assert (item["title"], item["price"], item["stock"]) == ("violet umbrella", 12.5, None)


@pytest.mark.parametrize("id", ["%20a", "a%15b", "a%20", "%20"])
def test_an_id_that_would_be_kept_as_another_one_is_refused(client: TestClient, id: str) -> None:
    answer = client.put(f"/v1/items/{id}", json={"title": "violet umbrella"})
    assert answer.status_code == 422, answer.text
    assert client.get(f"/v1/items/{id}").status_code == 404


def test_an_item_is_replaced_as_a_whole_and_patched_in_part(client: TestClient) -> None:
    assert client.put("/v1/items/0", json={"title": "orange scarf"}).json()["result"] == "changed"
    assert client.get("/v1/items/0").json()["fields"]["price"] is None
    assert client.put("/v1/items/0", json={"title": "orange scarf"}).json()["result"] == "unchanged"
    assert client.patch("/v1/items/0", json={"price": 9.0}).json()["result"] == "rewritten"
    assert client.get("/v1/items/0").json()["fields"]["price"] == 9.0
    assert client.patch("/v1/items/0", json={"title": "teal curtain"}).json()["result"] == "changed"
    assert best(client, text="curtain", hybrid=True) == "0"
    assert client.patch("/v1/items/nobody", json={"price": 1.0}).status_code == 404


def test_a_removed_item_is_gone(client: TestClient) -> None:
    assert client.delete("/v1/items/1").status_code == 204
    assert client.get("/v1/items/1").status_code == 404
    assert client.delete("/v1/items/1").status_code == 404
    hits = client.post("/v1/search", json={"text": "green pear", "hybrid": True}).json()["hits"]
    assert "1" not in {hit["id"] for hit in hits}


def test_a_picture_can_be_uploaded_with_an_item(client: TestClient) -> None:
    answer = client.put(
        "/v1/items/pictured",
        files={"image": ("x.png", png((0, 0, 255)), "image/png")},
        data={"item": '{"title": "thing"}'},
    )
    assert answer.status_code == 201, answer.text
    thumbnail = client.get("/v1/items/pictured").json()["thumbnail"]
    assert client.get(thumbnail).content[:2] == b"\xff\xd8"
    inline = f"data:image/png;base64,{base64.b64encode(png((255, 0, 0))).decode()}"
    assert client.patch("/v1/items/pictured", json={"image": inline}).json()["result"] == "changed"
    assert client.get("/v1/items/pictured").json()["thumbnail"] != thumbnail
    assert client.patch("/v1/items/pictured", json={"image": None}).json()["result"] == "changed"
    assert client.get("/v1/items/pictured").json()["thumbnail"] is None


def test_many_items_at_once(client: TestClient) -> None:
    rows = [{"id": f"bulk-{number}", "title": f"unique{number} lamp", "stock": number} for number in range(50)]
    body = "\n".join(json.dumps(row) for row in rows)
    headers = {"Content-Type": "application/x-ndjson"}
    answer = client.post("/v1/items", content=body, headers=headers)
    assert answer.json() == {"new": 50, "changed": 0, "rewritten": 0, "unchanged": 0}
    assert best(client, text="unique37", hybrid=True) == "bulk-37"
    assert client.post("/v1/items", content=body, headers=headers).json()["unchanged"] == 50


def test_a_picture_in_a_line_belongs_to_the_id_as_it_is_kept(client: TestClient) -> None:
    inline = f"data:image/png;base64,{base64.b64encode(png((255, 0, 0))).decode()}"
    body = json.dumps({"id": " spaced ", "title": "thing", "image": inline})
    answer = client.post("/v1/items", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.json()["new"] == 1
    assert client.get("/v1/items/spaced").json()["thumbnail"] is not None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "x"', "line 2: invalid JSON"),
        ("[1]", "line 2:"),
        ('{"title": "no id"}', "id"),
        ('{"id": "0", "colour": "red", "title": "x"}', '"colour"'),
        ('{"id": "ok", "title": "again"}', "ok"),
        ('{"id": "x", "title": "x", "price": "cheap"}', "price"),
        ('{"id": "x", "title": ""}', "nothing"),
    ],
)
def test_of_many_items_all_are_written_or_none(client: TestClient, line: str, words: str) -> None:
    body = '{"id": "ok", "title": "fine"}\n' + line
    answer = client.post("/v1/items", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code in (400, 422), answer.text
    assert words in answer.json()["detail"]
    assert client.get("/v1/items/ok").status_code == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"title": "x", "prise": 3}, "did you mean price"),
        ({"title": "x", "price": "cheap"}, "price"),
        ({"title": "x", "price": True}, "price"),
        ({"title": "x", "price": [1]}, "price"),
        ({"title": "x", "stock": 1.5}, "stock"),
        ({}, "nothing"),
        ({"title": " "}, "nothing"),
        ({"title": "x", "id": "other"}, "not the one in the path"),
        ({"title": "x", "image": "/etc/passwd"}, "/etc/passwd"),
        ({"title": "x", "image": "file:///etc/passwd"}, "file:///etc/passwd"),
        ({"title": "x", "image": "s3://shop/secret.png"}, "s3://shop/secret.png"),
        ({"title": "x", "image": "https://example.com/x.png"}, "not fetched"),
        ({"title": "x", "image": ["data:image/png;base64,AAAA"]}, "picture"),
        ({"title": "x", "image": [5]}, "image"),
        ({"title": "x", "_likewise": {"path": "/etc/passwd"}}, "_likewise"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(client: TestClient, body: dict[str, Any], words: str) -> None:
    for answer in (client.put("/v1/items/x", json=body), client.patch("/v1/items/2", json=body)):
        if answer.status_code == 200:
            assert body == {}, "a patch of nothing changes nothing"
            continue
        assert answer.status_code == 422, answer.text
        assert words in answer.json()["detail"]
    assert client.get("/v1/items/x").status_code == 404
    assert client.get("/v1/items/2").json()["fields"]["title"] == "blue berry"


def test_writers_at_the_same_time_lose_nothing(client: TestClient) -> None:
    def write(start: int) -> None:
        for number in range(start, start + 15):
            answer = client.put(f"/v1/items/t{number}", json={"title": f"word{number} thing", "stock": number})
            assert answer.status_code == 201, answer.text

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in [*range(15), *range(100, 115), *range(200, 215)]:
        assert client.get(f"/v1/items/t{number}").json()["fields"]["stock"] == number
        assert best(client, text=f"word{number}", hybrid=True) == f"t{number}"
