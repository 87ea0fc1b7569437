"""Work for a client that leaves is given up; work that somebody else gives up is not mistaken for it."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from likewise.serving.api.problems import ProblemError
from likewise.serving.api.requests import until_client_leaves


def request_of(left: asyncio.Event) -> Request:
    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)


async def work(seconds: float, given_up: list[bool]) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        given_up.append(True)
        raise
    return "done"


@pytest.mark.parametrize("seconds", [0.0, 0.15])
def test_the_result_of_work_whose_client_stays(seconds):
    async def check() -> None:
        assert await until_client_leaves(request_of(asyncio.Event()), work(seconds, [])) == "done"
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}  # nobody watches any more

    asyncio.run(check())


def test_work_is_given_up_when_the_client_leaves():
    async def check() -> None:
        left, given_up = asyncio.Event(), []
        asyncio.get_running_loop().call_later(0.1, left.set)
        with pytest.raises(ProblemError) as problem:
            await asyncio.wait_for(until_client_leaves(request_of(left), work(30, given_up)), 5)
        assert problem.value.status == 499
        assert given_up
        await asyncio.sleep(0)  # the task goes on: its cancellation was taken back

    asyncio.run(check())


def test_a_deadline_around_the_work_stays_a_deadline():
    async def check() -> None:
        left, given_up = asyncio.Event(), []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await until_client_leaves(request_of(left), work(30, given_up))
        assert given_up

    asyncio.run(check())


def test_what_the_work_raises_is_raised():
    async def fail() -> None:
        raise ValueError("no")

    async def check() -> None:
        with pytest.raises(ValueError, match="no"):
            await until_client_leaves(request_of(asyncio.Event()), fail())

    asyncio.run(check())
