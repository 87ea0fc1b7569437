"""Bounds on a request: its path, its method, its body, how many are answered at once, and for how long."""

import asyncio
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likewise.serving.problems import problem

LONGEST_PATH = 4_096  # bytes, as it is sent: room for the longest id, percent-encoded
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MAX_CONCURRENT = 64
WRITE_SECONDS = 600.0  # many items are encoded and written in one request
PROBES = frozenset({"/livez", "/readyz", "/metrics"})  # answered however busy the server is

HEAT_MAP = "/heatmap"  # behind an item's path

_BODY_BYTES = 1_000_000
_BULK_BYTES = 64_000_000
_ENCODED = 1.3  # a file in base64 is a third larger; rounded down, as no one sends one of exactly the limit
_QUERY_ROUTES = frozenset({"/v1/search", "/v1/search/batch", "/v1/compare"})
_ITEMS = "/v1/items"


def longest_body(method: str, path: str, image_bytes: int, audio_bytes: int) -> int:
    """Bytes that the body of a request may have.

    Args:
        image_bytes: bytes that a picture may have.
        audio_bytes: bytes that a recording may have.
    """
    of_item = path.startswith(f"{_ITEMS}/")
    if path in _QUERY_ROUTES or (of_item and (method in ("PUT", "PATCH") or path.endswith(HEAT_MAP))):
        return max(int(max(image_bytes, audio_bytes) * _ENCODED), _BODY_BYTES)
    if path in ("/v1/embeddings", "/v1/judgements"):
        return max(int(image_bytes * _ENCODED), _BODY_BYTES)
    if method == "POST" and path == _ITEMS:
        return _BULK_BYTES
    return _BODY_BYTES


class RequestBounds:
    """ASGI middleware: refuses odd methods, long paths and large bodies, whether their length is declared or not.

    Args:
        longest_body: method and path → bytes.
    """

    def __init__(self, app: ASGIApp, longest_body: Callable[[str, str], int]) -> None:
        self._app = app
        self._longest_body = longest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request as a problem, or pass it on with a body that ends at the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._longest_body(scope["method"], scope["path"])
        refusal = _find_refusal(scope, limit)
        if refusal is not None:
            status, detail, headers = refusal
            await problem(scope, status, detail, headers)(scope, receive, send)
        elif _has_body(scope):
            body = _Body(scope, receive, send, limit)
            try:
                await self._app(scope, body.receive, body.send)
            except HTTPException:
                if not body.is_refused:
                    raise
        else:
            await self._app(scope, receive, send)


def _find_refusal(scope: Scope, limit: int) -> tuple[int, str, dict[str, str]] | None:
    if scope["method"] not in METHODS:
        allowed = ", ".join(METHODS)
        return 405, f"The methods here are {allowed}.", {"Allow": allowed}
    if len(scope.get("raw_path") or b"") > LONGEST_PATH or len(scope["path"]) > LONGEST_PATH:
        return 414, f"A path has at most {LONGEST_PATH:,} bytes.", {}
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    if not lengths:
        return None
    is_chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
    if len(lengths) > 1 or is_chunked or not lengths[0].isdigit():
        return 400, "Send one Content-Length, a number, or none.", {}
    if len(lengths[0]) > 15 or int(lengths[0]) > limit:
        return 413, _too_large(limit), {}
    return None


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def _too_large(limit: int) -> str:
    return f"The body of this request may have at most {limit:,} bytes."


class _Body:
    """The body of one request, which is refused once it is longer than it may be, whatever the application does."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._left = limit
        self._limit = limit
        self._has_begun = False
        self.is_refused = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0 and not self.is_refused:
                self.is_refused = True
                if not self._has_begun:
                    await problem(self._scope, 413, _too_large(self._limit))(self._scope, self._receive, self._send)
                raise HTTPException(413, _too_large(self._limit))
        return message

    async def send(self, message: Message) -> None:
        if self.is_refused and not self._has_begun:
            return  # it is answered already
        self._has_begun = True
        await self._send(message)


class ConcurrencyLimit:
    """ASGI middleware: answers 429 to what comes while as many requests as the server bears are under way.

    Probes are not counted.

    Args:
        most: requests that are answered at once.
        count_refusal: told "concurrency" for each refusal.
    """

    def __init__(self, app: ASGIApp, most: int, count_refusal: Callable[[str], object] | None = None) -> None:
        self._app = app
        self._most = most
        self._count_refusal = count_refusal
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or count it until it is answered."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        if self._running >= self._most:
            if self._count_refusal is not None:
                self._count_refusal("concurrency")
            detail = "The server is busy; wait a second, then ask again."
            await problem(scope, 429, detail, {"Retry-After": "1"})(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1


class TimeLimit:
    """ASGI middleware: answers 503 where an answer takes too long, and breaks off one that is not taken.

    The time for the body to arrive is not counted, as connections have a bound on that. A write goes on, as it must
    not be done in half.

    Args:
        seconds: from when a request has arrived until it is answered.
        is_write: whether a method and a path change the index; that may take `WRITE_SECONDS`.
    """

    def __init__(self, app: ASGIApp, seconds: float, is_write: Callable[[str, str], bool]) -> None:
        self._app = app
        self._seconds = seconds
        self._is_write = is_write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and cancel it when its time is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        is_write = self._is_write(scope["method"], scope["path"])
        seconds = max(self._seconds, WRITE_SECONDS) if is_write else self._seconds
        has_begun = False

        async def extend() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not limit.expired():
                limit.reschedule(loop.time() + seconds)
            return message

        async def note_start(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            async with asyncio.timeout(seconds) as limit:
                await self._app(scope, extend, note_start)
        except TimeoutError:
            if not limit.expired() or has_begun:
                raise
            detail = f"There was no answer within {seconds:g} seconds; ask for less, or later."
            if is_write:
                detail = f"The change takes longer than {seconds:g} seconds, and goes on."
            await problem(scope, 503, detail, {"Retry-After": "1"})(scope, receive, send)
