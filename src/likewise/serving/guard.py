"""Request guard: only requests of the page itself, from this machine, and for no files but the visitor's uploads.

Gradio's server can do much more than this page needs: it fetches addresses, relays other sites and serves folders.
"""

import ipaddress
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likewise.files import lies_within

_FILE = "/gradio_api/file="
_JOIN = "/gradio_api/queue/join"
_READ = re.compile(
    r"/|/(thumbnail|details|config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)|/(assets|static|svelte)/.*"
    r"|/gradio_api/(info|app_id|startup-events|theme\.css|queue/data|upload_progress|heartbeat/\w+|file=.*)"
)
_WRITE = re.compile(r"/gradio_api/(queue/join|upload|reset|cancel)/?")
_LONGEST_EVENT = 1_000_000  # bytes of an event's inputs; pictures are uploaded before and only named in it


class Guard:
    """ASGI middleware; everything that the page itself does not ask for is refused.

    Args:
        uploads: the folder that Gradio keeps uploads in.
    """

    def __init__(self, app: ASGIApp, uploads: Path) -> None:
        self._app = app
        self._uploads = uploads.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request on."""
        if scope["type"] == "http":
            body: Message | None = None
            if scope["path"].rstrip("/") == _JOIN:
                body = await _read_body(receive)
            if not self._allows(scope, body):
                await PlainTextResponse("This page does not serve that.", status_code=403)(scope, receive, send)
                return
            if body is not None:
                receive = _replay(body, receive)
        elif scope["type"] == "websocket":
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: Scope, body: Message | None) -> bool:
        path: str = scope["path"]
        known = _READ if scope["method"] in ("GET", "HEAD") else _WRITE if scope["method"] == "POST" else None
        if known is None or not _from_this_machine(scope) or not known.fullmatch(path):
            return False
        if path.startswith(_FILE):
            return self._is_upload(path.removeprefix(_FILE))
        return body is None or self._names_uploads_only(body["body"])

    def _names_uploads_only(self, body: bytes) -> bool:
        try:
            return all(self._is_upload(path) for path in _paths(json.loads(body)))
        except (ValueError, RecursionError):
            return False

    def _is_upload(self, path: str) -> bool:
        try:
            return lies_within(Path(path), self._uploads) and "://" not in path
        except (OSError, ValueError):
            return False


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _from_this_machine(scope: Scope) -> bool:
    """A site elsewhere can point its own name at this machine, or send forms to it; browsers tell which site it is."""
    headers = dict(scope["headers"])
    try:
        host = urlsplit(f"//{headers.get(b'host', b'').decode('latin-1')}").hostname
        origin = urlsplit(headers.get(b"origin", b"//localhost").decode("latin-1")).hostname
    except ValueError:
        return False
    return is_loopback(host or "") and is_loopback(origin or "")


def _paths(value: Any) -> list[str]:
    """Every file that an event names, however deep: Gradio looks for them in the values of all components."""
    if isinstance(value, dict):
        own = [str(value["path"])] if value.get("path") else []
        return own + [path for entry in value.values() for path in _paths(entry)]
    if isinstance(value, list):
        return [path for entry in value for path in _paths(entry)]
    return []


async def _read_body(receive: Receive) -> Message:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _LONGEST_EVENT or message["type"] == "http.disconnect":
            return {"type": "http.request", "body": b"", "more_body": False}
        if not message.get("more_body"):
            return {"type": "http.request", "body": body, "more_body": False}


def _replay(body: Message, receive: Receive) -> Receive:
    waiting = [body]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
