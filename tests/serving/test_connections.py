"""Connections that send half a request, or none, cannot keep others waiting."""

import contextlib
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from retrieval.fakes import FakeModel, catalog_of

from likewise.retrieval.index import Index
from likewise.serving.connections import MOST_CONNECTIONS, BoundedConnection
from likewise.serving.gradio_page.page import create_page
from likewise.serving.gradio_page.server import serving

HALF_HEADERS = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half"
HALF_BODY = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n{"
HALF_UPLOAD = (
    b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=a\r\n"
    b"Content-Length: 900\r\n\r\n--a\r\n"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(create_page(Index.build(FakeModel(), catalog_of("tea"))), port=0) as address:
        yield address


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
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
        still_open = sum(not is_closed(connection) for connection in half_sent)
        assert 0 < still_open <= MOST_CONNECTIONS


@pytest.mark.parametrize("sent", [HALF_HEADERS, HALF_BODY, HALF_UPLOAD, b""])
def test_a_request_that_does_not_arrive_in_time_is_dropped(
    url: str, sent: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(BoundedConnection, "seconds", {"headers": 0.3, "body": 0.5})
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
    monkeypatch.setattr(BoundedConnection, "seconds", {"headers": 0.5, "body": 0.5})
    with connect(url) as streaming, httpx.Client(base_url=url, trust_env=False) as client:
        streaming.sendall(b"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")  # its answer lasts
        assert streaming.recv(65_536).startswith(b"HTTP/1.1 200 OK")
        for _ in range(5):  # each request of a connection has its own time
            assert client.get("/details?id=0").status_code == 200
            time.sleep(0.2)
        assert not is_closed(streaming)
