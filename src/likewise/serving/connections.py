"""Bounds on connections: no client can keep others from being answered by sending half a request, or nothing."""

import asyncio
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 128
LONGEST_LINE_AND_HEADERS = 32_768  # bytes


class BoundedConnection(H11Protocol):
    """A connection that is closed if a request does not arrive in time, or makes room for new ones.

    Attributes:
        seconds: how long headers and a body may take, each from the first byte that is waited for to the last.
    """

    seconds: ClassVar = {"headers": 10.0, "body": 60.0}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waits_for: str | None = None
        self._since = 0.0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection; beyond the bound, in place of one that waits, or else of the oldest."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > MOST_CONNECTIONS:
            others = [other for other in self.connections if isinstance(other, BoundedConnection) and other is not self]
            oldest = min(others, key=lambda other: (other._waits_for is None, other._since))
            self.connections.discard(oldest)
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Handle what has arrived; a request line that is not ASCII closes the connection."""
        try:
            super().data_received(data)
        except UnicodeDecodeError:
            self.transport.abort()
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_watch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        waits_for = {h11.IDLE: "headers", h11.SEND_BODY: "body"}.get(self.conn.their_state)
        if waits_for == self._waits_for and self._since:
            return
        self._stop_watch()
        self._waits_for = waits_for
        self._since = self.loop.time()
        if waits_for is not None:
            self._deadline = self.loop.call_later(self.seconds[waits_for], self.transport.abort)

    def _stop_watch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _should_upgrade(self) -> bool:
        return False
