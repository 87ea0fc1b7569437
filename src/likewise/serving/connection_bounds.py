"""Bounds on connections, whichever parser reads them: how many there are, and how long a request may take to arrive."""

import asyncio
from typing import Any, ClassVar

MOST_CONNECTIONS = 128
LONGEST_LINE_AND_HEADERS = 32_768  # bytes


class ConnectionBounds(asyncio.Protocol):
    """Mixin for a protocol of uvicorn: close a connection whose request does not arrive, or that others need.

    Attributes:
        seconds: how long headers and a body may take, each from the first byte that is waited for to the last.
    """

    seconds: ClassVar = {"headers": 10.0, "body": 60.0}
    connections: set[Any]
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

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
            others = [other for other in self.connections if isinstance(other, ConnectionBounds) and other is not self]
            oldest = min(others, key=lambda other: (other._waits_for is None, other._since))
            self.connections.discard(oldest)
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Handle what has arrived."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()  # type: ignore[misc]
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_watch()
        super().connection_lost(exc)

    def part_to_come(self) -> str | None:
        """The part of a request that the client has to send next: "headers" or "body"; None while it is answered."""
        raise NotImplementedError

    def _watch(self) -> None:
        waits_for = self.part_to_come()
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
