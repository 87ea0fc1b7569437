"""The server of `likewise serve`: the API, the search page at /, and what guards both."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI
from starlette.types import ASGIApp, Scope

from likewise.serving.api.app import create_api
from likewise.serving.auth import SIGN_IN, SIGN_OUT, KeyGuard, is_write
from likewise.serving.gradio_page.page import Page
from likewise.serving.gradio_page.server import mounting
from likewise.serving.keys import Keys
from likewise.serving.limits import MAX_CONCURRENT, PROBES, ConcurrencyLimit, RequestBounds, TimeLimit, longest_body
from likewise.serving.listening import comes_from_same_origin, comes_from_this_machine
from likewise.serving.rate_limit import RateLimit
from likewise.serving.request_log import RequestLog
from likewise.serving.route_templates import RouteTemplates
from likewise.serving.security_headers import SecurityHeaders
from likewise.serving.service import SearchService
from likewise.serving.sessions import Sessions
from likewise.serving.sign_in import sign_in_routes

_SPARE_SECONDS = 1.0  # for an answer that names the deadline which has passed
_UNDESCRIBED = ("/", "/docs", "/openapi.json", SIGN_IN, SIGN_OUT)
_BURST_SECONDS = 2.0  # requests of so many seconds may come at once


@dataclass(frozen=True)
class Protection:
    """Who may ask a server, and how much.

    Attributes:
        keys: without any, only this machine may ask.
        origins: other sites whose pages may ask; see `check_origins`.
        rate: requests per second for each key, or each address where no key is needed; None: any number.
        max_concurrent: requests that are answered at once.
        log_requests: write a line for each request.
        log_queries: write what is searched for in these lines, too.
    """

    keys: Keys = Keys()  # noqa: RUF009 - it cannot be changed
    origins: tuple[str, ...] = ()
    rate: float | None = None
    max_concurrent: int = MAX_CONCURRENT
    log_requests: bool = False
    log_queries: bool = False


@contextmanager
def building_app(
    service: SearchService,
    page: Page | None,
    protection: Protection = Protection(),
) -> Iterator[ASGIApp]:
    """The whole application, while the block runs.

    Args:
        page: shown at /; None: the API alone.
    """
    keys = protection.keys
    is_allowed: Callable[[Scope], bool] = comes_from_same_origin if keys else comes_from_this_machine
    sessions = Sessions(keys) if keys and page is not None else None
    with mounting(page, is_allowed) if page is not None else nullcontext() as shown:
        app = create_api(service)
        templates = RouteTemplates([*app.openapi()["paths"], *_UNDESCRIBED])
        if sessions is not None:
            app.router.routes.extend(sign_in_routes(keys, sessions))
        if shown is not None:
            app.mount("/", shown)
            app.router.lifespan_context = _lifespan_of(shown)
        yield protect(app, service, protection, templates, sessions)


def protect(
    app: ASGIApp,
    service: SearchService,
    protection: Protection,
    templates: RouteTemplates,
    sessions: Sessions | None = None,
) -> ASGIApp:
    """An application behind its guards: the log, headers, bounds, keys, rate, concurrency, time.

    Args:
        templates: the paths that the application answers.
        sessions: of browsers that have signed in.
    """
    metrics = service.metrics
    count_refusal = None if metrics is None else metrics.count_refusal
    app = TimeLimit(app, service.limits.seconds + _SPARE_SECONDS, is_write)
    app = ConcurrencyLimit(app, protection.max_concurrent, count_refusal)
    if protection.rate is not None:
        burst = max(1, round(protection.rate * _BURST_SECONDS))
        app = RateLimit(app, protection.rate, burst, exempt=PROBES, count_refusal=count_refusal)
    app = KeyGuard(app, protection.keys, sessions=sessions, origins=protection.origins)
    app = RequestBounds(app, partial(longest_body, image_bytes=service.limits.image_bytes))
    app = SecurityHeaders(app, protection.origins)
    return RequestLog(
        app,
        templates,
        is_logged=protection.log_requests or protection.log_queries,
        with_queries=protection.log_queries,
        count=None if metrics is None else metrics.count_request,
    )


def _lifespan_of(mounted: FastAPI) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """A mounted application's start and end, which only the outermost one hears of."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with mounted.router.lifespan_context(mounted):
            yield

    return lifespan
