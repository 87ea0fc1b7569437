"""The routes of the pages: the search page at /, the page for judging at /judge, and their files."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from likewise.retrieval.explanation import FusionModel
from likewise.retrieval.index import Index
from likewise.serving.auth import JUDGE
from likewise.serving.page.assets import load_assets, tag_of
from likewise.serving.problems import problem
from likewise.serving.sessions import tokens_of
from likewise.serving.templates import load_template

_PACKAGE = "likewise.serving.page"
PAGE = "/"
ASSET = "/page/{version}/{name}"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # without one, browsers do not say that the form to sign out is this server's own
}
_JUDGE_HEADERS = _HEADERS | {
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
_KEPT = {"Cache-Control": "private, max-age=31536000, immutable"}  # private, as it may take a key to read them
_CHECKED = {"Cache-Control": "private, no-cache"}  # kept, and asked for anew each time


@dataclass(frozen=True)
class SearchPage:
    """What the page shows of a catalogue.

    Attributes:
        index: that it searches.
        title: the heading, and the title of the browser's tab.
        audio: offer to search by a recording.
        image_bytes, audio_bytes: of a picture and of a recording that the server takes.
    """

    index: Index
    title: str = "likewise"
    audio: bool = False
    image_bytes: int = 20_000_000
    audio_bytes: int = 20_000_000

    def describe(self) -> dict[str, Any]:
        """What the scripts of the page have to know."""
        return {
            "title": self.title,
            "items": len(self.index),
            "examples": self.index.example_titles(12),
            "audio": self.audio,
            "image_bytes": self.image_bytes,
            "audio_bytes": self.audio_bytes,
            "explains": self.index.metadata.field_vector_bytes > 0 and isinstance(self.index.model, FusionModel),
        }


def page_routes(
    page: SearchPage,
    run: Callable[[Callable[[], dict[str, Any]]], Awaitable[dict[str, Any]]],
    features: Mapping[str, bool],
) -> list[Route]:
    """The routes `/` and `/page/…`.

    Args:
        run: runs a call of the index in a thread, as `SearchService.run` does.
        features: by name, whether the API has what not every server has; the page hides the rest.
    """

    async def show(request: Request) -> Response:
        about = {"signed_in": bool(tokens_of(request.scope)), "features": dict(features)}
        settings = await run(page.describe) | about
        assets = load_assets()
        content = load_template(_PACKAGE, "page.html.jinja").render(
            title=page.title,
            items=settings["items"],
            settings=to_json(settings).decode(),
            judging=features.get("judgements", False),
            address=assets.address,
            modules=assets.modules(),
        )
        return _answer_page(request, content, _HEADERS)

    async def show_asset(request: Request) -> Response:
        assets = load_assets()
        asset = assets.files.get(request.path_params["name"])
        if asset is None or request.path_params["version"] != assets.version:
            return problem(request.scope, 404, "The page has no such file; load the page anew.")
        return _answer(request, asset.content, asset.kind, _KEPT, asset.tag)

    return [Route(PAGE, show, methods=["GET"]), Route(ASSET, show_asset, methods=["GET"])]


def judge_page_routes() -> list[Route]:
    """The route `/judge`; its files are answered with those of the search page."""

    async def show(request: Request) -> Response:
        content = load_template(_PACKAGE, "judge.html.jinja").render(address=load_assets().address)
        return _answer_page(request, content, _JUDGE_HEADERS)

    return [Route(JUDGE, show, methods=["GET"])]


def _answer_page(request: Request, content: str, headers: Mapping[str, str]) -> Response:
    return _answer(request, content.encode(), "text/html; charset=utf-8", {**headers, **_CHECKED})


def _answer(
    request: Request, content: bytes, kind: str, headers: Mapping[str, str], tag: str | None = None
) -> Response:
    """The content, or 304 for a browser that has it."""
    tag = tag or tag_of(content)
    named = {**headers, "ETag": tag}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known:
        return Response(status_code=304, headers=named)
    return Response(content, media_type=kind, headers=named)
