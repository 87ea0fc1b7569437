"""Searches over HTTP, as a client sees them."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from retrieval.fakes import FakeModel, catalog_of
from serving.api.examples import png
from starlette.testclient import TestClient

from likewise.retrieval.column_values import IndexSummary
from likewise.retrieval.index import Index
from likewise.retrieval.thresholds import ThresholdRule, Thresholds
from likewise.serving.api.app import create_api
from likewise.serving.service import SearchService


def search(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


def test_words_find_items(client: TestClient, index: Index) -> None:
    answer = search(client, text="red", k=2)
    assert ids(answer) == ["0", "3"]
    assert answer["hits"][1]["fields"] == {"id": "3", "title": "red shirt", "price": 20.0, "brand": "B"}
    assert answer["index"] == {"version": index.metadata.build, "model": "fake-model", "items": len(index)}
    assert set(answer["took_ms"]) == {"encode", "search", "fetch", "total"}
    assert all(value >= 0 for value in answer["took_ms"].values())


def test_answers_are_those_of_the_index(client: TestClient, index: Index) -> None:
    body = {"text": [{"text": "shirt", "weight": 2.0}, "red"], "minus": "blue", "k": 4, "where": "price > 1"}
    expected = index.search([("shirt", 2.0), "red"], minus="blue", k=4, where="price > 1")
    found = search(client, **body)["hits"]
    assert [(hit["id"], hit["score"]) for hit in found] == [
        (hit.id, pytest.approx(hit.score, abs=1e-6)) for hit in expected
    ]


def test_misspelt_words_are_corrected_and_said_so(client: TestClient) -> None:
    answer = search(client, text="gren paer", hybrid=True, k=1)
    assert (ids(answer), answer["did_you_mean"]) == (["1"], [{"given": "gren paer", "searched": "green pear"}])
    assert answer["hits"] == search(client, text="green pear", hybrid=True, k=1)["hits"]
    assert search(client, text="gren paer", hybrid={"correct": False})["did_you_mean"] == []
    assert search(client, text="gren paer")["did_you_mean"] == []
    assert client.get("/v1/search?q=paer&hybrid=true&k=1").json()["did_you_mean"][0]["searched"] == "pear"


def test_hits_are_explained(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fuse(self: FakeModel, vectors: np.ndarray, fields: list[str]) -> np.ndarray:
        sums = np.nansum(vectors, axis=1)
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)

    refused = client.post("/v1/search", json={"text": "red", "explain": True})
    assert (refused.status_code, refused.json()["detail"][:33]) == (422, "this model makes no item of singl")
    monkeypatch.setattr(FakeModel, "fuse_fields", fuse, raising=False)
    first = search(client, text="red apple", hybrid=True, boost="price / 1000", explain=True, k=1)["hits"][0]
    why = first["explanation"]
    assert set(why["fields"]) == {"title", "image"}
    assert {term["term"] for term in why["terms"]} <= {"red", "apple"}
    total = sum(why["fields"].values()) + sum(term["share"] for term in why["terms"]) + why["boost"]
    assert total == pytest.approx(first["score"], abs=1e-4)
    assert "explanation" not in search(client, text="red", k=1)["hits"][0]


@pytest.mark.parametrize("as_text", [lambda data: data, lambda data: f"data:image/png;base64,{data}"])
def test_a_picture_finds_items(client: TestClient, as_text: Any) -> None:
    picture = as_text(base64.b64encode(png((0, 0, 255))).decode())
    assert set(ids(search(client, image=picture, k=2))) == {"2", "4"}


def test_a_picture_can_be_uploaded(client: TestClient) -> None:
    answer = client.post(
        "/v1/search", files={"image": ("x.png", png((0, 255, 0)), "image/png")}, data={"query": '{"k": 1}'}
    )
    assert ids(answer.json()) == ["1"]


def test_words_and_a_picture_are_mixed_by_weight(client: TestClient) -> None:
    blue = base64.b64encode(png((0, 0, 255))).decode()
    assert ids(search(client, text="red", image=blue, image_weight=0.9, k=1)) != ["0"]
    assert ids(search(client, text="red", image=blue, image_weight=0.1, k=1)) == ["0"]


def test_items_find_others_like_them(client: TestClient) -> None:
    assert ids(search(client, like="3", k=1)) in (["0"], ["4"])
    answer = client.get("/v1/items/3/similar", params={"k": 3, "where": "price > 20"})
    assert ids(answer.json()) == ["4"]


def test_facets_groups_offsets_and_chosen_fields(client: TestClient) -> None:
    answer = search(client, text="shirt", k=2, facets=["brand"], fields=["price"])
    assert {"value": "A", "count": 2} in answer["facets"]["brand"]
    assert [set(hit["fields"]) for hit in answer["hits"]] == [{"price"}, {"price"}]
    brands = [hit["fields"]["brand"] for hit in search(client, text="shirt", k=6, group_by="brand")["hits"]]
    assert sorted(brand for brand in brands if brand) == ["A", "B", "C"]
    pages = [id for offset in (0, 2, 4) for id in ids(search(client, text="red", k=2, offset=offset))]
    assert sorted(pages) == ["0", "1", "2", "3", "4", "5"]


def test_hybrid_searches_find_exact_words(client: TestClient) -> None:
    answer = search(client, text="brûlée", hybrid={"fusion": "ranks"}, k=1)
    assert ids(answer) == ["5"]


def test_boosts_and_minimum_scores(client: TestClient) -> None:
    assert ids(search(client, text="red", boost="price", k=1)) == ["4"]
    assert ids(search(client, text="red", min_score=0.5)) == ["0", "3"]


def test_the_simple_search(client: TestClient) -> None:
    answer = client.get("/v1/search", params={"q": "red", "k": 1, "where": "price > 10"})
    assert ids(answer.json()) == ["3"]
    assert client.get("/v1/search").status_code == 422
    assert client.get("/v1/search", params={"q": "red", "k": "many"}).status_code == 422


def test_several_searches_at_once_fail_singly(client: TestClient) -> None:
    searches = [{"text": "red", "k": 1}, {"like": "unknown"}, {"text": "pear", "k": 1}]
    answers = client.post("/v1/search/batch", json={"searches": searches}).json()["answers"]
    assert [ids(answers[0]), ids(answers[2])] == [["0"], ["1"]]
    assert answers[1]["status"] == 404
    assert "unknown" in answers[1]["detail"]


def test_a_thumbnail_belongs_to_the_item_that_has_a_picture(client: TestClient) -> None:
    hit = search(client, text="red apple", k=1)["hits"][0]
    picture = client.get(hit["thumbnail"])
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.content[:2] == b"\xff\xd8"
    assert search(client, text="pear", k=1)["hits"][0]["thumbnail"] is None
    assert client.get("/v1/items/1/thumbnail").status_code == 404


def test_facets_of_the_whole_index(client: TestClient) -> None:
    answer = client.get("/v1/facets", params={"columns": ["brand", "price"], "where": "price < 10"}).json()
    assert answer["items"] == answer["counted"] == 4
    assert answer["facets"]["brand"] == [{"value": "A", "count": 2}, {"value": "B", "count": 1}]
    assert client.get("/v1/facets").status_code == 422
    assert "did you mean brand" in client.get("/v1/facets", params={"columns": "brnd"}).json()["detail"]


def test_suggestions_complete_titles(client: TestClient) -> None:
    def suggest(text: str) -> list[str]:
        return client.get("/v1/suggest", params={"q": text}).json()["suggestions"]

    assert suggest("re") == ["red apple", "red shirt"]
    assert suggest("SHI") == ["red shirt", "Blue shirt"]
    assert suggest("creme bru") == ["crème brûlée"]
    assert suggest("zzz") == []


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"txt": "red"}, 422, '"txt"'),
        ({"text": "red", "k": 0}, 422, "k:"),
        ({"text": "red", "k": "5"}, 422, "k:"),
        ({"text": "red", "k": True}, 422, "k:"),
        ({"text": "red", "k": 100_000}, 422, "k:"),
        ({}, 422, "nothing to search for"),
        ({"text": " "}, 422, "nothing to search for"),
        ({"text": "red", "where": "prise < 3"}, 422, "did you mean price?"),
        ({"text": "red", "where": "price <"}, 422, "syntax error"),
        ({"text": "red", "group_by": "colour"}, 422, '"colour"'),
        ({"text": "red", "boost": "brand"}, 422, "no numbers"),
        ({"text": "red", "facets": ["nothing"]}, 422, '"nothing"'),
        ({"like": "nobody"}, 404, "no item 'nobody'"),
        ({"image": "!!!"}, 422, "base64"),
        ({"image": "data:image/png;base64"}, 422, "comma"),
        ({"image": "https://example.com/x.png"}, 422, "send the picture itself"),
        ({"image": base64.b64encode(b"no picture").decode()}, 422, "picture"),
        ({"image": base64.b64encode(b"x" * 100_001).decode()}, 422, "at most 100,000 bytes"),
        ({"hybrid": True, "like": "0"}, 422, "needs words"),
        ({"text": "red", "min_score": float("nan")}, 422, "min_score"),
        ({"text": [{"text": "red", "weight": -1}]}, 422, "weight"),
    ],
)
def test_what_cannot_be_answered_is_a_problem(
    client: TestClient, body: dict[str, Any], status: int, words: str
) -> None:
    answer = client.post("/v1/search", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert words in problem["detail"]
    assert problem["instance"] == "/v1/search"


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"text": "\\ud800"}', b"\xff\xfe"])
def test_a_body_that_is_no_json_is_a_problem(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert "JSON" in answer.json()["detail"]


def test_another_media_type_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/search", content=b"text=red", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    part = client.post("/v1/search", files={"file": ("x.png", png())})
    assert part.status_code == 422
    assert '"image"' in part.json()["detail"]


def test_a_suggested_filter_is_named_and_applied_only_when_asked_for(client: TestClient) -> None:
    words = "shirt under 10, not by A"
    answer = search(client, text=words, k=6)
    assert (len(answer["hits"]), answer["suggested_filter"]) == (6, None)
    suggested = {
        "filter": 'price < 10 and brand != "A"',
        "text": "shirt",
        "because": '“under 10” is read as price < 10; “not by A” is read as brand != "A"',
        "applied": False,
    }
    answer = search(client, text=words, k=6, parse_query=True)
    assert answer["suggested_filter"] == suggested | {"applied": True}
    assert sorted(ids(answer)) == ["2", "5"]
    answer = search(client, text=words, k=6, suggest_filter=True)
    assert (len(answer["hits"]), answer["suggested_filter"]) == (6, suggested)
    assert ids(search(client, text=words, where="price > 5", parse_query=True)) == ["5"]
    assert client.get("/v1/search", params={"q": "shirt under 10", "parse_query": True}).json()["hits"]
    found = client.get("/v1/search", params={"q": "shirt under 10", "suggest_filter": True}).json()
    assert found["suggested_filter"]["filter"] == "price < 10"
    assert search(client, text="red shirt", parse_query=True)["suggested_filter"] is None


@pytest.mark.parametrize("option", ["parse_query", "suggest_filter"])
def test_a_filter_is_read_from_a_single_text_and_nothing_else(client: TestClient, option: str) -> None:
    weighted = {"text": "shirt under 10", "weight": 2.0}
    for text in (weighted, [weighted], ["shirt under 10"]):
        suggested = search(client, text=text, k=6, parse_query=True)["suggested_filter"]
        assert (suggested["filter"], suggested["text"]) == ("price < 10", "shirt")
        assert search(client, text=text, **{option: True})["suggested_filter"]["filter"] == "price < 10"
    for body in ({"text": ["shirt", "red under 10"]}, {"like": "3"}, {"text": []}):
        answer = client.post("/v1/search", json=body | {option: True})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("parse_query and suggest_filter read one text: give a single one")


def test_searches_do_not_wait_until_the_columns_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    go = Event()
    with Index.build(FakeModel(), catalog_of("red shirt", "shoe", price=[1, 20])) as index:
        summarize = index.summarize

        def summarize_slowly() -> IndexSummary:
            assert go.wait(20)
            return summarize()

        monkeypatch.setattr(index, "summarize", summarize_slowly)
        service = SearchService(index)
        with TestClient(create_api(service)) as client, ThreadPoolExecutor(6) as threads:
            parsed = [threads.submit(search, client, text=f"shirt under {n}", parse_query=True) for n in range(5, 11)]
            for number in range(8):
                answer = search(client, text=f"shirt under {number}", suggest_filter=True)
                assert (len(answer["hits"]), answer["suggested_filter"]) == (2, None)
            assert not any(one.done() for one in parsed)
            go.set()
            assert [ids(one.result(20)) for one in parsed] == [["0"]] * 6
            assert search(client, text="shirt under 5", suggest_filter=True)["suggested_filter"] is not None
        service.close()


def test_a_suggestion_is_joined_to_filters_only(client: TestClient) -> None:
    answer = client.post("/v1/search", json={"text": "shirt under 10", "where": "price ==", "parse_query": True})
    assert (answer.status_code, "syntax error in the filter" in answer.json()["detail"]) == (422, True)
    batch = {"searches": [{"text": "shirt under 3", "parse_query": True}, {"text": "shirt"}]}
    answers = client.post("/v1/search/batch", json=batch).json()["answers"]
    assert [bool(answer["suggested_filter"]) for answer in answers] == [True, False]


def test_a_picture_that_comes_again_is_encoded_once(
    client: TestClient, service: SearchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    lane = service.lanes["pictures"]
    encode = lane.encode

    async def count(pictures: Any, deadline: float | None = None) -> Any:
        seen.append(len(pictures))
        return await encode(pictures, deadline)

    monkeypatch.setattr(lane, "encode", count)
    picture, other = (base64.b64encode(png(colour)).decode() for colour in ((1, 254, 3), (254, 1, 3)))
    first = search(client, text="shirt", image=picture)["hits"]
    assert search(client, text="shirt", image=picture)["hits"] == first
    assert seen == [1]
    assert ids(search(client, image=[picture, other], k=6)) == ids(search(client, image=[other, picture], k=6))
    assert seen == [1, 1]


def test_hits_that_are_less_likely_are_marked(
    client: TestClient, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = search(client, text="red", k=6)
    assert plain["threshold"] is None and {hit["likely"] for hit in plain["hits"]} == {None}
    unknown = search(client, text="red", k=6, min_score="auto")
    assert unknown["threshold"] is None and {hit["likely"] for hit in unknown["hits"]} == {None}
    rule = ThresholdRule(0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.05, 0.5, 0.4, 100)
    rules = (Thresholds(index.model.dim, {"words": rule}),)
    monkeypatch.setattr(index._query_thresholds, "_rules", rules)
    marked = search(client, text="red", k=6, min_score="auto")
    assert ids(marked) == ids(plain) and marked["threshold"] == {"score": 0.5, "kind": "words"}
    assert [hit["likely"] for hit in marked["hits"]] == [hit["score"] >= 0.5 for hit in marked["hits"]]
    assert client.post("/v1/search", json={"text": "red", "min_score": "best"}).status_code == 422
