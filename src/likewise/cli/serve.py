"""Commands that serve an index: the search page alone, and the API with the page."""

from pathlib import Path
from typing import TYPE_CHECKING

from likewise.cli.options import (
    CatalogOptions,
    Device,
    KeyFile,
    Run,
    Several,
    StoreUri,
    Switch,
    read_credentials,
    read_keys,
)
from likewise.errors import MissingExtraError, UserError
from likewise.progress import say

if TYPE_CHECKING:
    from likewise.serving.metrics import Metrics


def demo(
    run: Run,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    check: Switch = False,
    store: StoreUri = None,
    device: Device = "auto",
    cache: Path | None = None,
) -> None:
    """Serve a search page for a run's index.

    Example: likewise demo runs/products --port 8000

    Parameters
    ----------
    host
        Loopback address to listen on.
    port
        Port to listen on.
    check
        Start, request the page once, and exit.
    cache
        Folder for downloads and thumbnails.
    """
    from likewise.catalog.catalog import default_cache
    from likewise.model.model import Model
    from likewise.retrieval.index import Index
    from likewise.serving.gradio_page.page import create_page, find_catalog_name
    from likewise.serving.gradio_page.server import check_page, serve
    from likewise.serving.thumbnails import thumbnails_in

    found = Index.open(run, Model.load(run, device), store=store, credentials=read_credentials())
    folder = CatalogOptions(cache=cache).find_cache() or default_cache()
    page = create_page(
        found, title=find_catalog_name(run), examples=found.example_titles(), thumbnails=thumbnails_in(folder)
    )
    if check:
        say(f"The page answers on {check_page(page, host, port)}")
    else:
        serve(page, host, port)


def serve(
    run: Run,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    page: bool = True,
    allow_urls: Switch = False,
    timeout: float = 10.0,
    keys: KeyFile = None,
    allow_origin: Several = None,
    rate: float | None = None,
    max_concurrent: int = 64,
    log_requests: Switch = False,
    log_queries: Switch = False,
    store: StoreUri = None,
    device: Device = "auto",
    cache: Path | None = None,
) -> None:
    """Serve an HTTP API over a run's index, and the search page.

    Example: likewise serve runs/products --port 8000

    Parameters
    ----------
    host
        Address to listen on; one that other machines reach needs keys.
    port
        Port to listen on.
    page
        Serve the search page at /; --no-page serves the API alone.
    allow_urls
        Let clients name pictures by http(s) URLs, which the server downloads.
    timeout
        Seconds after which a request is given up.
    allow_origin
        Let pages of another site ask, such as https://shop.example (repeatable).
    rate
        Requests per second for each key, or each address where no key is needed (default: any number).
    max_concurrent
        Requests that are answered at once; others are told to wait.
    log_requests
        Write a JSON line on stderr for each request, without what it searches for.
    log_queries
        Write what is searched for in these lines, too.
    cache
        Folder for downloads and thumbnails.
    """
    from likewise.catalog.catalog import default_cache
    from likewise.model.model import Model
    from likewise.retrieval.index import Index
    from likewise.serving.api.server import Protection, building_app
    from likewise.serving.gradio_page.page import create_page, find_catalog_name
    from likewise.serving.http_server import ending_on_signal, serving_app
    from likewise.serving.keys import check_binding
    from likewise.serving.listening import listen
    from likewise.serving.security_headers import check_origins
    from likewise.serving.service import Limits, SearchService
    from likewise.serving.thumbnails import thumbnails_in

    if not timeout > 0:
        raise UserError(f"--timeout must be above 0 seconds, not {timeout}")
    if rate is not None and not 0 < rate < float("inf"):
        raise UserError(f"--rate must be above 0 requests per second, not {rate}")
    if max_concurrent < 1:
        raise UserError(f"--max-concurrent must be at least 1, not {max_concurrent}")
    protection = Protection(
        read_keys(keys), check_origins(allow_origin or ()), rate, max_concurrent, log_requests, log_queries
    )
    check_binding(host, protection.keys)
    model = Model.load(run, device)
    found = Index.open(run, model, store=store, credentials=read_credentials())
    thumbnails = thumbnails_in(CatalogOptions(cache=cache).find_cache() or default_cache())
    shown = None
    if page:
        shown = create_page(found, title=find_catalog_name(run), examples=found.example_titles(), thumbnails=thumbnails)
    service = SearchService(
        found,
        model,
        limits=Limits(seconds=timeout, allow_urls=allow_urls),
        metrics=_find_metrics(),
        thumbnails=thumbnails,
    )
    try:
        with (
            listen(host, port) as listener,
            building_app(service, shown, protection) as app,
            ending_on_signal() as wait,
            serving_app(app, listener, drain_seconds=round(timeout) + 1) as url,
        ):
            say(f"Serving the API on {url}/v1, its documentation on {url}/docs (Ctrl+C stops)")
            wait()
    finally:
        service.close()


def _find_metrics() -> "Metrics | None":
    """Metrics where their library is installed; /metrics says so where it is not."""
    from likewise.serving.metrics import Metrics

    try:
        return Metrics()
    except MissingExtraError:
        return None
