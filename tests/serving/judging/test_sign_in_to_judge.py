"""The page for judging on a server with keys: whoever has none signs in first, and comes back to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from retrieval.fakes import FakeModel, catalog_of
from starlette.testclient import TestClient

from likewise.retrieval.index import Index
from likewise.serving.api.server import Protection, build_app
from likewise.serving.judging.judging import Judging
from likewise.serving.judging.store import JudgementStore
from likewise.serving.keys import Keys
from likewise.serving.page.assets import load_assets
from likewise.serving.page.routes import SearchPage
from likewise.serving.service import SearchService

READ, WRITE = "read-key-0123456789", "write-key-0123456789"
SITE = "http://testserver"
HTML = {"Accept": "text/html"}
JUDGED = {"query": {"text": "red"}, "id": "0", "relevance": 1}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    keys = Keys.collect(READ, WRITE)
    judging = Judging(JudgementStore(tmp_path / "judgements.jsonl"))
    with Index.build(FakeModel(), catalog_of("red apple")) as index:
        service = SearchService(index)
        with TestClient(build_app(service, SearchPage(index), Protection(keys), judging)) as opened:
            yield opened
        service.close()


def test_a_judge_signs_in_and_comes_back_to_the_page(client: TestClient) -> None:
    script = load_assets().address("judge.js")
    assert client.get(script).status_code == 401
    form = client.get("/judge", headers=HTML)
    assert (form.url.path, form.url.query) == ("/sign-in", b"judge")
    assert 'action="/sign-in?judge"' in form.text
    wrong = client.post("/sign-in?judge", data={"key": "wrong"}, headers={"Origin": SITE})
    assert 'action="/sign-in?judge"' in wrong.text
    page = client.post("/sign-in?judge", data={"key": WRITE}, headers={"Origin": SITE})
    assert (page.url.path, page.status_code) == ("/judge", 200)
    assert script in page.text
    assert client.get(script).status_code == 200
    said = client.post("/v1/judgements", json=JUDGED, headers={"Origin": SITE})
    assert said.json()["judgements"] == 1
    assert client.get("/v1/judgements").json()["judgements"][0]["judge"] == "environment-write-1"
    for headers in ({"Origin": "https://evil.example"}, {}):
        assert client.post("/v1/judgements", json=JUDGED, headers=headers).status_code == 403


def test_a_key_that_only_reads_cannot_judge(client: TestClient) -> None:
    client.post("/sign-in?judge", data={"key": READ}, headers={"Origin": SITE})
    answer = client.post("/v1/judgements", json=JUDGED, headers={"Origin": SITE})
    assert "may only read" in answer.json()["detail"]
    assert client.get("/v1/judgements/queries").status_code == 403


@pytest.mark.parametrize("query", ["judge2", "https://evil.example", "judge=//evil.example", ""])
def test_nothing_else_says_where_signing_in_leads(client: TestClient, query: str) -> None:
    answer = client.post(f"/sign-in?{query}", data={"key": READ}, headers={"Origin": SITE}, follow_redirects=False)
    assert answer.headers["location"] == "/"
