"""The command that serves the search page."""

from pathlib import Path

from likewise.cli.options import CatalogOptions, Device, Run, StoreUri, Switch, read_credentials
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
