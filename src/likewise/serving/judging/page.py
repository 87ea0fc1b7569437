"""The page at /judge: one query at a time, its hits, and what somebody says of them."""

from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from likewise.serving.auth import JUDGE

_KINDS = {"judge.html": "text/html", "judge.css": "text/css", "judge.js": "text/javascript"}
FILES = tuple(f"{JUDGE}/{name}" for name in _KINDS if name != "judge.html")
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
}


def judge_page_routes() -> list[Route]:
    """The routes of the page and its files."""
    shown = {JUDGE: "judge.html", **{path: path.rpartition("/")[2] for path in FILES}}
    return [Route(path, _show(name), methods=["GET"]) for path, name in shown.items()]


def _show(name: str):  # type: ignore[no-untyped-def]
    async def show(request: Request) -> Response:
        return Response(_read(name), media_type=_KINDS[name], headers=_HEADERS)

    return show


@cache
def _read(name: str) -> bytes:
    return files("likewise.serving.judging").joinpath(name).read_bytes()
