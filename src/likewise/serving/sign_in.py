"""Sign-in form of the page: exchanges a key for a session cookie, without scripts."""

import base64
import hashlib
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from likewise.serving.auth import JUDGE, JUDGING, SIGN_IN, SIGN_OUT
from likewise.serving.keys import LONGEST_KEY, Keys
from likewise.serving.listening import comes_from_same_origin
from likewise.serving.problems import problem
from likewise.serving.rate_limit import TokenBuckets, client_of, retry_after
from likewise.serving.sessions import COOKIE, Sessions, tokens_of
from likewise.serving.templates import load_template

_PAGE = "/"
_LONGEST_FORM = 4096  # bytes
_FORM = "application/x-www-form-urlencoded"
_ATTEMPTS, _ATTEMPTS_PER_SECOND = 10, 10 / 60
_STYLE = (
    ":root{color-scheme:light dark;font-family:system-ui,sans-serif}"
    "main{max-width:24rem;margin:15vh auto;padding:0 1rem}"
    "label,input,button{display:block;width:100%;box-sizing:border-box;font:inherit;margin-top:.5rem}"
    "input,button{padding:.6rem}"
    "[role=alert]{border-left:.25rem solid;padding-left:.75rem}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",  # without one, browsers do not say that the form is this server's own
}


def sign_in_routes(
    keys: Keys, sessions: Sessions, *, clock: Callable[[], float] = time.monotonic, address: str = _PAGE
) -> list[Route]:
    """The routes `/sign-in` and `/sign-out`.

    Args:
        address: where a browser goes once it is signed in.
    """
    attempts = TokenBuckets(_ATTEMPTS_PER_SECOND, _ATTEMPTS, clock=clock)

    async def show(request: Request) -> Response:
        return _form(request)

    async def sign_in(request: Request) -> Response:
        if not comes_from_same_origin(request.scope):
            return problem(request.scope, 403, "Other sites may not sign anyone in.")
        wait = attempts.take(client_of(request.scope))
        if wait > 0:
            return _form(request, "Too many attempts; wait a minute, then try again.", 429, retry_after(wait))
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            return problem(request.scope, 415, f"Send the form as {_FORM}.")
        body = await _read_body(request)
        if body is None:
            return problem(request.scope, 413, f"The form has at most {_LONGEST_FORM:,} bytes.")
        key = keys.find(_key_in(body))
        if key is None:
            return _form(request, "The key is not known here.", 401)
        answer = RedirectResponse(JUDGE if _comes_to_judge(request) else address, 303, {"Cache-Control": "no-store"})
        answer.set_cookie(
            COOKIE,
            sessions.begin(key),
            max_age=sessions.seconds,
            secure=request.scope["scheme"] == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    async def sign_out(request: Request) -> Response:
        if not comes_from_same_origin(request.scope):
            return problem(request.scope, 403, "Other sites may not sign anyone out.")
        for token in tokens_of(request.scope):
            sessions.end(token)
        answer = RedirectResponse(SIGN_IN, 303, {"Cache-Control": "no-store"})
        answer.delete_cookie(COOKIE, secure=request.scope["scheme"] == "https", httponly=True, samesite="strict")
        return answer

    return [
        Route(SIGN_IN, show, methods=["GET"]),
        Route(SIGN_IN, sign_in, methods=["POST"]),
        Route(SIGN_OUT, sign_out, methods=["POST"]),
    ]


def _comes_to_judge(request: Request) -> bool:
    return bool(request.scope["query_string"] == JUDGING.encode())


def _form(
    request: Request, mistake: str | None = None, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    action = f"{SIGN_IN}?{JUDGING}" if _comes_to_judge(request) else SIGN_IN
    template = load_template("likewise.serving", "sign_in.html.jinja")
    page = template.render(mistake=mistake, action=action, longest=LONGEST_KEY, style=_STYLE)
    return HTMLResponse(page, status, {**_HEADERS, **(headers or {})})


async def _read_body(request: Request) -> bytes | None:
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_FORM:
                return None
    except ClientDisconnect:
        return b""
    return bytes(body)


def _key_in(body: bytes) -> bytes:
    """The one key of a form; empty where there is none, or another form was sent."""
    try:
        values = parse_qs(body.decode("ascii"), max_num_fields=4).get("key", [])
    except ValueError:
        return b""
    return values[0].strip().encode("utf-8", "replace") if len(values) == 1 else b""
