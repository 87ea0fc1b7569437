"""The API as one web application."""

from datetime import datetime
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp, Receive, Scope, Send

from likewise.serving.api.columns import column_routes
from likewise.serving.api.comparison import comparison_routes
from likewise.serving.api.direct_routes import DirectRoutes, find_endpoints
from likewise.serving.api.documentation import documentation_routes
from likewise.serving.api.embeddings import embedding_routes
from likewise.serving.api.health import health_routes
from likewise.serving.api.heat_maps import heat_map_routes
from likewise.serving.api.item_writes import item_write_routes
from likewise.serving.api.items import item_routes
from likewise.serving.api.judgement_schemas import JudgementRequest
from likewise.serving.api.judgements import judgement_routes
from likewise.serving.api.problems import PROBLEM_RESPONSES, add_problems
from likewise.serving.api.schemas import BatchRequest, EmbeddingRequest, HeatMapRequest, SearchRequest
from likewise.serving.api.search import search_routes
from likewise.serving.judging.judging import NO_JUDGING, Judging
from likewise.serving.problems import Problem
from likewise.serving.service import SearchService

_ITEMS = b"/v1/items/"
_DESCRIPTION = "Search a catalogue by words, pictures and items; see the guide on serving."
_BY_HAND = (  # models that no route declares
    *(SearchRequest, BatchRequest, HeatMapRequest, EmbeddingRequest, JudgementRequest, Problem),
)
_TAGS = [
    {
        "name": "search",
        "description": "Queries of words, pictures and items; completions; how many items have which values.",
    },
    {"name": "items", "description": "What the index keeps of an item."},
    {"name": "embeddings", "description": "The vectors behind a search, for clients that speak OpenAI's API."},
    {"name": "judging", "description": "What people say of hits, for evaluation and training."},
    {"name": "health", "description": "For those who run the server."},
]


def create_api(service: SearchService, judging: Judging = NO_JUDGING) -> FastAPI:
    """Everything under /v1, the health checks and /docs."""
    app = FastAPI(
        title="likewise",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        separate_input_output_schemas=False,
        openapi_tags=_TAGS,
        generate_unique_id_function=lambda route: route.name,  # clients are generated with these names
    )
    created = int(datetime.fromisoformat(service.index.metadata.created).timestamp())
    searches = search_routes(service)
    routers = (
        searches,
        column_routes(service),
        comparison_routes(service),
        item_routes(service),
        heat_map_routes(service),
        item_write_routes(service),
        embedding_routes(service, created),
        judgement_routes(service, judging),
    )
    for router in routers:
        app.include_router(router, prefix="/v1", responses=PROBLEM_RESPONSES)
    app.include_router(health_routes(service), responses=PROBLEM_RESPONSES)
    app.include_router(documentation_routes())
    add_problems(app)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    app.add_middleware(KeepItemIds)
    app.add_middleware(DirectRoutes, endpoints=find_endpoints(searches, "/v1", ("search",)))
    return app


def _describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies that are read by hand, and problems."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        _, bodies = models_json_schema(
            [(model, "validation") for model in _BY_HAND], ref_template="#/components/schemas/{model}"
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(bodies["$defs"])
        app.openapi_schema = document
    return app.openapi_schema


class KeepItemIds:
    """ASGI middleware that leaves ids in paths percent-encoded, so that an id may have slashes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the path as it was sent in place of the decoded one."""
        if scope["type"] == "http":
            raw: bytes = scope.get("raw_path") or b""
            path = raw.partition(b"?")[0]
            if path.startswith(_ITEMS):
                scope = {**scope, "path": path.decode("latin-1")}
        await self._app(scope, receive, send)
