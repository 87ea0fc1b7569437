"""Commands that serve an index: the search page alone, and the API with the page."""

import os
from pathlib import Path

from likewise.cli.options import (
    CatalogOptions,
    Device,
    KeyFile,
    Run,
    RunOrFile,
    Several,
    StoreUri,
    Switch,
    opened_index,
    read_credentials,
    read_keys,
    require_run,
)
from likewise.errors import UserError
from likewise.progress import say


def demo(
    run: RunOrFile,
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
    require_run(run)
    from likewise.catalog.catalog import default_cache
    from likewise.serving.catalog_name import find_catalog_name
    from likewise.serving.gradio_page.page import create_page
    from likewise.serving.gradio_page.server import check_page, serve
    from likewise.serving.recordings import previews_in
    from likewise.serving.thumbnails import thumbnails_in

    title = run.stem if run.is_file() else find_catalog_name(run)
    with opened_index(run, device, store) as (found, model, own):
        folder = own or CatalogOptions(cache=cache).find_cache() or default_cache()
        page = create_page(
            found,
            title=title,
            examples=found.example_titles(),
            thumbnails=thumbnails_in(folder),
            previews=previews_in(folder),
            audio=model.hears,
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
    workers: int = 1,
    log_requests: Switch = False,
    log_queries: Switch = False,
    judge: Switch = False,
    judgements: Path | None = None,
    collect_queries: Switch = False,
    queries_to_judge: Path | None = None,
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
    workers
        Processes that answer, each with a model of its own; more than one needs --no-page.
    log_requests
        Write a JSON line on stderr for each request, without what it searches for.
    log_queries
        Write what is searched for in these lines, too.
    judge
        Let people judge hits, at /judge and over the API; with keys, it takes one with write access.
    judgements
        File of the judgements, which ends in .jsonl (default: judgements.jsonl in the run folder); turns --judge on.
    collect_queries
        Keep the texts that people search for and how often, beside the judgements, as queries to judge.
    queries_to_judge
        File of queries to judge: a text file with one in each line, or a table with the column query and perhaps
        count; turns --judge on.
    cache
        Folder for downloads and thumbnails.
    """
    require_run(run)
    # Threads that spin while they wait for each other take the cores from those that answer; read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from likewise.catalog.catalog import default_cache
    from likewise.serving.api.server import Protection, ServerSettings, serve_as_worker, serving_run
    from likewise.serving.http_server import ending_on_signal
    from likewise.serving.judging.judging import FILE_NAME, JudgingSettings
    from likewise.serving.keys import check_binding
    from likewise.serving.listening import listen, url_of
    from likewise.serving.security_headers import check_origins
    from likewise.serving.service import Limits
    from likewise.serving.workers import run_workers

    if not timeout > 0:
        raise UserError(f"--timeout must be above 0 seconds, not {timeout}")
    if rate is not None and not 0 < rate < float("inf"):
        raise UserError(f"--rate must be above 0 requests per second, not {rate}")
    if max_concurrent < 1:
        raise UserError(f"--max-concurrent must be at least 1, not {max_concurrent}")
    if workers < 1:
        raise UserError(f"--workers must be at least 1, not {workers}")
    if workers > 1 and page:
        raise UserError("the search page needs a single process: add --no-page to --workers, or omit --workers")
    protection = Protection(
        read_keys(keys),
        check_origins(allow_origin or ()),
        None if rate is None else rate / workers,
        max_concurrent,
        log_requests,
        log_queries,
    )
    check_binding(host, protection.keys)
    settings = ServerSettings(
        run,
        CatalogOptions(cache=cache).find_cache() or default_cache(),
        store,
        read_credentials(),
        device,
        page,
        Limits(seconds=timeout, allow_urls=allow_urls),
        protection,
        JudgingSettings(
            judgements or run / FILE_NAME,
            judge=judge or judgements is not None or queries_to_judge is not None,
            collect=collect_queries,
            queries=queries_to_judge,
        ),
    )
    with listen(host, port) as listener:
        url = url_of(listener)
        shown = f", the search page on {url}/" if page else ""
        sentence = f"Serving the API on {url}/v1, its documentation on {url}/docs{shown} (Ctrl+C stops)"
        if page and settings.judging is not None and settings.judging.judge:
            sentence = f"{sentence}; hits are judged on {url}/judge"
        if workers > 1:
            run_workers(workers, serve_as_worker, settings, listener, settings.drain_seconds, lambda: say(sentence))
        else:
            with ending_on_signal() as wait, serving_run(settings, listener):
                say(sentence)
                wait()
    say("Stopped")
