"""A server and clients that have gone."""

import asyncio

import pytest
from starlette.responses import PlainTextResponse

from likewise.serving.http_server import AnswersToNobody


def ask(error: Exception) -> None:
    async def fail(message: object) -> None:
        raise error

    async def run() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await AnswersToNobody(PlainTextResponse("ok"))(scope, lambda: asyncio.sleep(0, {}), fail)

    asyncio.run(run())


def test_an_answer_to_a_connection_that_uvloop_has_closed_is_dropped() -> None:
    ask(RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"))


def test_any_other_error_of_sending_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="something else"):
        ask(RuntimeError("something else"))
