"""Running a web application on a listening socket, and stopping it when the process is asked to end."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likewise.serving.connection_bounds import LONGEST_LINE_AND_HEADERS, MOST_CONNECTIONS
from likewise.serving.connections import fastest_connection
from likewise.serving.listening import url_of

_SECONDS_TO_NOTICE = 5.0  # that a connection is closed


class AnswersToNobody:
    """ASGI application that drops what is sent to a client that has gone.

    uvloop refuses to write to a connection that is closed, in the moment before the server hears that it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        has_gone = False

        async def send_if_open(message: Message) -> None:
            nonlocal has_gone
            try:
                await send(message)
            except RuntimeError as error:
                if "handler is closed" not in str(error):
                    raise
                has_gone = True

        await self._app(scope, receive, send_if_open)
        if has_gone:  # until the server knows, it would miss the rest of the answer
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS_TO_NOTICE):
                    while (await receive())["type"] != "http.disconnect":
                        pass


@contextmanager
def serving_app(app: ASGIApp, listener: socket.socket, *, drain_seconds: int = 1) -> Iterator[str]:
    """Serve an application while the block runs; yields its address once it answers.

    Args:
        listener: bound, not yet listening.
        drain_seconds: how long requests under way may take when the block ends.
    """
    config = uvicorn.Config(
        AnswersToNobody(app),
        log_config=None,  # no handlers of its own: see progress.print_logs
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=drain_seconds,
        http=fastest_connection(),
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
        server.should_exit = True
        thread.join(timeout=drain_seconds + 9)


@contextmanager
def ending_on_signal() -> Iterator[Callable[..., None]]:
    """Yield a function that waits until Ctrl+C, or until the process is asked to end; for the main thread.

    It takes a function that is called twice a second meanwhile.
    """
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())  # or else temporary files would stay behind

    def wait(meanwhile: Callable[[], None] = lambda: None) -> None:
        with suppress(KeyboardInterrupt):
            while not stop.wait(0.5):  # not for ever: in some places Ctrl+C is noticed only between two waits
                meanwhile()

    try:
        yield wait
    finally:
        signal.signal(signal.SIGTERM, before)
