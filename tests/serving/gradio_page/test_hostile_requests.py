"""Requests that no browser would send: each is refused or answered in time, and nothing else is served."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from retrieval.fakes import FakeModel, catalog_of, save_picture

from likewise.retrieval.index import Index
from likewise.serving.gradio_page.page import create_page
from likewise.serving.gradio_page.server import serving
from likewise.serving.thumbnails import thumbnails_in

SECRET = b"the secret of this machine"
LONG = "a" * 5000
SEARCH, EXAMPLE, EXACTLY, SIMILAR, APPLY, IN_BROWSER = range(6)  # the page's events, as Gradio numbers them


# What uvicorn says where a client closes a stream of events at the moment at which Gradio ends it.
_LEFT = "ASGI callable returned without completing response."


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outside") / "secret.txt"
    path.write_bytes(SECRET)
    return path


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    catalog = catalog_of("red apple", "green pear")
    picture = save_picture(tmp_path_factory.mktemp("originals") / "apple.png", (250, 0, 0), size=(900, 600))
    catalog.pictures = [(picture,), ()]
    index = Index.build(FakeModel(), catalog)
    page = create_page(index, examples=["red apple"], thumbnails=thumbnails_in(tmp_path_factory.mktemp("cache")))
    with serving(page, port=0) as address:
        yield address


@pytest.fixture
def client(url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[httpx.Client]:
    """A client of a server that still answers afterwards, has reported no defect and takes no more memory."""
    before = resident_megabytes()
    with httpx.Client(base_url=url, trust_env=False, timeout=10) as opened:
        yield opened
        assert opened.get("/details?id=0").status_code == 200
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record for record in errors if record.getMessage() != _LEFT] == []
    assert "Traceback" not in capfd.readouterr().err
    assert resident_megabytes() - before < 200


def resident_megabytes() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    return next(int(line.split()[1]) / 1000 for line in status.read_text().splitlines() if line.startswith("VmRSS"))


def check(status: int, body: bytes) -> None:
    assert 200 <= status < 500
    for told in (SECRET, b"Traceback", b'File "', b"site-packages", b"root:"):
        assert told not in body


def send_raw(url: str, sent: bytes) -> tuple[int, bytes]:
    """Send bytes, and read until the server closes; status 400 where it closes without an answer."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        received = b""
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65_536):
                received += chunk
        except OSError:
            pass
    head, _, body = received.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 400), body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "CONNECT", "BREW"])
@pytest.mark.parametrize("path", ["/", "/gradio_api/queue/join", "/gradio_api/upload"])
def test_other_methods_are_refused(client: httpx.Client, method: str, path: str) -> None:
    # httptools knows no method of this name, and h11 knows all
    assert client.request(method, path).status_code in ((400, 403) if method == "BREW" else (403,))


@pytest.mark.parametrize(
    "path",
    [
        *("/%00", "/static/%00", "/assets/%00", "/svelte/%00.js", "/gradio_api/file=%00", "/details?id=%00"),
        *("/..", "/static/../secret", "/static/..%2f..%2f..%2fetc/passwd", "/static/%2e%2e/%2e%2e/etc/passwd"),
        *("/static/%252e%252e%252fetc/passwd", "/static/..%5c..%5cetc%5cpasswd", "/assets/....//....//etc/passwd"),
        *("//etc/passwd", "/assets//etc/passwd", "/static/%2fetc%2fpasswd", "/static/C:%5cWindows%5cwin.ini"),
        *(
            "/gradio_api/file=/etc/passwd",
            "/gradio_api/file=..%2f..%2fetc%2fpasswd",
            "/gradio_api/file=file:///etc/passwd",
        ),
        *("/gradio_api/file=%2fproc%2fself%2fenviron", "/gradio_api/file=/dev/zero", "/gradio_api/file=~/.ssh/id_rsa"),
        *("/gradio_api/file=http://127.0.0.1:9/x", "/gradio_api/file=//127.0.0.1/share/x", "/gradio_api/file="),
        *(
            "/gradio_api/file/etc/passwd",
            "/file=/etc/passwd",
            "/gradio_api/proxy=http://127.0.0.1:9/",
            "/file/etc/passwd",
        ),
        *(f"/static/{LONG}", f"/assets/{LONG}", f"/svelte/{LONG}", f"/gradio_api/file={LONG}", f"/{LONG}"),
        *(f"/thumbnail?id={LONG}", f"/details?id={LONG}", "/details", "/thumbnail", "/thumbnail?id=0&id=1"),
        *("/thumbnail?id=..%2f..%2fetc%2fpasswd", "/details?id=%ED%A0%80", "/details?id=0&score=abc"),
        *(
            "/details?id=0&score=1e999",
            "/details?id=0&score=-inf",
            "/?deep_link=..%2f..%2fsecret",
            "/config?deep_link=x",
        ),
        *("/config?page=nothing", "/config/", "/?__theme=x&page=%00", "/?page=../x", "/assets/", "/static"),
        *("/gradio_api/heartbeat/..", f"/gradio_api/heartbeat/{'a' * 300}", "/gradio_api/upload_progress"),
        *("/gradio_api/queue/data", "/gradio_api/queue/data?session_hash=nobody", "/gradio_api/call/search/nobody"),
        *(
            "/gradio_api/stream/a/b/c/playlist.m3u8",
            "/gradio_api/custom_component/1/client/x/y",
            "/gradio_api/deep_link",
        ),
        *("/gradio_api/runs", "/gradio_api/dev/reload", "/gradio_api/vibe-code", "/monitoring/summary", "/pwa_icon/1"),
        *(
            "/login",
            "/logout",
            "/gradio_api/token",
            "/gradio_api/user",
            "/gradio_api/openapi.json",
            "/gradio_api/mcp/sse",
        ),
    ],
)
def test_hostile_paths(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    check(answer.status_code, answer.content)


def test_no_file_outside_of_the_uploads_is_read(client: httpx.Client, secret: Path) -> None:
    upload = client.post("/gradio_api/upload", files={"files": ("a.png", b"x")}).json()[0]
    assert client.get(f"/gradio_api/file={upload}").content == b"x"
    link = Path(upload).with_name("link.png")
    link.symlink_to(secret)
    places = [
        str(secret),
        str(link),
        f"{upload}/../../../{secret}",
        str(Path(upload).parent),
        str(Path(upload).parents[2]),
    ]
    for place in (*places, f"{Path(upload).parent}/{LONG}", f"{upload}/x", f"{upload}%00", f"{upload}\\..\\x"):
        for shape in (place, place.replace("/", "%2f"), place.replace("/", "%252f"), place.replace("..", "%2e%2e")):
            answer = client.get(f"/gradio_api/file={shape}")
            assert answer.status_code in (403, 404), place
            check(answer.status_code, answer.content)


GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
JOIN = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\n"
UPLOAD = b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"Host: evil.example\r\n\r\n",
        GET + b"Origin: http://127.0.0.1\r\nOrigin: http://evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\xff\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n" * 50_000,
        b"x" * 1_000_000,
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        GET + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n",
        GET + b"Connection: close\r\nX: " + b"x" * 60_000 + b"\r\n\r\n",
        GET + b"" + b"X: y\r\n" * 100_000 + b"\r\n",
        GET + b"X : y\r\n\r\n",
        GET + b"X: a\r\n b\r\nConnection: close\r\n\r\n",
        JOIN + b"Content-Length: -1\r\n\r\n",
        JOIN + b"Content-Length: 1e3\r\n\r\n",
        UPLOAD + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n",
        JOIN + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        JOIN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        JOIN + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        JOIN + b"Transfer-Encoding: gzip\r\n\r\n",
        JOIN + b"Content-Length: 900\r\n\r\n{",
        UPLOAD + b"Content-Type: multipart/form-data; boundary=a\r\n"
        b"Content-Length: 900\r\n\r\n--a\r\nContent-Disposition: form-data; name=files; filename=x\r\n\r\nhalf",
        b"GET /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close, Upgrade\r\n"
        b"Upgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        GET + b"Upgrade: h2c\r\nHTTP2-Settings: AA\r\nConnection: Upgrade, close\r\n\r\n",
        (GET + b"\r\n") * 50 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:60]),
)
def test_malformed_requests(client: httpx.Client, url: str, sent: bytes) -> None:
    started = time.monotonic()
    check(*send_raw(url, sent))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "host", ["evil@127.0.0.1", "127.0.0.1/x", "127.0.0.1?<script>", "127.0.0.1:abc", "127.0.0.1:99999"]
)
def test_only_a_plain_name_of_this_machine_is_a_host(client: httpx.Client, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-Host", "X-Gradio-Server", "Forwarded", "X-Original-Host", "X-Forwarded-Server", "X-Forwarded-For"],
)
@pytest.mark.parametrize("value", ["evil.example", "http://evil.example", "host=evil.example;proto=https", "[", LONG])
def test_what_a_proxy_would_say_is_not_believed(client: httpx.Client, url: str, name: str, value: str) -> None:
    headers = {name: value, "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil.example"}
    assert client.get("/config", headers=headers).json()["root"] == url
    assert "evil.example" not in client.get("/", headers=headers).text


@pytest.mark.parametrize("place", ["fetch", "cors", "img", "iframe", "script", "form", "other port"])
def test_other_sites_get_nothing(client: httpx.Client, place: str) -> None:
    site = "same-site" if place == "other port" else "cross-site"
    mode, dest = {
        "fetch": ("no-cors", "empty"),
        "cors": ("cors", "empty"),
        "img": ("no-cors", "image"),
        "iframe": ("navigate", "iframe"),
        "script": ("no-cors", "script"),
        "form": ("navigate", "document"),
        "other port": ("no-cors", "image"),
    }[place]
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    for path in ("/details?id=0", "/thumbnail?id=0", "/config", "/assets/x.js", "/gradio_api/info", "/"):
        if (path, place) != ("/", "form"):
            assert client.get(path, headers=headers).status_code == 403
    assert client.post("/gradio_api/cancel", headers=headers, json={}).status_code == 403


def test_a_link_of_another_site_opens_the_page(client: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_page_itself_is_answered(client: httpx.Client, url: str, site: str) -> None:
    assert client.get("/thumbnail?id=0", headers={"Sec-Fetch-Site": site, "Origin": url}).status_code == 200


def test_another_page_of_this_machine_is_another_origin(client: httpx.Client) -> None:
    for origin in ("http://127.0.0.1:1", "http://localhost", "null"):
        assert client.get("/config", headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/thumbnail?id=0", "/details?id=0", "/theme.css", "/nothing", "/thumbnail?id=1"])
def test_every_answer_carries_the_headers_that_keep_others_out(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert ("'sha256-" in policy) == (path == "/")
    assert "unsafe-inline" not in policy.partition("style-src")[0]


GOOD: dict[str, Any] = {
    "data": ["apple", None, 0.5, 3, "", False],
    "fn_index": SEARCH,
    "session_hash": "abc",
    "event_data": None,
    "trigger_id": None,
}


def event(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


def with_input(number: int, value: Any) -> list[Any]:
    return [*GOOD["data"][:number], value, *GOOD["data"][number + 1 :]]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b'"x"', b"{", b"{}", b"\xff\xfe", b'{"data":' * 50_000, b"[" * 500_000, b"1" * 900_000),
        *(event(fn_index=index) for index in (99, -1, IN_BROWSER, None, "0", 0.0, 1.5, True, 10**30, [0], {})),
        *(
            event(session_hash=session)
            for session in (None, "", 5, "../x", "a b", "\ud800", "a" * 65, "é", "a\n", ["x"])
        ),
        *(event(data=data) for data in (None, "abc", {}, [], ["a"], GOOD["data"] * 2, 5)),
        *(event(event_data=data) for data in ("x", [1], 5, {"id": "\ud800"})),
        *(event(data=with_input(1, value)) for value in (5, "x", [1], [{"path": None}], {"path": 5}, {"path": "\0"})),
        *(event(data=with_input(1, {"path": path})) for path in ("/etc/passwd", "http://127.0.0.1:9/", "..", LONG)),
        *(event(data=with_input(3, number)) for number in (float("nan"), float("inf"), float("-inf"))),
        *(event(data=with_input(0, words)) for words in ("\ud800", {"path": "/etc/passwd"}, [{"\udfff": 1}])),
        event(batched=True),
    ],
    ids=lambda body: repr(body[:30] + body[-90:]),
)
def test_events_that_gradio_would_stumble_over_are_refused(client: httpx.Client, body: bytes) -> None:
    for path in ("/gradio_api/queue/join", "/gradio_api/queue/join/"):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 403
        assert answer.text == "This page does not serve that."


def ask(client: httpx.Client, *, place: int | None = None, **changes: Any) -> str:
    """What an event shows, as HTML; `place` is that of the results among its outputs."""
    answer = client.post("/gradio_api/queue/join", json=GOOD | changes)
    assert answer.status_code == 200
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": GOOD["session_hash"]}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data:")) if line else {}
            if message.get("msg") == "process_completed":
                return message["output"]["data"][(-1 if changes.get("fn_index") else 0) if place is None else place]
    raise AssertionError("no answer")


@pytest.mark.parametrize(
    ("number", "value", "shown"),
    [
        *((0, value, "the query must be text.") for value in (5, 1.5, True, ["a"], {"a": 1})),
        (0, "x" * 900_000, "the query has 900,000 characters; the limit is 10,000."),
        (0, "\0\x1b[31m", "result"),
        (0, "<script>" * 100, "result"),
        *((1, value, "the picture must be a file that was uploaded here.") for value in ({}, {"url": "http://x/"})),
        *((2, value, "the weight of the picture must be a number from 0 to 1.") for value in ("x", None, [], True)),
        *((2, value, "result") for value in (-5, 10**400, 1e300)),
        *((3, value, "the number of results must be a number from 1 to 60.") for value in ("x", None, [1], {}, False)),
        *((3, value, "2 results") for value in (10**9, 10**400, 1e300, 2.9)),
        *((3, value, "1 result:") for value in (0, -5, -1e300, 1.5)),
        *((4, value, "the filter must be text.") for value in (5, ["a"], {}, True)),
        (4, "x" * 900_000, "the filter has 900,000 characters; the limit is 10,000."),
        (4, "(" * 9_000, "notice error"),
        (4, "title == 'a' or " * 600 + "title == 'a'", "notice"),
        *((5, value, "result") for value in ("yes", None, [1], 5)),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_inputs_of_any_kind_give_results_or_one_sentence(
    client: httpx.Client, number: int, value: Any, shown: str
) -> None:
    started = time.monotonic()
    html = ask(client, data=with_input(number, value))
    assert shown in html
    assert "the terminal" not in html
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("number", "value", "shown"),
    [
        (0, 5, "the query must be text."),
        (0, "x" * 900_000, "the query has 900,000 characters; the limit is 10,000."),
        (0, "not in by under 50 " * 400, "result"),
        (3, "x", "the number of results must be a number from 1 to 60."),
        (4, "title == ", "notice error"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_applying_a_suggestion_to_inputs_of_any_kind(client: httpx.Client, number: int, value: Any, shown: str) -> None:
    text, *others = with_input(number, value)
    assert shown in ask(client, fn_index=APPLY, data=others, event_data={"text": text})


@pytest.mark.parametrize("pressed", [None, {}, {"text": None}, {"text": ["x"]}, {"text": "x" * 900_000}])
@pytest.mark.parametrize(("event", "place"), [(EXACTLY, 1), (APPLY, -1)])
def test_a_hint_that_is_none_is_one_sentence(client: httpx.Client, event: int, place: int, pressed: Any) -> None:
    html = ask(client, fn_index=event, data=GOOD["data"][1:], event_data=pressed, place=place)
    assert 'class="notice' in html


@pytest.mark.parametrize("pressed", [None, {}, {"id": None}, {"id": ["x"]}, {"id": "x" * 900_000}, {"id": "\0"}])
def test_a_card_that_is_none_is_one_sentence(client: httpx.Client, pressed: Any) -> None:
    assert "notice error" in ask(client, fn_index=SIMILAR, data=[3, ""], event_data=pressed)


def multipart(head: bytes, content: bytes = b"x", end: bytes = b"\r\n--a--\r\n") -> bytes:
    return b"--a\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + end


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (None, b"x"),
        ("application/json", b"{}"),
        ("text/plain", b"x"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=" + "b" * 1000, b"x"),
        ("multipart/form-data; boundary=a", b""),
        ("multipart/form-data; boundary=a", b"x" * 1000),
        ("multipart/form-data; boundary=a", multipart(b"name=files")),
        ("multipart/form-data; boundary=a", multipart(b"name=other; filename=x.jpg")),
        ("multipart/form-data; boundary=a", multipart(b"filename=x.jpg")),
        ("multipart/form-data; boundary=a", multipart(b"name=files; filename=x.jpg", end=b"")),
        ("multipart/form-data; boundary=a", multipart(b'name=files; filename="' + b"x" * 100_000 + b'"')),
        ("multipart/form-data; boundary=a", multipart(b"name=files\r\nX: y" * 5000)),
        (
            "multipart/form-data; boundary=a",
            multipart(b"name=files; filename=a", end=b"\r\n") + multipart(b"name=files; filename=b"),
        ),
        ("multipart/form-data; boundary=a", multipart(b"name=x", b"x" * 5_000_000)),
        ("multipart/form-data; boundary=a; charset=nonsense", multipart(b'name="\xff"; filename="\xff"')),
        ("application/x-www-form-urlencoded", b"files=x&" * 100_000),
    ],
)
def test_uploads_that_are_none(client: httpx.Client, kind: str | None, body: bytes) -> None:
    for query in ("", "?upload_id=1"):
        answer = client.post(
            f"/gradio_api/upload{query}", content=body, headers={"Content-Type": kind} if kind else None
        )
        assert answer.status_code == 400
        check(answer.status_code, answer.content)


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/x.jpg",
        "/etc/x.png",
        "a\0b.gif",
        "con.txt",
        "..",
        ".",
        "C:\\x.jpg",
        "x.html",
        "x.svg",
        "é.PNG",
        "n" * 1000,
    ],
)
def test_an_upload_does_not_choose_its_name(client: httpx.Client, name: str) -> None:
    answer = client.post("/gradio_api/upload", files={"files": (name, b"<script>alert(1)</script>")})
    assert answer.status_code == 200
    path = Path(answer.json()[0])
    assert path.name in ("picture", "picture.jpg", "picture.png", "picture.gif")
    served = client.get(f"/gradio_api/file={path}")
    assert "html" not in served.headers["content-type"]
    assert "svg" not in served.headers["content-type"]


@pytest.mark.parametrize("length", ["declared", "chunked"])
@pytest.mark.parametrize(
    "path", ["/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset"]
)
def test_too_large_a_body_is_refused(client: httpx.Client, path: str, length: str) -> None:
    size = 21_000_000 if path.endswith("upload") else 1_100_000
    start = b'--a\r\nContent-Disposition: form-data; name="files"; filename="x.jpg"\r\n\r\n'
    body = start + b"x" * size
    pieces = (body[at : at + 100_000] for at in range(0, len(body), 100_000))
    answer = client.post(
        path,
        content=body if length == "declared" else pieces,
        headers={"Content-Type": "multipart/form-data; boundary=a"},
    )
    assert answer.status_code == 413


def test_old_uploads_make_room_for_new_ones(client: httpx.Client) -> None:
    kept = [Path(client.post("/gradio_api/upload", files={"files": ("a.png", b"x")}).json()[0]) for _ in range(55)]
    assert [path.exists() for path in kept] == [False] * 5 + [True] * 50
    gone = {"path": str(kept[0]), "meta": {"_type": "gradio.FileData"}}
    assert "This file" in ask(client, data=with_input(1, gone))


@pytest.mark.parametrize(
    "body", [{}, {"session_hash": "a"}, {"session_hash": 5, "fn_index": "x", "event_id": []}, {"event_id": "\ud800"}]
)
@pytest.mark.parametrize("path", ["/gradio_api/cancel", "/gradio_api/reset"])
def test_cancelling_what_is_not_there(client: httpx.Client, path: str, body: Any) -> None:
    answer = client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    check(answer.status_code, answer.content)


def test_a_foreign_session_is_not_there(client: httpx.Client) -> None:
    ask(client)
    answer = client.post("/gradio_api/cancel", json={"session_hash": "nobody", "fn_index": 0, "event_id": "nothing"})
    assert answer.json() == {"success": True}
    stream = client.get("/gradio_api/queue/data?session_hash=nobody")
    assert '"session_not_found":true' in stream.text
