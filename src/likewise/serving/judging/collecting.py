"""Collecting the queries that are asked, where the operator wants that."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likewise.serving.judging.asked_queries import AskedQueries
from likewise.serving.rate_limit import client_of

PLAIN_TEXT = "plain_text"  # in the state of a request: the words of a search that has nothing else


class CollectQueries:
    """ASGI middleware: counts the words of searches that are answered.

    Only searches by words alone count, from their first page, as nobody can judge the words of a query whose picture is
    not known. Batches do not count: programs send them, and the page where people judge.
    """

    def __init__(self, app: ASGIApp, asked: AskedQueries) -> None:
        self._app = app
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count its words if it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def note_words(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                state = scope.get("state", {})
                if (text := state.get(PLAIN_TEXT)) is not None:
                    name = state.get("key_name")
                    self._asked.note(text, f"address {client_of(scope)}" if name is None else f"key {name}")
            await send(message)

        await self._app(scope, receive, note_words)
