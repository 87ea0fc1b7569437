"""Whether the server lives, is ready, and how it fares."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from fastapi import APIRouter, Request
from starlette.responses import Response

from likewise.errors import MissingExtraError
from likewise.serving.api.answers import JsonAnswer
from likewise.serving.api.problems import ProblemError, describe_problems
from likewise.serving.api.schemas import State
from likewise.serving.service import SearchService

log = logging.getLogger(__name__)

_SECONDS_SHARED = 1.0


class SharedCheck:
    """A check whose outcome is that of all who ask within a second, so that asking often costs nothing.

    Args:
        check: raises what is wrong.
    """

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        self._check = check
        self._running: asyncio.Future[None] | None = None
        self._began = float("-inf")

    async def check(self) -> None:
        """Wait for the outcome; what the check raises is passed on."""
        if self._running is None or (self._running.done() and monotonic() - self._began > _SECONDS_SHARED):
            self._began = monotonic()
            self._running = asyncio.ensure_future(self._check())
        await asyncio.shield(self._running)  # one who leaves does not end it for the others


def health_routes(service: SearchService) -> APIRouter:
    """The routes that orchestrators and monitors ask."""
    router = APIRouter(tags=["health"])
    readiness = SharedCheck(lambda: service.check())

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
            await asyncio.wait_for(readiness.check(), service.limits.seconds)
        except Exception as error:
            log.error("not ready", exc_info=error)  # whoever asks may have no key, so it is not told what is wrong
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
