"""The server of `likewise serve`: the API, the search page at /, and what guards both."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from starlette.types import ASGIApp

from likewise.config import Device
from likewise.errors import MissingExtraError
from likewise.model.model import Model
from likewise.retrieval.index import Index
from likewise.retrieval.occluding import OccludingModel
from likewise.serving.api.app import create_api
from likewise.serving.auth import JUDGE, SIGN_IN, SIGN_OUT, KeyGuard, is_write
from likewise.serving.catalog_name import find_catalog_name
from likewise.serving.comparison import Comparison
from likewise.serving.http_server import serving_app
from likewise.serving.judging.collecting import CollectQueries
from likewise.serving.judging.judging import NO_JUDGING, Judging, JudgingSettings, opening_judging
from likewise.serving.keys import Keys
from likewise.serving.limits import MAX_CONCURRENT, PROBES, ConcurrencyLimit, RequestBounds, TimeLimit, longest_body
from likewise.serving.metrics import Metrics
from likewise.serving.page.routes import ASSET, PAGE, SearchPage, judge_page_routes, page_routes
from likewise.serving.rate_limit import RateLimit
from likewise.serving.recordings import previews_in
from likewise.serving.request_log import RequestLog
from likewise.serving.route_templates import RouteTemplates
from likewise.serving.security_headers import SecurityHeaders
from likewise.serving.service import Limits, SearchService
from likewise.serving.sessions import Sessions
from likewise.serving.sign_in import sign_in_routes
from likewise.serving.thumbnails import thumbnails_in
from likewise.stores.uri import Credentials

_SPARE_SECONDS = 1.0  # for an answer that names the deadline which has passed
_UNDESCRIBED = (PAGE, ASSET, "/docs", "/openapi.json", SIGN_IN, SIGN_OUT, JUDGE)
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


@dataclass(frozen=True)
class ServerSettings:
    """What `likewise serve` serves, and how; each worker process opens it anew.

    Attributes:
        run: the run folder.
        store: the URI of another store than the one that the run remembers.
        cache: the folder of downloads and thumbnails.
        page: show the search page at /, and the page for judging at /judge where people may judge.
        judging: None: nobody judges, and no query is collected.
    """

    run: Path
    cache: Path
    store: str | None = None
    credentials: Credentials = Credentials()  # noqa: RUF009 - it cannot be changed
    device: Device = "auto"
    page: bool = True
    limits: Limits = Limits()  # noqa: RUF009
    protection: Protection = Protection()
    judging: JudgingSettings | None = None

    @property
    def drain_seconds(self) -> int:
        """How long requests under way may take when the server ends."""
        return round(self.limits.seconds) + 1


@contextmanager
def serving_run(settings: ServerSettings, listener: socket.socket) -> Iterator[str]:
    """Serve a run while the block runs; yields the address once it answers.

    Raises:
        UserError: the run has no model or no index, or they do not fit together.
    """
    model = Model.load(settings.run, settings.device)
    model.pack_texts()
    index = Index.open(settings.run, model, store=settings.store, credentials=settings.credentials)
    thumbnails, previews = thumbnails_in(settings.cache), previews_in(settings.cache)
    limits = settings.limits
    page = None
    if settings.page:
        title = find_catalog_name(settings.run)
        page = SearchPage(index, title, model.hears, limits.image_bytes, limits.audio_bytes)
    service = SearchService(
        index,
        model,
        limits=limits,
        metrics=_find_metrics(),
        encode_queries=_encoding_with_one_thread(index.model.encode_queries),
        thumbnails=thumbnails,
        comparison=Comparison(index, model, settings.cache),
        previews=previews,
    )
    try:
        _warm_up(service)
        with opening_judging(settings.judging) as judging:
            app = build_app(service, page, settings.protection, judging)
            with serving_app(app, listener, drain_seconds=settings.drain_seconds) as url:
                yield url
    finally:
        service.close()
        index.close()


def _encoding_with_one_thread(encode: Callable[[list[str]], np.ndarray]) -> Callable[[list[str]], np.ndarray]:
    """Encode queries with a single thread of PyTorch: they are so short that two would mostly wait for each other.

    The number is one of the thread that calls; see `_warm_up`.
    """
    import torch

    calling = threading.local()

    def encode_with_one_thread(texts: list[str]) -> np.ndarray:
        if not hasattr(calling, "is_set"):
            torch.set_num_threads(1)
            calling.is_set = True
        return encode(texts)

    return encode_with_one_thread


def _warm_up(service: SearchService) -> None:
    """Encode a first query; threads that start later compute with as many threads as before."""
    import torch

    before = torch.get_num_threads()
    asyncio.run(service.check())
    torch.set_num_threads(before)


def serve_as_worker(
    settings: ServerSettings,
    listener: socket.socket,
    report_ready: Callable[[], None],
    wait: Callable[[], None],
) -> None:
    """What each of several worker processes does; see `run_workers`."""
    with serving_run(settings, listener):
        report_ready()
        wait()


def _find_metrics() -> Metrics | None:
    """Metrics where their library is installed; /metrics says so where it is not."""
    try:
        return Metrics()
    except MissingExtraError:
        return None


def build_app(
    service: SearchService,
    page: SearchPage | None,
    protection: Protection = Protection(),
    judging: Judging = NO_JUDGING,
) -> ASGIApp:
    """The whole application.

    Args:
        page: shown at /; None: the API alone.
        judging: whether people may judge, and queries are collected.
    """
    keys = protection.keys
    sessions = Sessions(keys) if keys and page is not None else None
    app = create_api(service, judging)
    templates = RouteTemplates([*app.openapi()["paths"], *_UNDESCRIBED])
    if sessions is not None:
        app.router.routes.extend(sign_in_routes(keys, sessions))
    if page is not None:
        app.router.routes.extend(page_routes(page, service.run, find_features(service, judging)))
        if judging.store is not None:
            app.router.routes.extend(judge_page_routes())
    return protect(app, service, protection, templates, sessions, judging)


def find_features(service: SearchService, judging: Judging) -> dict[str, bool]:
    """What not every server has, and the page shows only where it is."""
    occludes = isinstance(service.index.model, OccludingModel)
    return {
        "comparison": service.comparison is not None,
        "explain_words": occludes,
        "heatmap": occludes,
        "judgements": judging.store is not None,
    }


def protect(
    app: ASGIApp,
    service: SearchService,
    protection: Protection,
    templates: RouteTemplates,
    sessions: Sessions | None = None,
    judging: Judging = NO_JUDGING,
) -> ASGIApp:
    """An application behind its guards: the log, headers, bounds, keys, rate, concurrency, time.

    Args:
        templates: the paths that the application answers.
        sessions: of browsers that have signed in.
    """
    metrics = service.metrics
    count_refusal = None if metrics is None else metrics.count_refusal
    if judging.asked is not None and judging.asked.collects:
        app = CollectQueries(app, judging.asked)
    app = TimeLimit(app, service.limits.seconds + _SPARE_SECONDS, is_write)
    app = ConcurrencyLimit(app, protection.max_concurrent, count_refusal)
    if protection.rate is not None:
        burst = max(1, round(protection.rate * _BURST_SECONDS))
        app = RateLimit(app, protection.rate, burst, exempt=PROBES, count_refusal=count_refusal)
    app = KeyGuard(app, protection.keys, sessions=sessions, origins=protection.origins)
    limits = service.limits
    app = RequestBounds(app, partial(longest_body, image_bytes=limits.image_bytes, audio_bytes=limits.audio_bytes))
    app = SecurityHeaders(app, protection.origins)
    return RequestLog(
        app,
        templates,
        is_logged=protection.log_requests or protection.log_queries,
        with_queries=protection.log_queries,
        count=None if metrics is None else metrics.count_request,
    )
