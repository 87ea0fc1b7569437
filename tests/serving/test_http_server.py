"""A server and clients that have gone."""

import asyncio

import pytest
from starlette.responses import PlainTextResponse

from likewise.serving.http_server import AnswersToNobody


def ask(error: Exception) -> int:
    """Answer a client while sending fails; returns how often the server was asked whether it has gone."""
    heard: list[str] = []

    async def fail(message: object) -> None:
        raise error

    async def receive() -> dict[str, str]:
        heard.append("receive")
        return {"type": "http.request" if len(heard) == 1 else "http.disconnect"}

    async def run() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await AnswersToNobody(PlainTextResponse("ok"))(scope, receive, fail)

    asyncio.run(run())
    return len(heard)


def test_an_answer_to_a_connection_that_uvloop_has_closed_is_dropped() -> None:
    heard = ask(RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"))
    assert heard == 2, "the server must know that the client has gone before the request ends"


def test_any_other_error_of_sending_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="something else"):
        ask(RuntimeError("something else"))
