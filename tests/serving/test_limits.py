"""Bounds on requests, over a real server: bodies, paths, methods, requests at once, time."""

import asyncio
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from serving.asgi_server import running
from starlette.types import Message, Receive, Scope, Send

from likewise.serving.limits import LONGEST_PATH, ConcurrencyLimit, RequestBounds, TimeLimit, longest_body

LIMIT = 1_000


async def answer_length(scope: Scope, receive: Receive, send: Send) -> None:
    """Application: answers with the length of the body; it hides every error, and waits as long as its path says."""
    length = 0
    try:
        while True:
            message = await receive()
            length += len(message.get("body", b""))
            if not message.get("more_body"):
                break
    except Exception:
        length = -1
    if scope["path"].startswith("/slow"):
        await asyncio.sleep(0.6)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(RequestBounds(answer_length, lambda method, path: LIMIT)) as address:
        yield address


@pytest.mark.parametrize(("size", "status"), [(0, 200), (LIMIT, 200), (LIMIT + 1, 413), (300_000, 413)])
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_body_has_at_most_so_many_bytes(url: str, size: int, status: int, is_declared: bool) -> None:
    content = b"x" * size if is_declared else iter([b"x" * 100] * (size // 100) + [b"x" * (size % 100)])
    answer = httpx.post(url, content=content, trust_env=False)
    assert answer.status_code == status
    assert answer.text == str(size) if status == 200 else answer.json()["status"] == 413
    assert httpx.post(url, content=b"next", trust_env=False).text == "4"


@pytest.mark.parametrize("size", [LONGEST_PATH - 1, LONGEST_PATH])
def test_a_path_has_at_most_so_many_bytes(url: str, size: int) -> None:
    answer = httpx.get(f"{url}/{'x' * size}?{'y' * 20_000}", trust_env=False)
    assert answer.status_code == (200 if size < LONGEST_PATH else 414)


def test_only_known_methods_are_passed_on(url: str) -> None:
    refused = httpx.request("PROPFIND", url, trust_env=False)
    assert refused.status_code == 405
    assert "PATCH" in refused.headers["allow"]
    assert httpx.request("DELETE", url, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"5"), (b"content-length", b"5")],
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        *[[(b"content-length", length)] for length in (b"5, 5", b"+5", b"-5", b"0x5", b"", b"\xb2")],
    ],
)
def test_a_length_has_one_meaning(headers: list[tuple[bytes, bytes]]) -> None:
    """Not over a server, as its own parser refuses most of them."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"hello", "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    asyncio.run(RequestBounds(answer_length, lambda method, path: LIMIT)(scope, receive, send))
    assert sent[0]["status"] == 400


@pytest.mark.parametrize(
    ("method", "path", "bytes"),
    [
        ("POST", "/v1/search", 39_000_000),
        ("POST", "/v1/search/batch", 39_000_000),
        ("POST", "/v1/embeddings", 26_000_000),
        ("PUT", "/v1/items/0", 39_000_000),
        ("PATCH", "/v1/items/0", 39_000_000),
        ("POST", "/v1/items", 64_000_000),
        ("POST", "/v1/compare", 39_000_000),
        ("POST", "/page/search", 1_000_000),
        ("DELETE", "/v1/items/0", 1_000_000),
        ("POST", "/sign-in", 1_000_000),
    ],
)
def test_only_routes_that_take_files_take_large_bodies(method: str, path: str, bytes: int) -> None:
    assert longest_body(method, path, 20_000_000, 30_000_000) == bytes


def test_what_comes_while_too_many_are_answered_is_told_to_wait() -> None:
    refused: list[str] = []
    with running(ConcurrencyLimit(answer_length, 2, refused.append)) as url:
        answers: list[httpx.Response] = []
        asking = [
            threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/slow", trust_env=False))) for _ in range(5)
        ]
        for thread in asking:
            thread.start()
        time.sleep(0.2)
        assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200
        for thread in asking:
            thread.join()
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]
        assert {answer.headers.get("retry-after") for answer in answers if answer.status_code == 429} == {"1"}
        assert refused == ["concurrency"] * 3
        assert httpx.get(f"{url}/slow", trust_env=False).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    app = TimeLimit(answer_length, 0.2, lambda method, path: method == "PUT")
    with running(app) as url:
        refused = httpx.get(f"{url}/slow", trust_env=False)
        assert (refused.status_code, refused.json()["status"]) == (503, 503)
        assert httpx.put(f"{url}/slow", trust_env=False).status_code == 200  # a change has more time
        assert httpx.get(f"{url}/", trust_env=False).status_code == 200


def test_the_time_for_a_body_to_arrive_does_not_count() -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.15)
            yield b"x"

    with running(TimeLimit(answer_length, 0.4, lambda method, path: False)) as url:
        assert httpx.post(url, content=parts(), trust_env=False).text == "4"
