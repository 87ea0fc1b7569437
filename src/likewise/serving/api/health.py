"""Whether the server lives, is ready, and how it fares."""

import asyncio
import logging

from fastapi import APIRouter, Request
from starlette.responses import Response

from likewise.errors import MissingExtraError, UserError
from likewise.serving.api.answers import JsonAnswer
from likewise.serving.api.problems import ProblemError, describe_problems
from likewise.serving.api.schemas import State
from likewise.serving.service import SearchService

log = logging.getLogger(__name__)


def health_routes(service: SearchService) -> APIRouter:
    """The routes that orchestrators and monitors ask."""
    router = APIRouter(tags=["health"])

    @router.get("/livez", summary="Whether the server answers at all", response_model=State)
    async def check_live() -> Response:
        return JsonAnswer({"status": "ok"})

    @router.get(
        "/readyz",
        summary="Whether a query can be encoded and searched",
        response_model=State,
        responses=describe_problems(503),
    )
    async def check_ready() -> Response:
        try:
            await asyncio.wait_for(service.check(), service.limits.seconds)
        except UserError as error:
            raise ProblemError(503, str(error)) from None
        except Exception as error:
            log.error("not ready", exc_info=error)
            raise ProblemError(503, "the server cannot answer queries now; its log says why") from None
        return JsonAnswer({"status": "ok"})

    metrics = service.metrics

    @router.get(
        "/metrics",
        summary="Counts and times, as Prometheus reads them",
        include_in_schema=metrics is not None,
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def read_metrics(request: Request) -> Response:
        if metrics is None:
            raise ProblemError(404, str(MissingExtraError("prometheus-client", "serve")))
        content, media_type = await service.run(metrics.render, request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": media_type})

    return router
