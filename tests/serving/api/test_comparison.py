"""The model beside the same encoders untrained and BM25: built when it is asked for, and a sample is said to be one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from retrieval.fakes import FakeModel, catalog_of
from serving.page.shop import TitleModel
from starlette.testclient import TestClient

from likewise.errors import UserError
from likewise.retrieval.index import Index
from likewise.serving import comparison
from likewise.serving.api.app import create_api
from likewise.serving.comparison import Comparison
from likewise.serving.service import SearchService

TITLES = ["red apple", "red cherry", "green pear", "green lime", "apple juice", "cherry cake"]


def create_other(model: FakeModel) -> FakeModel:
    return TitleModel(fingerprint="untrained")


@contextmanager
def serving(folder: Path, create=create_other) -> Iterator[TestClient]:
    model = FakeModel()
    catalog = catalog_of(*TITLES, price=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], brand=["A", "B", None, "A", "B", None])
    with Index.build(model, catalog, folder / "run") as index:
        service = SearchService(index, comparison=Comparison(index, model, folder / "cache", create))
        try:
            with TestClient(create_api(service)) as client:
                yield client
        finally:
            service.close()


def wait_until_built(client: TestClient) -> dict:
    assert client.post("/v1/comparison").json()["state"] != "absent"
    for _ in range(200):
        state = client.get("/v1/comparison").json()
        if state["state"] != "building":
            return state
        time.sleep(0.02)
    raise AssertionError("it was never built")


def compare(client: TestClient, **query: object) -> dict[str, list[dict]]:
    answer = client.post("/v1/compare", json=query)
    assert answer.status_code == 200, answer.text
    return {system["system"]: system["hits"] for system in answer.json()["systems"]}


def test_words_alone_are_compared_at_once_and_the_untrained_model_once_it_is_built(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        assert client.get("/v1/comparison").json()["state"] == "absent"
        found = compare(client, text="red cherry")
        assert set(found) == {"trained", "bm25"}
        assert [hit["id"] for hit in found["bm25"]][:1] == ["1"]
        assert {hit["id"] for hit in found["bm25"]} == {"0", "1", "5"}  # no item without a word of the query
        assert wait_until_built(client) == {"state": "ready", "encoded": 6, "items": 6, "of": 6, "detail": None}
        found = compare(client, text="red cherry", k=4)
        assert found["trained"][0]["id"] == "1"
        assert [hit["trained_rank"] for hit in found["trained"]] == [1, 2, 3, 4]
        assert [hit["id"] for hit in found["untrained"]][:2] == ["1", "5"]  # the second word counts more for it
        ranks = {hit["id"]: place for place, hit in enumerate(compare(client, text="red cherry")["trained"], 1)}
        assert all(hit["trained_rank"] == ranks[hit["id"]] for hit in found["untrained"])


def test_filters_hold_for_all(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        wait_until_built(client)
        found = compare(client, text="red cherry apple", where="brand == 'B' and price < 5")
        assert {system: [hit["id"] for hit in hits] for system, hits in found.items()} == {
            "trained": ["1"],
            "untrained": ["1"],
            "bm25": ["1"],
        }


def test_of_a_large_index_all_three_search_the_same_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MOST_ITEMS", 3)
    with serving(tmp_path) as client:
        assert wait_until_built(client) == {"state": "ready", "encoded": 3, "items": 3, "of": 6, "detail": None}
        found = compare(client, text="red green apple cherry pear lime juice cake")
        sample = {hit["id"] for hit in found["untrained"]}
        assert len(sample) == 3
        assert {hit["id"] for hit in found["trained"]} == {hit["id"] for hit in found["bm25"]} == sample


def test_a_model_without_training_and_one_that_is_gone_say_so(tmp_path: Path) -> None:
    def find_nothing(model: FakeModel) -> FakeModel:
        raise UserError("the encoder is gone")

    with serving(tmp_path / "a", lambda model: model) as client:
        state = wait_until_built(client)
        assert state["state"] == "failed"
        assert "has not been trained" in state["detail"]
    with serving(tmp_path / "b", find_nothing) as client:
        assert wait_until_built(client)["detail"] == "the encoder is gone"
        assert set(compare(client, text="red")) == {"trained", "bm25"}


def test_a_server_without_a_model_of_its_own_compares_nothing(client: TestClient) -> None:
    for answer in (client.get("/v1/comparison"), client.post("/v1/compare", json={"text": "red"})):
        assert answer.status_code == 404
        assert "no model" in answer.json()["detail"]
