"""Requests with and without keys, over a real server: what is answered, and what every forgery gets."""

import json
from collections.abc import Iterator

import httpx
import pytest
from serving.asgi_server import running, send_raw, status_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from likewise.serving.auth import KeyGuard, is_write
from likewise.serving.keys import Keys
from likewise.serving.sessions import COOKIE, Sessions
from likewise.serving.sign_in import sign_in_routes

READ, WRITE = "read-key-0123456789", "write-key-0123456789"
KEYS = Keys.collect(READ, WRITE)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()
SESSIONS = Sessions(KEYS, seconds=3600, clock=CLOCK)


async def tell(request: Request) -> Response:
    return JSONResponse({"name": request.state.key_name, "access": request.state.key_access})


def routes() -> list[Route]:
    paths = ["/", "/livez", "/v1/search", "/v1/items", "/v1/items/{id}", "/metrics"]
    return [Route(path, tell, methods=METHODS) for path in paths]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = Starlette(routes=[*sign_in_routes(KEYS, SESSIONS), *routes()])
    with running(KeyGuard(app, KEYS, sessions=SESSIONS)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False) as opened:
        yield opened


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={token}"}


def read_token() -> str:
    return SESSIONS.begin(KEYS.all[0])


def write_token() -> str:
    return SESSIONS.begin(KEYS.all[1])


@pytest.mark.parametrize(
    "headers",
    [
        bearer(READ),
        {"X-API-Key": READ},
        {"authorization": f"bEARER   {READ}"},
        {"Cookie": "theme=dark"} | bearer(READ),
    ],
)
def test_a_key_is_accepted_in_either_header(client: httpx.Client, headers: dict[str, str]) -> None:
    answer = client.get("/v1/search", headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"name": "environment-read-1", "access": "read"})


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", f"Bearer {READ[:-1]}")],
        [("Authorization", f"Bearer {READ[:1]}")],
        [("Authorization", f"Bearer {READ}x")],
        [("Authorization", f"Bearer {READ.upper()}")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer  x")],
        [("Authorization", READ)],
        [("Authorization", f"Basic {READ}")],
        [("Authorization", f"Bearer {READ} {READ}")],
        [("Authorization", f"Bearer {READ},{WRITE}")],
        [("Authorization", f"Bearer\t{READ}")],
        [("Authorization", f"Bearer {READ}"), ("Authorization", "Bearer wrong-key-0123456789")],
        [("Authorization", f"Bearer {READ}"), ("Authorization", f"Bearer {READ}")],
        [("Authorization", f"Bearer {READ}"), ("X-API-Key", READ)],
        [("X-API-Key", READ), ("X-API-Key", WRITE)],
        [("X-API-Key", "")],
        [("X-API-Key", "x" * 20_000)],
        [("X-API-Key", "ключ-с-буквами".encode())],
        [("Authorization", b"Bearer " + READ.encode() + b"\xff")],
        [("Authorization", b"Bearer \xd1\x80" * 50)],
        [("Proxy-Authorization", f"Bearer {READ}")],
        [("X-Forwarded-For", "127.0.0.1"), ("Host", "127.0.0.1")],
        [("Cookie", f"{COOKIE}={READ}")],
        [("Cookie", f"{COOKIE}=")],
        [("Cookie", COOKIE)],
        [("Cookie", f"key={READ}; authorization=Bearer {READ}")],
    ],
)
def test_without_a_known_key_nothing_is_answered(client: httpx.Client, headers: list[tuple[str, str | bytes]]) -> None:
    raw = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
    answer = client.get("/v1/search", headers=raw)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith('Bearer realm="likewise"')
    body = answer.json()
    assert sorted(body) == ["detail", "instance", "status", "title", "type"]
    assert (body["status"], body["title"], body["instance"]) == (401, "Unauthorized", "/v1/search")
    assert READ not in answer.text


@pytest.mark.parametrize("query", [f"?key={READ}", f"?api_key={READ}", f"?access_token={READ}"])
def test_a_key_in_an_address_does_not_count(client: httpx.Client, query: str) -> None:
    assert client.get(f"/v1/search{query}").status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/items"),
        ("POST", "/v1/items/7"),
        ("POST", "/v1/items/"),
        ("POST", "/v1/%69tems"),
        ("PUT", "/v1/items/7"),
        ("PATCH", "/v1/items/7"),
        ("DELETE", "/v1/items/7"),
        ("DELETE", "/v1/search"),
    ],
)
def test_a_change_needs_write_access(client: httpx.Client, method: str, path: str) -> None:
    refused = client.request(method, path, headers=bearer(READ))
    assert (refused.status_code, refused.json()["status"]) == (403, 403)
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert client.request(method, path, headers=bearer(WRITE), follow_redirects=True).status_code == 200
    assert client.request(method, path).status_code == 401


@pytest.mark.parametrize("path", ["/v1/search", "/v1/itemsets", "/v1/items"])
def test_reading_and_searching_needs_read_access_only(path: str) -> None:
    assert not is_write("GET", path) and not is_write("HEAD", path)
    assert is_write("POST", path) == (path == "/v1/items")
    assert is_write("get", path) and is_write("PURGE", path)


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/search", "/metrics", "//livez", "/livez/", "/livez/../v1/search", "/LIVEZ", "/livez%00"),
        *("/livez;/metrics", "/sign-in/x", "/v1/search?/livez", "/v1/search#/livez"),
    ],
)
def test_no_path_passes_for_a_public_one(url: str, path: str) -> None:
    received = send_raw(url, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert status_of(received) in (400, 401)
    assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200


def test_a_browser_that_opens_the_page_is_asked_to_sign_in(client: httpx.Client) -> None:
    page = client.get("/", headers={"Accept": "text/html,application/xhtml+xml"})
    assert (page.status_code, page.headers["location"]) == (303, "/sign-in")
    html = {"Accept": "text/html"}
    assert client.get("/v1/search", headers=html).status_code == 401
    assert client.post("/", headers=html).status_code == 401
    assert client.get("/", headers=html | bearer("wrong-key-0123456789")).status_code == 401
    assert client.get("/").status_code == 401


def test_signing_in_and_out(client: httpx.Client) -> None:
    form = client.get("/sign-in")
    assert form.status_code == 200
    assert "<script" not in form.text and "default-src 'none'" in form.headers["content-security-policy"]
    assert client.post("/sign-in", data={"key": "wrong-key-0123456789"}).status_code == 401
    signed_in = client.post("/sign-in", data={"key": WRITE})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
    kept = signed_in.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=3600"} <= {part.strip() for part in kept.split(";")}
    assert "Secure" not in kept and WRITE not in kept
    assert client.get("/", headers={"Accept": "text/html"}).json()["name"] == "environment-write-1"
    assert client.post("/v1/items").status_code == 403  # nothing says that it is the page that asks
    own = {"Origin": str(client.base_url), "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/items", headers=own).json()["access"] == "write"
    token = client.cookies[COOKIE]
    signed_out = client.post("/sign-out", headers=own)
    assert (signed_out.status_code, signed_out.headers["location"]) == (303, "/sign-in")
    assert COOKIE not in client.cookies
    assert client.get("/v1/search", headers=cookie(token)).status_code == 401


def test_a_session_of_a_key_that_may_read_cannot_write(client: httpx.Client) -> None:
    own = {"Origin": str(client.base_url)} | cookie(read_token())
    assert client.post("/v1/search", headers=own).json()["access"] == "read"
    assert client.post("/v1/items", headers=own).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "", "Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/search"), ("POST", "/v1/items"), ("GET", "/metrics")])
def test_other_sites_cannot_use_a_session(
    client: httpx.Client, headers: dict[str, str], method: str, path: str
) -> None:
    answer = client.request(method, path, headers=headers | cookie(write_token()))
    assert answer.status_code == 403
    assert client.request(method, path, headers=headers | bearer(WRITE)).status_code == 200


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
def test_other_sites_can_sign_nobody_in_or_out(client: httpx.Client, path: str) -> None:
    answer = client.post(path, data={"key": WRITE}, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def forged() -> Iterator[tuple[str, str]]:
    expires, key, nonce, signature = read_token().split(".")
    writer = write_token().split(".")[1]
    yield "another key", f"{expires}.{writer}.{nonce}.{signature}"
    yield "longer", f"{int(expires) + 1}.{key}.{nonce}.{signature}"
    yield "other nonce", f"{expires}.{key}.{'0' * 16}.{signature}"
    yield "no signature", f"{expires}.{key}.{nonce}."
    yield "half a signature", f"{expires}.{key}.{nonce}.{signature[:32]}"
    yield "zeros", f"{expires}.{key}.{nonce}.{'0' * 64}"
    yield "upper case", f"{expires}.{key}.{nonce}.{signature.upper()}"
    yield "a part more", f"{expires}.{key}.{nonce}.{signature}.x"
    yield "quoted", f'"{expires}.{key}.{nonce}.{signature}"'
    yield "other digits", f"{expires}.{key}.{nonce}.{signature}".replace("1", "١")
    yield "of another process", Sessions(KEYS, clock=CLOCK).begin(KEYS.all[1])
    yield "long", "1" * 20_000
    yield "text", "admin"


@pytest.mark.parametrize(("name", "token"), list(forged()), ids=[name for name, _ in forged()])
def test_a_forged_session_is_none(client: httpx.Client, name: str, token: str) -> None:
    raw = [(b"cookie", f"{COOKIE}={token}".encode())]
    assert client.get("/v1/search", headers=raw).status_code == 401
    assert client.get("/v1/search", headers=cookie(read_token())).status_code == 200


def test_a_session_expires(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    token = read_token()
    monkeypatch.setattr(CLOCK, "now", CLOCK.now + 3599)
    assert client.get("/v1/search", headers=cookie(token)).status_code == 200
    monkeypatch.setattr(CLOCK, "now", CLOCK.now + 1)
    assert client.get("/v1/search", headers=cookie(token)).status_code == 401


def test_a_cookie_of_another_server_of_this_host_does_not_hide_the_own_one(client: httpx.Client) -> None:
    both = {"Cookie": f"a=b; {COOKIE}=of-another; {COOKIE}={read_token()}"}
    assert client.get("/v1/search", headers=both).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (f"key={READ}&key={WRITE}", "application/x-www-form-urlencoded", 401),
        ("", "application/x-www-form-urlencoded", 401),
        ("key=%ff%00", "application/x-www-form-urlencoded", 401),
        ("key=\xff", "application/x-www-form-urlencoded", 401),
        ("a=b&" * 500 + f"key={WRITE}", "application/x-www-form-urlencoded", 401),
        ("key=" + "a" * 5000, "application/x-www-form-urlencoded", 413),
        (json.dumps({"key": WRITE}), "application/json", 415),
        (f"key={WRITE}", "text/plain", 415),
    ],
)
def test_other_forms_sign_nobody_in(content: str, kind: str, status: int) -> None:
    with running(Starlette(routes=[*sign_in_routes(KEYS, SESSIONS)])) as address:
        answer = httpx.post(
            f"{address}/sign-in", content=content.encode("latin-1"), headers={"Content-Type": kind}, trust_env=False
        )
    assert (answer.status_code, "set-cookie" in answer.headers) == (status, False)


def test_keys_cannot_be_guessed_through_the_form() -> None:
    clock = Clock()
    app = Starlette(routes=[*sign_in_routes(KEYS, SESSIONS, clock=clock)])
    with running(app) as address, httpx.Client(base_url=address, trust_env=False) as client:
        guesses = [client.post("/sign-in", data={"key": f"guess-{n}"}).status_code for n in range(12)]
        assert guesses == [401] * 10 + [429] * 2
        refused = client.post("/sign-in", data={"key": WRITE})
        assert (refused.status_code, "set-cookie" in refused.headers) == (429, False)
        clock.now += int(refused.headers["retry-after"])
        assert client.post("/sign-in", data={"key": WRITE}).status_code == 303


@pytest.fixture(scope="module")
def open_url() -> Iterator[str]:
    app = KeyGuard(Starlette(routes=routes()), Keys(), origins=["http://localhost:3000"])
    with running(app) as address:
        yield address


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "shop.example.com"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "evil.example:127.0.0.1"}, 403),
        ({"Host": "127.0.0.1@evil.example"}, 403),
        ({"Host": "192.168.1.5"}, 403),
        ({"Host": "127.0.0.1:99999"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Origin": "http://localhost:3001", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost:3000", "Host": "evil.example"}, 403),
        ({"Origin": "http://localhost:3000.evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-Forwarded-Host": "127.0.0.1", "Host": "evil.example"}, 403),
    ],
)
def test_without_keys_only_this_machine_may_ask(open_url: str, headers: dict[str, str], status: int) -> None:
    answer = httpx.post(f"{open_url}/v1/items", headers=headers, trust_env=False)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"name": None, "access": "write"}
