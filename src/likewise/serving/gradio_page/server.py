"""Local web server of the search page."""

import os
import signal
import socket
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import gradio as gr
import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

from likewise.errors import UserError
from likewise.progress import say
from likewise.serving.connection_bounds import LONGEST_LINE_AND_HEADERS, MOST_CONNECTIONS
from likewise.serving.connections import BoundedConnection
from likewise.serving.gradio_page.guard import Guard
from likewise.serving.gradio_page.page import Page
from likewise.serving.gradio_page.uploads import LONGEST_UPLOAD, Uploads
from likewise.serving.listening import is_loopback, listen, url_of

_FORM_BYTES = 10_000  # of an upload's form beside its file
_HERE = Path(__file__).parent


def serve(page: Page, host: str = "127.0.0.1", port: int = 7860, *, open_browser: bool = False) -> None:
    """Serve a page until Ctrl+C or until the process is asked to end; to be called from the main thread.

    Raises:
        UserError: the host is not this machine's own, or the port is taken.
    """
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())  # or else uploads would stay behind
    try:
        with serving(page, host, port) as url:
            say(f"Serving on {url} (Ctrl+C stops)")
            if open_browser:
                webbrowser.open(url)
            with suppress(KeyboardInterrupt):
                while not stop.wait(0.5):  # not for ever: in some places Ctrl+C is noticed only between two waits
                    pass
        say("Stopped")
    finally:
        signal.signal(signal.SIGTERM, before)


def check_page(page: Page, host: str = "127.0.0.1", port: int = 7860) -> str:
    """Serve a page, request it once, and stop; returns its address.

    Raises:
        UserError: it cannot be served, or does not answer as it should.
    """
    with serving(page, host, port) as url:
        answer = httpx.get(url, timeout=30, trust_env=False)
        if answer.status_code != httpx.codes.OK:
            raise UserError(f"the page on {url} answers with HTTP status {answer.status_code}")
        return url


@contextmanager
def serving(page: Page, host: str = "127.0.0.1", port: int = 7860) -> Iterator[str]:
    """Serve a page while the block runs; yields its address once it answers. Port 0 takes any that is free.

    Raises:
        UserError: the host is not this machine's own, or the port is taken.
    """
    with (
        _listening_here(host, port) as listener,
        tempfile.TemporaryDirectory(prefix="likewise-uploads-") as uploads,
        _uploads_in(page.blocks, Path(uploads)),
    ):
        app = create_app(page, Path(uploads))
        config = uvicorn.Config(
            app,
            log_config=None,  # no handlers of its own: see progress.print_logs
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
            http=BoundedConnection,
            h11_max_incomplete_event_size=LONGEST_LINE_AND_HEADERS,
            backlog=MOST_CONNECTIONS,
            ws="none",
            proxy_headers=False,
            server_header=False,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise RuntimeError("the web server stopped while starting")
                time.sleep(0.01)
            yield url_of(listener)
        finally:
            page.blocks.close(verbose=False)
            server.should_exit = True
            thread.join(timeout=10)


def create_app(page: Page, uploads: Path) -> FastAPI:
    """The page, its thumbnails and its details as one guarded web application."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/thumbnail")
    def show_thumbnail(id: str) -> Response:
        try:
            path = page.picture(id)
        except UserError:
            path = None
        if path is None:
            return PlainTextResponse("no picture", status_code=404)
        return FileResponse(path, headers={"Cache-Control": "private, max-age=300"})

    @app.get("/details")
    def show_details(id: str, score: float | None = None) -> Response:
        try:
            return HTMLResponse(page.details(id, score))
        except UserError as error:
            return PlainTextResponse(str(error), status_code=404)

    kept = Uploads(uploads)

    @app.post("/gradio_api/upload")
    async def receive_upload(request: Request) -> Response:
        return await kept.receive(request)

    @app.get("/gradio_api/upload_progress")
    def show_progress() -> Response:  # an upload within this machine takes no time
        return PlainTextResponse('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    gr.mount_gradio_app(
        app,
        page.blocks,
        path="",
        theme=_theme(),
        css_paths=[_HERE / "page.css", _HERE / "cards.css"],
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        show_error=False,
        allowed_paths=[],
        max_file_size=LONGEST_UPLOAD,
    )
    page.blocks.has_launched = True  # mounted pages check the paths that a browser sends only then
    events = {
        index: [getattr(component, "data_model", None) for component in event.inputs]
        for index, event in page.blocks.fns.items()
        if event.fn is not None
    }
    app.add_middleware(Guard, uploads=uploads, longest_upload=LONGEST_UPLOAD + _FORM_BYTES, events=events)
    return app


def _theme() -> gr.themes.Base:
    # Fonts that every system has, as others would come from elsewhere; and greys that stand out enough to be read.
    theme = gr.themes.Soft(
        primary_hue="indigo",
        neutral_hue="slate",
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    )
    return theme.set(body_text_color_subdued="*neutral_500", input_placeholder_color="*neutral_500")


def _listening_here(host: str, port: int) -> socket.socket:
    if not is_loopback(host):
        raise UserError(f"the page has no password, so it is for this machine only: use --host 127.0.0.1, not {host}")
    return listen(host, port)


@contextmanager
def _uploads_in(blocks: gr.Blocks, folder: Path) -> Iterator[None]:
    """Let Gradio keep uploads in a folder of this server alone, which goes when it stops.

    By default all Gradio pages of a machine share one folder, which belongs to whoever came first and is never emptied.
    """
    name = "GRADIO_TEMP_DIR"
    before = os.environ.get(name)
    os.environ[name] = str(folder)
    for block in blocks.blocks.values():
        block.GRADIO_CACHE = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
