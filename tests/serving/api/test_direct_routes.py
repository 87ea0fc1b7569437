"""The routes that bypass the router answer as the router would."""

import pytest
from fastapi.testclient import TestClient
from retrieval.fakes import FakeModel, catalog_of

from likewise.retrieval.index import Index
from likewise.serving.api.app import create_api
from likewise.serving.api.direct_routes import DirectRoutes, find_endpoints
from likewise.serving.api.search import search_routes
from likewise.serving.service import SearchService

_REQUESTS = {
    "a search": {"json": {"text": "red", "k": 2}},
    "no JSON": {"content": b"{", "headers": {"content-type": "application/json"}},
    "an unknown parameter": {"json": {"txt": "red"}},
    "an unknown item": {"json": {"like": "nobody"}},
    "another kind of body": {"content": b"red", "headers": {"content-type": "text/plain"}},
    "a filter that does not fit": {"json": {"text": "red", "where": "colour = 3"}},
    "a form": {"data": {"query": '{"text": "red"}'}, "files": {"other": b"x"}},
}


@pytest.fixture(scope="module")
def service():
    with Index.build(FakeModel(), catalog_of("red apple", "green pear", "red shirt")) as index:
        service = SearchService(index)
        yield service
        service.close()


@pytest.fixture(scope="module")
def directly(service):
    return TestClient(create_api(service))


@pytest.fixture(scope="module")
def by_router(service):
    app = create_api(service)
    app.user_middleware = [one for one in app.user_middleware if one.cls is not DirectRoutes]
    return TestClient(app)


@pytest.mark.parametrize("name", _REQUESTS)
def test_answers_are_those_of_the_router(directly, by_router, name):
    found, expected = (client.post("/v1/search", **_REQUESTS[name]) for client in (directly, by_router))
    assert found.status_code == expected.status_code
    assert found.headers["content-type"] == expected.headers["content-type"]
    assert {**found.json(), "took_ms": None} == {**expected.json(), "took_ms": None}


def test_other_methods_and_paths_go_to_the_router(directly):
    assert directly.get("/v1/search", params={"q": "red"}).status_code == 200
    assert directly.delete("/v1/search").status_code == 405
    assert directly.post("/v1/search/batch", json={"searches": [{"text": "red"}]}).status_code == 200


def test_what_is_no_problem_of_the_client_is_a_failure_of_the_server(service, monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(service.index, "answer", fail)
    client = TestClient(create_api(service), raise_server_exceptions=False)
    answer = client.post("/v1/search", json={"text": "red"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "ZeroDivision" not in answer.text


def test_the_search_is_found_in_its_router(service):
    assert list(find_endpoints(search_routes(service), "/v1", ("search",))) == [("POST", "/v1/search")]
