"""Whether a server is ready: asked as often as anyone likes, and true again as soon as it is."""

import asyncio

import pytest
from starlette.testclient import TestClient

from likewise.errors import UserError
from likewise.serving.api import health
from likewise.serving.api.health import SharedCheck
from likewise.serving.service import SearchService


class Check:
    """Counts how often it ran, and fails while it is told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.runs += 1
        await asyncio.sleep(0.01)
        if self.error is not None:
            raise self.error


def test_all_who_ask_at_once_share_a_check() -> None:
    check = Check()

    async def ask() -> None:
        shared = SharedCheck(check)
        await asyncio.gather(*[shared.check() for _ in range(50)])
        await shared.check()

    asyncio.run(ask())
    assert check.runs == 1


def test_a_failure_is_told_to_all_and_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_SECONDS_SHARED", 0.05)
    check = Check()
    check.error = OSError("no disk")

    async def ask() -> None:
        shared = SharedCheck(check)
        found = await asyncio.gather(*[shared.check() for _ in range(3)], return_exceptions=True)
        assert [str(error) for error in found] == ["no disk"] * 3
        check.error = None
        await asyncio.sleep(0.1)
        await shared.check()

    asyncio.run(ask())
    assert check.runs == 2


def test_one_who_leaves_does_not_end_the_check_for_others() -> None:
    check = Check()

    async def ask() -> None:
        shared = SharedCheck(check)
        leaving, staying = asyncio.ensure_future(shared.check()), asyncio.ensure_future(shared.check())
        await asyncio.sleep(0)
        leaving.cancel()
        await staying

    asyncio.run(ask())
    assert check.runs == 1


def test_what_is_wrong_is_in_the_log_and_not_in_the_answer(
    client: TestClient, service: SearchService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health, "_SECONDS_SHARED", 0.0)

    async def fail() -> None:
        raise UserError("cannot reach db.internal:19530")

    assert client.get("/readyz").status_code == 200
    monkeypatch.setattr(service, "check", fail)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "db.internal" not in answer.text
    assert "db.internal" in caplog.text
    monkeypatch.undo()
    assert client.get("/livez").status_code == 200
