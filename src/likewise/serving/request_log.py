"""Request log: one JSON line for each request, without what people search for."""

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likewise.progress import print_log_line
from likewise.serving.route_templates import RouteTemplates

_ID = re.compile(rb"[\w-]{1,64}")
_NOT_LOGGED = "/livez"
_BROKEN_OFF = 499  # the status of a request that got no answer, as its client had gone


class RequestLog:
    """ASGI middleware: gives each request an id, counts it and, where that is asked for, logs it.

    A line has time, method, route, status, ms, key and request_id. The id is the client's X-Request-ID, or a new one;
    it comes back in the answer.

    Args:
        routes: the paths that are answered.
        is_logged: whether lines are written.
        with_queries: lines have the path, the query string and the words that are searched for, too.
        count: told the method, the route and the status of each request.
        write: takes a line.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: RouteTemplates,
        *,
        is_logged: bool = False,
        with_queries: bool = False,
        count: Callable[[str, str, int], object] | None = None,
        write: Callable[[dict[str, Any]], object] = print_log_line,
    ) -> None:
        self._app = app
        self._routes = routes
        self._is_logged = is_logged
        self._with_queries = with_queries
        self._count = count
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        state = scope.setdefault("state", {})
        id = _find_id(scope)
        status = _BROKEN_OFF

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", id)]}
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            route = self._routes.find(scope)
            if self._count is not None:
                self._count(scope["method"], route, status)
            if self._is_logged and route != _NOT_LOGGED:
                line = {
                    "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "method": scope["method"][:20],
                    "route": route,
                    "status": status,
                    "ms": round((perf_counter() - began) * 1000, 1),
                    "key": state.get("key_name"),
                    "request_id": id.decode(),
                }
                self._write(line | _describe_query(scope) if self._with_queries else line)


def _find_id(scope: Scope) -> bytes:
    sent = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(sent) == 1 and _ID.fullmatch(sent[0]):
        return bytes(sent[0])
    return secrets.token_hex(8).encode()


def _describe_query(scope: Scope) -> dict[str, Any]:
    return {
        "path": scope["path"],
        "query_string": scope["query_string"].decode("latin-1"),
        "texts": scope["state"].get("texts", []),
    }
