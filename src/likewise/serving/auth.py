"""Request guard of the API: a key for each request, or, without keys, requests of this machine alone."""

import re
from collections.abc import Callable, Collection

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from likewise.serving.keys import Keys
from likewise.serving.limits import HEAT_MAP
from likewise.serving.listening import comes_from_same_origin, names_this_machine
from likewise.serving.problems import problem
from likewise.serving.sessions import Sessions, tokens_of

SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
JUDGING = "judge"  # query of the address for signing in, which then leads to the page for judging
PUBLIC = frozenset({"/livez", "/readyz", SIGN_IN, SIGN_OUT})  # health checks know no key
_PAGE = "/"
JUDGE = "/judge"
JUDGEMENTS = "/v1/judgements"
_ITEMS = "/v1/items"
_READS = ("GET", "HEAD", "OPTIONS")
_BEARER = re.compile(rb"bearer +([\x21-\x7e]+)", re.IGNORECASE)
_REALM = 'Bearer realm="likewise"'


def is_write(method: str, path: str) -> bool:
    """Whether a request changes the index or the judgements, so that it needs a key with write access.

    A heat map is asked for by POST, as the question may hold a picture.
    """
    if method == "POST":
        asks = path.startswith(f"{_ITEMS}/") and path.endswith(HEAT_MAP)
        writes = path in (JUDGEMENTS, _ITEMS) or path.startswith((f"{_ITEMS}/", f"{_ITEMS}:"))
        return writes and not asks
    return method not in _READS


class KeyGuard:
    """ASGI middleware: refuses requests without the key that they need.

    A request that passes has `key_name` and `key_access` in its state; `key_name` is None where no key is needed.

    Args:
        keys: without any, only pages and programs of this machine may ask, for anything.
        sessions: lets browsers sign in; None: only keys in headers count.
        public: paths that need no key.
        is_write: whether a method and a path need write access.
        origins: other sites whose pages may ask a server that has no keys.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        *,
        sessions: Sessions | None = None,
        public: Collection[str] = PUBLIC,
        is_write: Callable[[str, str], bool] = is_write,
        origins: Collection[str] = (),
    ) -> None:
        self._app = app
        self._keys = keys
        self._sessions = sessions
        self._public = frozenset(public)
        self._is_write = is_write
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request as a problem, or pass it on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http":
            refusal = self._check(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> Response | None:
        state = scope.setdefault("state", {})
        state["key_name"], state["key_access"] = None, "read"
        if not self._keys:
            state["key_access"] = "write"
            return None if self._comes_from_here(scope) else problem(scope, 403, "Only this machine may ask here.")
        if scope["path"] in self._public:
            return None
        presented = _presented(scope)
        key = self._keys.find(presented[0]) if len(presented) == 1 else None
        if not presented and self._sessions is not None:
            key = next(filter(None, map(self._sessions.find, tokens_of(scope))), None)
            if key is None and _is_visit(scope):
                to = f"{SIGN_IN}?{JUDGING}" if scope["path"] == JUDGE else SIGN_IN
                return RedirectResponse(to, 303, {"Cache-Control": "no-store"})
            if key is not None and not _comes_from_own_page(scope):
                return problem(scope, 403, "Other sites may not ask for someone who is signed in here.")
        if key is None:
            return _refuse(scope, presented)
        if key.access != "write" and self._is_write(scope["method"], scope["path"]):
            challenge = {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope"'}
            return problem(scope, 403, "This key may only read; a change needs a key with write access.", challenge)
        state["key_name"], state["key_access"] = key.name, key.access
        return None

    def _comes_from_here(self, scope: Scope) -> bool:
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        is_allowed = len(origins) == 1 and origins[0] in self._origins
        return names_this_machine(scope) and (is_allowed or comes_from_same_origin(scope))


def _presented(scope: Scope) -> list[bytes]:
    """The keys in the headers of a request; empty for an Authorization that is no Bearer."""
    keys = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            match = _BEARER.fullmatch(value.strip())
            keys.append(match[1] if match else b"")
        elif name == b"x-api-key":
            keys.append(value.strip())
    return keys


def _refuse(scope: Scope, presented: list[bytes]) -> Response:
    if not presented:
        detail = "This needs a key: send it as Authorization: Bearer KEY, or as X-API-Key."
        return problem(scope, 401, detail, {"WWW-Authenticate": _REALM})
    detail = "The key is not known here." if len(presented) == 1 else "Send one key, in one header."
    return problem(scope, 401, detail, {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'})


def _is_visit(scope: Scope) -> bool:
    """Whether a person opens a page in a browser."""
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept")
    return scope["method"] == "GET" and scope["path"] in (_PAGE, JUDGE) and b"text/html" in accepted.lower()


def _comes_from_own_page(scope: Scope) -> bool:
    """Whether a browser says that this server's own page asks, which it always says of changes."""
    names = [name for name, _ in scope["headers"]]
    says_so = b"origin" in names or b"sec-fetch-site" in names
    is_certain = scope["method"] in _READS or says_so
    return is_certain and names.count(b"host") == 1 and comes_from_same_origin(scope)
