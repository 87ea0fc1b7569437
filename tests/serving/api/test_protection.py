"""The whole application behind its guards, as browsers, monitors and programs with keys meet it."""

import json
from collections.abc import Iterator

import httpx
import pytest
from retrieval.fakes import FakeModel, catalog_of
from serving.api.servers import serving_fruit

from likewise.errors import UserError
from likewise.retrieval.index import Index
from likewise.serving.api.server import Protection, build_app
from likewise.serving.http_server import serving_app
from likewise.serving.keys import Keys
from likewise.serving.listening import listen
from likewise.serving.page.routes import SearchPage
from likewise.serving.security_headers import check_origins
from likewise.serving.service import SearchService

READ, WRITE = "read-key-0123456789", "write-key-0123456789"
SHOP = "https://shop.example"
KEYED = {"Authorization": f"Bearer {READ}"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    protection = Protection(Keys.collect(READ, WRITE), origins=(SHOP,))
    with serving_fruit(tmp_path_factory.mktemp("fruit"), protection) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False) as opened:
        yield opened


def test_answers_keep_other_sites_out(client: httpx.Client) -> None:
    for answer in (client.get("/livez"), client.get("/v1/models"), client.get("/v1/models", headers=KEYED)):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "no-store"
    documentation = client.get("/docs", headers=KEYED)
    assert "script-src 'self'" in documentation.headers["content-security-policy"]
    thumbnail = client.get("/v1/items/0/thumbnail", headers=KEYED)
    assert thumbnail.headers["cache-control"] == "private, max-age=86400"
    for path in ("thumbnail", "recording"):
        assert client.get(f"/v1/items/0/{path}").status_code == 401


def test_a_site_that_is_named_may_ask(client: httpx.Client) -> None:
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = client.options("/v1/search", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == SHOP
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    answer = client.post("/v1/search", json={"text": "red"}, headers={"Origin": SHOP} | KEYED)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, SHOP)
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{SHOP}.evil.example", "http://shop.example", f"{SHOP}:8443", "null", "*", ""]
)
def test_other_sites_may_not(client: httpx.Client, origin: str) -> None:
    preflight = client.options("/v1/search", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    assert preflight.status_code == 403
    assert "access-control-allow-origin" not in preflight.headers
    answer = client.post("/v1/search", json={"text": "red"}, headers={"Origin": origin} | KEYED)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origin", ["*", "shop.example", "https://shop.example/", "https://*.example", "null", ""])
def test_what_is_no_origin_is_refused_before_anything_starts(origin: str) -> None:
    with pytest.raises(UserError, match="--allow-origin takes an origin"):
        check_origins([origin])


def test_metrics_tell_what_happened(client: httpx.Client) -> None:
    client.post("/v1/search", json={"text": "violet umbrella", "where": "price > 1000"}, headers=KEYED)
    client.post("/v1/embeddings", json={"model": "likewise/query", "input": "red"}, headers=KEYED)
    client.get("/v1/items/nobody/similar", headers=KEYED)
    client.get("/wp-admin/secret-path", headers=KEYED)
    answer = client.get("/metrics", headers=KEYED)
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    for start in (
        'likewise_request_stage_seconds_count{kind="text",stage="total"} ',
        'likewise_request_stage_seconds_count{kind="texts",stage="queue"} ',
        'likewise_request_stage_seconds_count{kind="embeddings",stage="total"} 1.0',
        'likewise_encode_batch_size_count{lane="texts"} ',
        'likewise_requests_total{method="GET",route="/v1/items/{id}/similar",status="404"} 1.0',
        'likewise_requests_total{method="GET",route="(other)",status="404"} 1.0',
        'likewise_searches_without_hits_total{kind="text"} 1.0',
        "likewise_index_items 6.0",
        "likewise_index_age_seconds ",
        'likewise_index_info{model="fake-model"',
        'likewise_encode_queue_length{lane="pictures"} 0.0',
        'likewise_query_cache_total{outcome="miss"} ',
    ):
        assert any(line.startswith(start) for line in lines), (start, answer.text)
    assert not any(word in answer.text for word in ("umbrella", "nobody", "wp-admin", READ))
    assert client.get("/metrics").status_code == 401


def test_the_rate_is_for_each_key(tmp_path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving_fruit(tmp_path, Protection(Keys.collect(READ, WRITE), rate=1.0)) as url:
        statuses = [httpx.get(f"{url}/v1/models", headers=KEYED, trust_env=False).status_code for _ in range(6)]
        assert statuses[:2] == [200, 200] and 429 in statuses
        assert httpx.get(f"{url}/v1/models", headers={"X-API-Key": WRITE}, trust_env=False).status_code == 200
        metrics = httpx.get(f"{url}/metrics", headers=KEYED, trust_env=False).text
        assert 'likewise_refusals_total{reason="rate"}' in metrics
    assert capfd.readouterr().err == ""


def logged(err: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in err.splitlines()]


def test_each_request_is_one_line_without_what_it_searches_for(tmp_path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving_fruit(tmp_path, Protection(Keys.collect(READ), log_requests=True)) as url:
        headers = KEYED | {"X-Request-ID": "abc-123"}
        answer = httpx.get(f"{url}/v1/search?q=secret+words", headers=headers, trust_env=False)
        assert answer.headers["x-request-id"] == "abc-123"
        odd = httpx.get(f"{url}/v1/items/secret", headers={"X-Request-ID": 'a"b c'}, trust_env=False)
        assert odd.headers["x-request-id"].isalnum()
        httpx.get(f"{url}/livez", trust_env=False)
    err = capfd.readouterr().err
    first, second = logged(err)
    assert set(first) == {"time", "method", "route", "status", "ms", "key", "request_id"}
    assert (first["route"], first["status"], first["key"]) == ("/v1/search", 200, "environment-read-1")
    assert first["request_id"] == "abc-123"
    assert (second["route"], second["status"], second["key"]) == ("/v1/items/{id}", 401, None)
    assert "secret" not in err and READ not in err


def test_what_is_searched_for_is_logged_where_that_is_asked_for(tmp_path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving_fruit(tmp_path, Protection(log_queries=True)) as url:
        httpx.post(f"{url}/v1/search", json={"text": "red \x1b[31m", "minus": "blue"}, trust_env=False)
        httpx.get(f"{url}/v1/suggest?q=re", trust_env=False)
    err = capfd.readouterr().err
    assert [line.get("texts") for line in logged(err)] == [["red \x1b[31m", "blue"], []]
    assert logged(err)[1]["query_string"] == "q=re"
    assert "\x1b" not in err


@pytest.fixture(scope="module")
def page_url() -> Iterator[str]:
    index = Index.build(FakeModel(), catalog_of("red apple", "green pear"))
    service = SearchService(index)
    app = build_app(service, SearchPage(index, "Fruit"), Protection(Keys.collect(READ, WRITE)))
    with listen("127.0.0.1", 0) as listener, serving_app(app, listener) as address:
        yield address
    service.close()


def test_a_visitor_signs_in_and_sees_the_page(page_url: str) -> None:
    with httpx.Client(base_url=page_url, trust_env=False, follow_redirects=True) as client:
        form = client.get("/", headers={"Accept": "text/html"})
        assert (form.url.path, form.status_code) == ("/sign-in", 200)
        assert client.get("/v1/columns").status_code == 401
        assert client.post("/sign-in", data={"key": "wrong"}).status_code == 401
        page = client.post("/sign-in", data={"key": READ}, headers={"Origin": page_url})
        assert (page.url.path, page.status_code) == ("/", 200)
        assert "<h1>Fruit</h1>" in page.text
        assert client.get("/v1/columns").status_code == 200
        assert client.post("/v1/search", json={"text": "red"}, headers={"Origin": page_url}).status_code == 200
        crossing = client.post("/v1/search", json={"text": "red"}, headers={"Origin": "https://evil.example"})
        assert crossing.status_code == 403
        assert client.delete("/v1/items/0", headers={"Origin": page_url}).status_code == 403  # a key that only reads
        client.post("/sign-out", headers={"Origin": page_url})
        assert client.get("/v1/columns").status_code == 401


def test_the_page_leaves_the_paths_of_the_api_alone(page_url: str) -> None:
    with httpx.Client(base_url=page_url, headers={"X-API-Key": READ}, trust_env=False) as client:
        for method, path, status in (
            ("GET", "/v1/nothing", 404),
            ("GET", "/v1", 404),
            ("GET", "/v1/search/batch", 405),
            ("POST", "/docs", 405),
            ("GET", "/docs/nothing", 404),
            ("GET", "/v2/search", 404),
            ("POST", "/", 405),
        ):
            answer = client.request(method, path)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path


def test_without_a_page_nobody_signs_in(client: httpx.Client) -> None:
    assert client.get("/sign-in").status_code == 404
    assert client.get("/", headers={"Accept": "text/html"}).status_code == 401
