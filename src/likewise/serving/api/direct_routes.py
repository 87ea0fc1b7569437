"""Routes that are asked so often that finding them should cost nothing."""

from collections.abc import Awaitable, Callable, Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from likewise.serving.api.problems import find_problem
from likewise.serving.problems import ProblemResponse

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectRoutes:
    """ASGI middleware: calls the endpoints of some routes itself.

    The router and the dependencies of FastAPI take a fifth of the event loop's time for a short search, and do nothing
    for an endpoint that takes a request and gives a response. Whatever else comes goes on to the router, which still
    has these routes, too: it describes them.

    Args:
        endpoints: by method and path; each takes a request alone.
    """

    def __init__(self, app: ASGIApp, endpoints: dict[tuple[str, str], Endpoint]) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        endpoint = self._endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except Exception as error:
            problem = find_problem(error)
            if problem is None:
                raise
            response = ProblemResponse(scope["path"], problem.status, problem.detail, problem.headers)
        await response(scope, receive, send)


def find_endpoints(router: APIRouter, prefix: str, names: Iterable[str]) -> dict[tuple[str, str], Endpoint]:
    """Endpoints of a router by method and path, for `DirectRoutes`.

    Args:
        prefix: under which the router is included.
        names: of the endpoints' functions.
    """
    chosen = frozenset(names)
    return {
        (method, f"{prefix}{route.path}"): route.endpoint
        for route in router.routes
        if isinstance(route, APIRoute) and route.name in chosen
        for method in route.methods or ()
    }
