"""Request guard: only requests of the page itself, from this machine, and for no files but the visitor's uploads.

Gradio's server can do much more than this page needs: it fetches addresses, relays other sites and serves folders.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likewise.files import lies_within

_FILE = "/gradio_api/file="
_JOIN = "/gradio_api/queue/join"
_EVENTS = "/gradio_api/queue/data"
_UPLOAD = "/gradio_api/upload"
_READ = re.compile(
    r"/|/(thumbnail|recording|details|config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)|/(assets|static|svelte)/.*"
    r"|/gradio_api/(info|app_id|startup-events|theme\.css|queue/data|upload_progress|heartbeat/\w+|file=.*)"
)
_WRITE = re.compile(r"/gradio_api/(queue/join/?|upload|reset/?|cancel)")
_QUERIED = re.compile(r"/(thumbnail|recording|details|gradio_api/queue/data)")  # others' open what the page lacks
_SESSION = re.compile(r"\w{1,64}", re.ASCII)
_LONGEST_EVENT = 1_000_000  # bytes of an event's inputs; pictures are uploaded before and only named in it
_LONGEST_PATH = 255  # characters; what file systems allow for one name

# Gradio builds the page's address from X-Forwarded-Host and the like, so that only these headers reach it.
_PASSED_HEADERS = frozenset(
    b"accept accept-encoding accept-language cache-control connection content-length content-type host"
    b" if-modified-since if-none-match if-range range transfer-encoding user-agent".split()
)
_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
_PAGE_POLICY = (  # its own scripts by their hashes; Gradio compiles the handlers of events and templates with eval
    "default-src 'none'; script-src 'self' 'unsafe-eval' {hashes}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:;"
    " manifest-src 'self';"
    " base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)

Inputs = Sequence[type[BaseModel] | None]


class Guard:
    """ASGI middleware; everything that the page itself does not ask for is refused.

    Args:
        uploads: the folder that Gradio keeps uploads in.
        longest_upload: bytes of the body of an upload.
        events: the inputs of each of the page's events, as Gradio checks them; None for an input of any kind.
        is_allowed: whether a request may be answered at all, by where it comes from.
    """

    def __init__(
        self,
        app: ASGIApp,
        uploads: Path,
        longest_upload: int,
        events: Mapping[int, Inputs],
        is_allowed: Callable[[Scope], bool],
    ) -> None:
        self._app = app
        self._uploads = uploads.resolve()
        self._longest_upload = longest_upload
        self._events = events
        self._is_allowed = is_allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request with one sentence, or pass it on."""
        if scope["type"] == "websocket":
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        try:
            await self._pass_on(scope, receive, answer)
        except _TooLargeError as error:
            refusal = PlainTextResponse(f"At most {error.limit:,} bytes are accepted here.", status_code=413)
            await refusal(scope, receive, answer.send)

    async def _pass_on(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        allowed = self._allows(scope)
        if allowed and scope["method"] == "POST":
            if scope["path"] == _UPLOAD:
                receive = _bound(scope, receive, self._longest_upload)
            else:
                body = await _read_body(_bound(scope, receive, _LONGEST_EVENT))
                allowed = self._is_event(body, scope["path"].rstrip("/") == _JOIN)
                receive = _replay(body, receive)
        if not allowed:
            await PlainTextResponse("This page does not serve that.", status_code=403)(scope, receive, answer.send)
            return
        dropped = {b"accept-encoding"} if scope["path"] == "/" else set()  # its scripts are to be read
        kept = [(name, value) for name, value in scope["headers"] if name in _PASSED_HEADERS - dropped]
        query = scope["query_string"] if _QUERIED.fullmatch(scope["path"]) else b""
        try:
            await self._app({**scope, "headers": kept, "query_string": query}, receive, answer.send)
        except _TooLargeError:
            raise
        except Exception:
            if scope["path"] != _EVENTS or not answer.is_open:
                raise
            # Gradio has told the browser that it does not know the session, and then breaks the stream off.
            await answer.send({"type": "http.response.body", "body": b"", "more_body": False})

    def _allows(self, scope: Scope) -> bool:
        path: str = scope["path"]
        known = _READ if scope["method"] in ("GET", "HEAD") else _WRITE if scope["method"] == "POST" else None
        if known is None or not self._is_allowed(scope) or not known.fullmatch(path):
            return False
        if path.startswith(_FILE):
            return self._is_upload(path.removeprefix(_FILE))
        return len(path) <= _LONGEST_PATH

    def _is_event(self, body: bytes, is_join: bool) -> bool:
        """Whether a body is JSON that Gradio can handle, names uploads only and, if `is_join`, an event of the page."""
        try:
            event = json.loads(body, parse_constant=_refuse_constant)
            values = list(_walk(event))
        except (ValueError, RecursionError):
            return False
        if not isinstance(event, dict) or not all(map(_is_text, values)):
            return False
        named = [value["path"] for value in values if isinstance(value, dict) and value.get("path")]
        if not all(isinstance(path, str) and self._is_upload(path) for path in named):
            return False
        return not is_join or self._is_known(event)

    def _is_known(self, event: dict[str, Any]) -> bool:
        index, inputs, session = event.get("fn_index"), event.get("data"), event.get("session_hash")
        return (
            type(index) is int
            and isinstance(inputs, list)
            and _fits(inputs, self._events.get(index))
            and isinstance(session, str)
            and _SESSION.fullmatch(session) is not None
            and isinstance(event.get("event_data"), dict | None)
            and not event.get("batched")
        )

    def _is_upload(self, path: str) -> bool:
        try:
            fits = all(len(part.encode()) <= _LONGEST_PATH for part in Path(path).parts)
            return fits and lies_within(Path(path), self._uploads) and "://" not in path
        except (OSError, ValueError):
            return False


class _Answer:
    """The headers that keep other sites and injected scripts out, on every answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._is_page = scope["path"] == "/"
        self._start: Message = {}
        self._page = b""
        self.is_open = False

    async def send(self, message: Message) -> None:
        """Send a message on; the page's own one waits until its scripts are known."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            headers["Content-Security-Policy"] = _POLICY
            self._start = message
            self.is_open = True
            if not self._is_page:
                await self._send(message)
        elif self._is_page:
            self._page += message.get("body", b"")
            if not message.get("more_body"):
                if self._start["status"] == 200:
                    policy = _PAGE_POLICY.format(hashes=" ".join(_script_hashes(self._page)))
                    MutableHeaders(scope=self._start)["Content-Security-Policy"] = policy
                self.is_open = False
                await self._send(self._start)
                await self._send({**message, "body": self._page})
        else:
            self.is_open = bool(message.get("more_body"))
            await self._send(message)


class _TooLargeError(Exception):
    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


def _script_hashes(page: bytes) -> list[str]:
    digests = (hashlib.sha256(script).digest() for script in _INLINE_SCRIPT.findall(page))
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


def _walk(value: Any) -> Iterator[Any]:
    """Every value of an event, however deep: Gradio looks for files in the values of all components."""
    yield value
    if isinstance(value, dict):
        yield from value
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(entry)


def _is_text(value: Any) -> bool:
    """Half of a surrogate pair is JSON, but it cannot be sent back."""
    return not isinstance(value, str) or value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def _fits(values: list[Any], inputs: Inputs | None) -> bool:
    if inputs is None or len(values) != len(inputs):
        return False
    try:
        for value, model in zip(values, inputs, strict=True):
            if value is not None and model is not None:
                model.model_validate(value)
    except ValidationError:
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _bound(scope: Scope, receive: Receive, limit: int) -> Receive:
    declared = Headers(scope=scope).get("content-length", "0")
    if not declared.isdecimal() or len(declared) > 15 or int(declared) > limit:
        raise _TooLargeError(limit)
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _TooLargeError(limit)
        return message

    return bounded


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
