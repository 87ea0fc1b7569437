"""Connections that no client can use to keep others from being answered, by sending half a request or nothing."""

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from likewise.serving.connection_bounds import ConnectionBounds


class BoundedConnection(ConnectionBounds, H11Protocol):
    """A connection whose requests are parsed by h11, which is always installed.

    The bound on headers is the setting `h11_max_incomplete_event_size` of the server.
    """

    def data_received(self, data: bytes) -> None:
        """Handle what has arrived; a request line that is not ASCII closes the connection."""
        try:
            super().data_received(data)
        except UnicodeDecodeError:
            self.transport.abort()

    def part_to_come(self) -> str | None:
        """The part of a request that the client has to send next."""
        return {h11.IDLE: "headers", h11.SEND_BODY: "body"}.get(self.conn.their_state)


def fastest_connection() -> type[ConnectionBounds]:
    """The bounded protocol for a server: of httptools where that is installed (extra `serve`), or else of h11."""
    try:
        from likewise.serving.httptools_connections import BoundedHttpToolsConnection
    except ModuleNotFoundError as error:
        if error.name != "httptools":
            raise
        return BoundedConnection
    return BoundedHttpToolsConnection
