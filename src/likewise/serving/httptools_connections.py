"""The bounded connection for httptools, a parser in C, which has no bound on headers itself."""

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from likewise.serving.connection_bounds import LONGEST_LINE_AND_HEADERS, ConnectionBounds


class BoundedHttpToolsConnection(ConnectionBounds, HttpToolsProtocol):
    """A connection whose requests are parsed by httptools.

    The parser itself keeps a line, a header or a trailer of any length. A request is refused with status 400 whose line
    and headers are longer than `LONGEST_LINE_AND_HEADERS`, or that goes on for as long without content.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._part = "headers"
        self._without_content = 0  # bytes since headers were complete or content came
        self._head = 0  # bytes of the line and the headers so far
        self._is_refused = False

    def data_received(self, data: bytes) -> None:
        """Handle what has arrived, unless an earlier part was refused."""
        if self._is_refused:
            return
        self._without_content += len(data)
        super().data_received(data)
        if self._without_content > LONGEST_LINE_AND_HEADERS and not self._is_refused:
            self.send_400_response("Too much without content.")

    def send_400_response(self, msg: str) -> None:
        """Refuse the request; nothing that follows is read."""
        self._is_refused = True
        super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._part = "headers"
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request line."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those that come after the body, where nobody has checked them, are dropped."""
        if self._part == "headers":
            self._count_head(len(name) + len(value) + 4)  # with a colon, a space and the end of the line
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._part = "body"
        self._without_content = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._without_content = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._part = "end"
        self._without_content = 0
        super().on_message_complete()

    def part_to_come(self) -> str | None:
        """The part of a request that the client has to send next."""
        if self.pipeline:  # nothing is read until an earlier request is answered
            return None
        if self._part == "body":
            return "body"
        is_answering = self.cycle is not None and not self.cycle.response_complete
        return None if is_answering else "headers"

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > LONGEST_LINE_AND_HEADERS:
            raise httptools.HttpParserError("the line and the headers are too long")

    def _unsupported_upgrade_warning(self) -> None:
        if self.cycle is not None:  # the parser drops what follows, so that nothing more can be read
            self.cycle.keep_alive = False
