"""Connections that send half a request, or none, cannot keep others waiting."""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from conftest import require_library
from retrieval.fakes import FakeModel, catalog_of
from serving.asgi_server import answer_ok, connect, running, send_raw, status_of

from likewise.retrieval.index import Index
from likewise.serving.connection_bounds import LONGEST_LINE_AND_HEADERS, MOST_CONNECTIONS, ConnectionBounds
from likewise.serving.connections import BoundedConnection, fastest_connection
from likewise.serving.gradio_page.page import create_page
from likewise.serving.gradio_page.server import serving

HALF_HEADERS = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half"
HALF_BODY = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n{"
HALF_UPLOAD = (
    b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=a\r\n"
    b"Content-Length: 900\r\n\r\n--a\r\n"
)


HOST = b"Host: 127.0.0.1\r\n"
LONG = b"a" * (LONGEST_LINE_AND_HEADERS + 1000)
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"


@pytest.fixture(scope="module", params=["the page", "h11", "httptools", "httptools on uvloop"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "the page":
        with serving(create_page(Index.build(FakeModel(), catalog_of("tea"))), port=0) as address:
            yield address
        return
    if "uvloop" in request.param:
        require_library("uvloop")
    if "httptools" in request.param:
        require_library("httptools")
    connection = BoundedConnection if request.param == "h11" else fastest_connection()
    with running(answer_ok, connection, loop="uvloop" if "uvloop" in request.param else "asyncio") as address:
        yield address


@pytest.fixture(scope="module", params=["h11", "httptools"])
def plain_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "httptools":
        require_library("httptools")
    with running(answer_ok, BoundedConnection if request.param == "h11" else fastest_connection()) as address:
        yield address


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("sent", [HALF_HEADERS, HALF_BODY, HALF_UPLOAD, b""])
def test_600_half_sent_requests_do_not_keep_a_real_one_waiting(url: str, sent: bytes) -> None:
    with contextlib.ExitStack() as stack:
        half_sent = [stack.enter_context(connect(url)) for _ in range(600)]
        for connection in half_sent:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
        started = time.monotonic()
        for path in ("/", "/details?id=0"):
            assert httpx.get(url + path, trust_env=False, timeout=10).status_code == 200
        assert time.monotonic() - started < 5
        time.sleep(0.1)
        still_open = sum(not is_closed(connection) for connection in half_sent)
        assert 0 < still_open <= MOST_CONNECTIONS


@pytest.mark.parametrize("sent", [HALF_HEADERS, HALF_BODY, HALF_UPLOAD, b""])
def test_a_request_that_does_not_arrive_in_time_is_dropped(
    url: str, sent: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ConnectionBounds, "seconds", {"headers": 0.3, "body": 0.5})
    with connect(url) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        while not is_closed(connection):
            assert time.monotonic() - started < 5
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"x" if sent else b"")  # a byte now and then gains no time
            time.sleep(0.1)
        assert time.monotonic() - started > 0.2
    assert caplog.records == []


def test_the_bound_is_for_what_is_waited_for_only(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConnectionBounds, "seconds", {"headers": 0.5, "body": 0.5})
    with connect(url) as streaming, httpx.Client(base_url=url, trust_env=False) as client:
        streaming.sendall(b"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")  # its answer lasts
        assert streaming.recv(65_536).startswith(b"HTTP/1.1 200 OK")
        for _ in range(5):  # each request of a connection has its own time
            assert client.get("/details?id=0").status_code == 200
            time.sleep(0.2)
        assert not is_closed(streaming)


@pytest.mark.parametrize(
    "parts",
    [
        (b"GET /" + LONG,),
        (b"GET / HTTP/1.1\r\n" + HOST, *[b"X-%d: " % number + b"a" * 4000 + b"\r\n" for number in range(10)], b"\r\n"),
        (CHUNKED + b"0\r\nTrailer: " + LONG,),
        (CHUNKED + b"0\r\n", *[b"Trailer-%d: " % number + b"a" * 8000 + b"\r\n" for number in range(6)], b"\r\n"),
        (CHUNKED + b"1;" + LONG,),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\nhello",),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff1\r\n",),
        (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",),
        (b"GET / HTTP/1.1\r\nX-Null: \x00\r\n" + HOST + b"\r\n",),
        (b"\x16\x03\x01\x02\x00",),
    ],
)
def test_what_no_client_sends_is_refused(plain_url: str, parts: tuple[bytes, ...]) -> None:
    received = send_raw(plain_url, *parts)
    assert status_of(received) == 400
    assert b"Traceback" not in received
    assert httpx.get(plain_url, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + LONG + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X-Long: " + LONG + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 8000 + b"\r\n",
    ],
)
def test_httptools_refuses_long_headers_that_come_at_once(sent: bytes) -> None:
    require_library("httptools")
    with running(answer_ok, fastest_connection()) as url:
        assert status_of(send_raw(url, sent)) == 400


def test_headers_within_the_bound_and_long_bodies_are_read(plain_url: str) -> None:
    with httpx.Client(base_url=plain_url, trust_env=False) as client:
        for _ in range(3):
            answer = client.post("/", headers={"X-Long": "a" * 30_000}, content=iter([b"a" * 40_000] * 10))
            assert (answer.status_code, answer.text) == (200, "400000")


def test_an_upgrade_is_answered_as_if_it_was_not_asked_for(plain_url: str, caplog: pytest.LogCaptureFixture) -> None:
    upgrade = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert send_raw(plain_url, upgrade).startswith(b"HTTP/1.1 200")
    assert caplog.records == []


def test_pipelined_requests_are_all_answered(plain_url: str) -> None:
    with connect(plain_url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n" + CHUNKED + b"0\r\nX: y\r\n\r\n")
        received = b""
        while received.count(b"HTTP/1.1 200") < 2:
            received += connection.recv(65_536)


def test_without_httptools_the_connection_is_that_of_h11(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "likewise.serving.httptools_connections", raising=False)
    monkeypatch.setitem(sys.modules, "httptools", None)
    assert fastest_connection() is BoundedConnection
