"""The page at /docs: Swagger UI over the OpenAPI document, without any other host."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from likewise.errors import MissingExtraError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>likewise API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = 'SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true });\n'
_KINDS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


def documentation_routes() -> APIRouter:
    """The routes of the page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    def show_page() -> Response:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": POLICY})

    @router.get("/docs/start.js")
    def show_start() -> Response:
        return Response(_START, media_type="text/javascript")

    for name, kind in _KINDS.items():
        router.add_api_route(f"/docs/{name}", _serve_asset(name, kind))
    return router


def _serve_asset(name: str, kind: str):  # type: ignore[no-untyped-def]
    def show() -> Response:
        return Response(_read_asset(name), media_type=kind, headers={"Cache-Control": "public, max-age=86400"})

    return show


@cache
def _read_asset(name: str) -> bytes:
    try:
        folder = files("fastapi_swagger.resources")
    except ModuleNotFoundError:
        raise MissingExtraError("fastapi-swagger", "serve") from None
    return folder.joinpath(name).read_bytes()
