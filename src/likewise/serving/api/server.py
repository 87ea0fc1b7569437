"""The server of `likewise serve`: the API, and the search page at /."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext

from fastapi import FastAPI
from starlette.types import ASGIApp, Scope

from likewise.serving.api.app import create_api
from likewise.serving.gradio_page.page import Page
from likewise.serving.gradio_page.server import mounting
from likewise.serving.service import SearchService


@contextmanager
def building_app(service: SearchService, page: Page | None, is_allowed: Callable[[Scope], bool]) -> Iterator[ASGIApp]:
    """The whole application, while the block runs.

    Args:
        page: shown at /; None: the API alone.
        is_allowed: whether a request for the page may be answered, by where it comes from.
    """
    with mounting(page, is_allowed) if page is not None else nullcontext() as shown:
        app = create_api(service)
        if shown is not None:
            app.mount("/", shown)
            app.router.lifespan_context = _lifespan_of(shown)
        yield app


def _lifespan_of(mounted: FastAPI) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """A mounted application's start and end, which only the outermost one hears of."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with mounted.router.lifespan_context(mounted):
            yield

    return lifespan
