"""MCP over streamable HTTP, for programs of this machine.

Each request is one message and is answered at once: no sessions that could pile up, no streams that stay open.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcp.server.lowlevel.server import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from likewise.errors import UserError
from likewise.progress import say
from likewise.serving.http_server import serving_app
from likewise.serving.listening import comes_from_this_machine, is_loopback, listen
from likewise.serving.mcp.server import LONGEST_MESSAGE
from likewise.serving.mcp.stopping import stop_signals

PATH = "/mcp"


class ThisMachineOnly:
    """ASGI middleware that answers programs and pages of this machine alone, and nothing but posted messages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] == "http":
            if not comes_from_this_machine(scope):
                refusal = PlainTextResponse("This server answers programs of this machine only.", status_code=403)
                return await refusal(scope, receive, send)
            if scope["method"] != "POST":  # GET would open a stream for messages that this server never sends
                refusal = PlainTextResponse("Send messages by POST.", status_code=405, headers={"Allow": "POST"})
                return await refusal(scope, receive, send)
        return await self._app(scope, receive, send)


def create_app(server: Server[Any]) -> ASGIApp:
    """The server as a guarded web application.

    API keys go here: a middleware that checks them takes the place of `ThisMachineOnly` where other machines may ask,
    and `_listening_here` accepts their address then.
    """
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        json_response=True,
        max_request_body_size=LONGEST_MESSAGE,
        # Host and Origin are checked by the middleware, which is stricter: no other port of this machine may ask.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    app.user_middleware = [Middleware(ThisMachineOnly), *app.user_middleware]
    return app


def serve_http(server: Server[Any], host: str = "127.0.0.1", port: int = 8001) -> None:
    """Serve until Ctrl+C or SIGTERM; to be called from the main thread.

    Raises:
        UserError: the host is not this machine's own, or the port is taken.
    """

    async def wait() -> None:
        with stop_signals() as stopped, serving_http(server, host, port) as url:
            say(f"Serving MCP on {url} (Ctrl+C stops)")
            await stopped.wait()
        say("Stopped")

    asyncio.run(wait())


@contextmanager
def serving_http(server: Server[Any], host: str = "127.0.0.1", port: int = 8001) -> Iterator[str]:
    """Serve while the block runs; yields the URL of the endpoint once it answers. Port 0 takes any that is free.

    Raises:
        UserError: the host is not this machine's own, or the port is taken.
    """
    with _listening_here(host, port) as listener, serving_app(create_app(server), listener) as url:
        yield f"{url}{PATH}"


def _listening_here(host: str, port: int) -> socket.socket:
    if not is_loopback(host):
        raise UserError(f"the MCP server has no keys, so it is for this machine only: use --host 127.0.0.1, not {host}")
    return listen(host, port)
