"""Single items over HTTP."""

from collections.abc import Iterator

import polars as pl
import pytest
from retrieval.fakes import FakeCatalog, FakeModel
from starlette.testclient import TestClient

from likewise.retrieval.index import Index
from likewise.serving.api.app import create_api
from likewise.serving.service import SearchService

ODD_IDS = ["a/b", "a/b/similar", "ü %2F", "?x=1", "#", "..", "a+b", " ", "x" * 900, "../../etc/passwd", "日本"]


@pytest.fixture(scope="module")
def odd() -> Iterator[TestClient]:
    table = pl.DataFrame({"id": ODD_IDS, "title": [f"red thing {number}" for number in range(len(ODD_IDS))]})
    service = SearchService(Index.build(FakeModel(), FakeCatalog(table)))
    with TestClient(create_api(service)) as client:
        yield client
    service.close()


def test_an_item_by_its_id(client: TestClient) -> None:
    answer = client.get("/v1/items/2").json()
    assert answer == {
        "id": "2",
        "fields": {"id": "2", "title": "blue berry", "price": 3.0, "brand": "B"},
        "thumbnail": None,
        "recording": None,
    }
    assert client.get("/v1/items/2x").status_code == 404


@pytest.mark.parametrize("id", [id for id in ODD_IDS if id != ".."])  # clients resolve dots before they ask
def test_ids_of_any_characters(odd: TestClient, id: str) -> None:
    from urllib.parse import quote

    path = f"/v1/items/{quote(id, safe='')}"
    assert odd.get(path).json()["id"] == id
    similar = odd.get(f"{path}/similar", params={"k": 20}).json()["hits"]
    assert {hit["id"] for hit in similar} == set(ODD_IDS) - {id}


@pytest.mark.parametrize("path", ["%ff", "%00", "%C3%28", "x" * 4_000, "nobody"])
def test_an_id_that_is_not_there(odd: TestClient, path: str) -> None:
    answer = odd.get(f"/v1/items/{path}")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"
