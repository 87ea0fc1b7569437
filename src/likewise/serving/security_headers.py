"""Headers that keep other sites out, and the sites that are let in (CORS)."""

import re
from collections.abc import Collection, Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likewise.errors import UserError
from likewise.serving.problems import problem

Headers = list[tuple[bytes, bytes]]

_ALWAYS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_NOT_KEPT = (b"cache-control", b"no-store")
_SAYS_WHAT_MAY_BE_KEPT = frozenset({b"cache-control", b"etag"})  # files have an ETag, and can be asked for anew
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+]|[a-z0-9.-]+)(:[0-9]{1,5})?")
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-API-Key, X-Request-ID",
    "Access-Control-Max-Age": "600",
}
_READABLE = b"Retry-After, X-Request-ID"


class SecurityHeaders:
    """ASGI middleware: adds the headers that an answer does not have yet, and answers what browsers ask beforehand.

    Args:
        origins: other sites whose pages may ask, as browsers name them, such as https://shop.example.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str] = ()) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = self._find_origin(scope) if self._origins else None

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._complete(list(message.get("headers", ())), origin)}
            await send(message)

        if self._origins and _is_preflight(scope):
            await _answer_preflight(scope, origin)(scope, receive, complete)
        else:
            await self._app(scope, receive, complete)

    def _find_origin(self, scope: Scope) -> bytes | None:
        """The other site that asks, if it may."""
        named = [value for name, value in scope["headers"] if name == b"origin"]
        return named[0] if len(named) == 1 and named[0] in self._origins else None

    def _complete(self, headers: Headers, origin: bytes | None) -> Headers:
        present = {name.lower() for name, _ in headers}
        headers += [header for header in _ALWAYS if header[0] not in present]
        if not present & _SAYS_WHAT_MAY_BE_KEPT:
            headers.append(_NOT_KEPT)
        if self._origins:
            headers.append((b"vary", b"Origin"))
        if origin is not None:
            headers.append((b"access-control-allow-origin", origin))
            headers.append((b"access-control-expose-headers", _READABLE))
        return headers


def check_origins(origins: Iterable[str]) -> tuple[str, ...]:
    """Origins as browsers name them.

    Raises:
        UserError: one is no origin, such as a pattern or an address with a path.
    """
    checked = tuple(origin.lower() for origin in origins)
    for origin in checked:
        if not _ORIGIN.fullmatch(origin):
            raise UserError(f"--allow-origin takes an origin such as https://shop.example, not {origin}")
    return checked


def _is_preflight(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return scope["method"] == "OPTIONS" and {b"origin", b"access-control-request-method"} <= names


def _answer_preflight(scope: Scope, origin: bytes | None) -> Response:
    if origin is None:
        return problem(scope, 403, "Pages of this site may not ask here; --allow-origin lets them.")
    return Response(status_code=204, headers=_PREFLIGHT)
