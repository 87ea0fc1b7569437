"""MCP over streamable HTTP, for programs of this machine, or for those that have a key.

Each request is one message and is answered at once: no sessions that could pile up, no streams that stay open.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcp.server.lowlevel.server import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from likewise.progress import say
from likewise.serving.auth import KeyGuard
from likewise.serving.http_server import ending_on_signal, serving_app
from likewise.serving.keys import Keys, check_binding
from likewise.serving.listening import listen
from likewise.serving.mcp.server import LONGEST_MESSAGE
from likewise.serving.problems import problem

PATH = "/mcp"


class PostOnly:
    """ASGI middleware that passes on nothing but posted messages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] == "http" and scope["method"] != "POST":
            # GET would open a stream for messages that this server never sends
            return await problem(scope, 405, "Send messages by POST.", {"Allow": "POST"})(scope, receive, send)
        return await self._app(scope, receive, send)


def create_app(server: Server[Any], keys: Keys = Keys()) -> ASGIApp:  # noqa: B008
    """The server as a guarded web application.

    Args:
        keys: who may ask; without any, programs and pages of this machine.
    """
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        json_response=True,
        max_request_body_size=LONGEST_MESSAGE,
        # Host and Origin are checked by the middleware, which is stricter: no other port of this machine may ask.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    guard = Middleware(KeyGuard, keys=keys, public=(), is_write=lambda method, path: False)  # the tools only read
    app.user_middleware = [guard, Middleware(PostOnly), *app.user_middleware]
    return app


def serve_http(server: Server[Any], host: str = "127.0.0.1", port: int = 8001, keys: Keys | None = None) -> None:
    """Serve until Ctrl+C or SIGTERM; to be called from the main thread.

    Raises:
        UserError: there are no keys and the host is not this machine's own, or the port is taken.
    """
    with ending_on_signal() as wait, serving_http(server, host, port, keys) as url:
        say(f"Serving MCP on {url} (Ctrl+C stops)")
        wait()
    say("Stopped")


@contextmanager
def serving_http(
    server: Server[Any], host: str = "127.0.0.1", port: int = 8001, keys: Keys | None = None
) -> Iterator[str]:
    """Serve while the block runs; yields the URL of the endpoint once it answers. Port 0 takes any that is free.

    Raises:
        UserError: there are no keys and the host is not this machine's own, or the port is taken.
    """
    keys = keys or Keys()
    check_binding(host, keys)
    with listen(host, port) as listener, serving_app(create_app(server, keys), listener) as url:
        yield f"{url}{PATH}"
