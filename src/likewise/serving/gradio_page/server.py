"""Local web server of the search page."""

import os
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
import httpx
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.types import Scope

from likewise.errors import UserError
from likewise.progress import say
from likewise.serving.gradio_page.guard import Guard
from likewise.serving.gradio_page.page import Page
from likewise.serving.gradio_page.uploads import LONGEST_UPLOAD, Uploads
from likewise.serving.http_server import ending_on_signal, serving_app
from likewise.serving.listening import comes_from_this_machine, is_loopback, listen

_FORM_BYTES = 10_000  # of an upload's form beside its file
_HERE = Path(__file__).parent


def serve(page: Page, host: str = "127.0.0.1", port: int = 7860, *, open_browser: bool = False) -> None:
    """Serve a page until Ctrl+C or until the process is asked to end; to be called from the main thread.

    Raises:
        UserError: the host is not this machine's own, or the port is taken.
    """
    with ending_on_signal() as wait, serving(page, host, port) as url:
        say(f"Serving on {url} (Ctrl+C stops)")
        if open_browser:
            webbrowser.open(url)
        wait()
    say("Stopped")


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
        mounting(page, comes_from_this_machine) as app,
        serving_app(app, listener) as url,
    ):
        yield url


@contextmanager
def mounting(page: Page, is_allowed: Callable[[Scope], bool]) -> Iterator[FastAPI]:
    """The page as an application, whose uploads are kept while the block runs.

    Args:
        is_allowed: whether a request may be answered at all, by where it comes from.
    """
    with (
        tempfile.TemporaryDirectory(prefix="likewise-uploads-") as uploads,
        _uploads_in(page.blocks, Path(uploads)),
    ):
        try:
            yield create_app(page, Path(uploads), is_allowed)
        finally:
            page.blocks.close(verbose=False)


def create_app(page: Page, uploads: Path, is_allowed: Callable[[Scope], bool]) -> FastAPI:
    """The page, its thumbnails, recordings and details as one guarded web application."""
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

    @app.get("/recording")
    def play_recording(id: str, key: str) -> Response:
        try:
            path = page.recording(id, key)
        except UserError:
            path = None
        if path is None:
            return PlainTextResponse("no recording", status_code=404)
        return FileResponse(path, media_type="audio/wav", headers={"Cache-Control": "private, max-age=300"})

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
    app.add_middleware(
        Guard,
        uploads=uploads,
        longest_upload=LONGEST_UPLOAD + _FORM_BYTES,
        events=events,
        is_allowed=is_allowed,
    )
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
