"""Commands that serve an index: the search page alone, and the API with the page."""

from pathlib import Path

from likewise.cli.options import CatalogOptions, Device, Run, StoreUri, Switch, read_credentials
from likewise.errors import UserError
from likewise.progress import say


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
    cache
        Folder for downloads and thumbnails.
    """
    from likewise.catalog.catalog import default_cache
    from likewise.model.model import Model
    from likewise.retrieval.index import Index
    from likewise.serving.api.server import building_app
    from likewise.serving.gradio_page.page import create_page, find_catalog_name
    from likewise.serving.http_server import ending_on_signal, serving_app
    from likewise.serving.listening import comes_from_this_machine, listen
    from likewise.serving.service import Limits, SearchService
    from likewise.serving.thumbnails import thumbnails_in

    if not timeout > 0:
        raise UserError(f"--timeout must be above 0 seconds, not {timeout}")
    model = Model.load(run, device)
    found = Index.open(run, model, store=store, credentials=read_credentials())
    thumbnails = thumbnails_in(CatalogOptions(cache=cache).find_cache() or default_cache())
    shown = None
    if page:
        shown = create_page(found, title=find_catalog_name(run), examples=found.example_titles(), thumbnails=thumbnails)
    service = SearchService(found, model, limits=Limits(seconds=timeout, allow_urls=allow_urls), thumbnails=thumbnails)
    try:
        with (
            listen(host, port) as listener,
            building_app(service, shown, comes_from_this_machine) as app,
            ending_on_signal() as wait,
            serving_app(app, listener, drain_seconds=round(timeout) + 1) as url,
        ):
            say(f"Serving the API on {url}/v1, its documentation on {url}/docs (Ctrl+C stops)")
            wait()
    finally:
        service.close()
