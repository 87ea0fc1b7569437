"""A real server on a loopback address for an ASGI application, and requests that no client library would send."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from likewise.serving.connection_bounds import LONGEST_LINE_AND_HEADERS, ConnectionBounds
from likewise.serving.connections import BoundedConnection
from likewise.serving.listening import listen, url_of


@contextmanager
def running(
    app: ASGIApp, connection: type[ConnectionBounds] = BoundedConnection, loop: str = "asyncio"
) -> Iterator[str]:
    """Serve an application while the block runs; yields its address."""
    with listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(
            app,
            loop=loop,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            http=connection,
            h11_max_incomplete_event_size=LONGEST_LINE_AND_HEADERS,
            backlog=1024,  # or else hundreds of connections at once wait for each other for seconds
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join(timeout=10)


async def answer_ok(scope: Scope, receive: Receive, send: Send) -> None:
    """Application: read the body, then answer with its length; a path with "heartbeat" streams for 30 seconds."""
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if "heartbeat" in scope["path"]:
        await send({"type": "http.response.body", "body": b"beat", "more_body": True})
        await asyncio.sleep(30)
    await send({"type": "http.response.body", "body": str(length).encode()})


def connect(url: str) -> socket.socket:
    """A plain connection to a server."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def send_raw(url: str, *sent: bytes) -> bytes:
    """Send bytes, part by part, and read until the server closes."""
    received = b""
    with connect(url) as connection:
        try:
            for part in sent:
                connection.sendall(part)
                time.sleep(0.02 if len(sent) > 1 else 0)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65_536):
                received += chunk
        except OSError:
            pass
    return received


def status_of(received: bytes) -> int:
    """The status of an answer; 400 where the server closed without one."""
    return int(received.split()[1]) if received else 400
