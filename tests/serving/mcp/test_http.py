"""`likewise mcp RUN --http`: who is answered, and what is refused."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from retrieval.fakes import FakeModel, catalog_of

from likewise.errors import UserError
from likewise.retrieval.index import Index
from likewise.serving.keys import Keys
from likewise.serving.mcp.http import serving_http
from likewise.serving.mcp.server import LONGEST_MESSAGE, build_server
from likewise.serving.mcp.tools import IndexTools

HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    index = Index.build(FakeModel(), catalog_of("red shirt", "blue shirt", "green hat"))
    with index, serving_http(build_server(IndexTools(index)), port=0) as url:
        yield url


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url.removesuffix("/mcp"), headers=HEADERS, trust_env=False, timeout=30) as client:
        yield client


def message(method: str = "tools/call", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


CALL = message(name="search", arguments={"query": "red shirt", "k": 1})


def answers(browser: httpx.Client) -> bool:
    """Whether the server still answers."""
    answer = browser.post("/mcp", json=CALL)
    return answer.json()["result"]["structuredContent"]["hits"][0]["id"] == "0"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_official_client(url: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async def use() -> None:
        async with Client(url, mode=mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["search", "similar", "item", "facets"]
            found = await client.call_tool("search", {"query": "blue shirt", "k": 2})
            assert [hit["id"] for hit in found.structured_content["hits"]] == ["1", "0"]
            wrong = await client.call_tool("item", {"id": "nope"})
            assert (wrong.is_error, wrong.content[0].text) == (True, "the index has no item 'nope'")

    asyncio.run(use())


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8001"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example", "X-Forwarded-Host": "127.0.0.1", "Forwarded": "host=127.0.0.1"},
        {"X-Padding": "x" * 32_000},
    ],
    ids=str,
)
def test_other_sites_are_refused(browser: httpx.Client, headers: dict[str, str]) -> None:
    answer = browser.post("/mcp", json=CALL, headers=headers)
    assert answer.status_code in (400, 403, 431)
    assert "shirt" not in answer.text
    assert answers(browser)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH"])
def test_messages_are_posted(browser: httpx.Client, method: str) -> None:
    answer = browser.request(method, "/mcp")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/sse", "/messages/", "/docs", "/openapi.json", "/mcp/../../etc/passwd"])
def test_there_is_nothing_else(browser: httpx.Client, path: str) -> None:
    assert browser.post(path, json=CALL).status_code in (404, 307)


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"hello",
    "no text": b"\xff\xfe\x80",
    "half": b'{"jsonrpc": "2.0", "id"',
    "a number": b"7",
    "a batch": json.dumps([CALL] * 2).encode(),
    "deep": b"[" * 100_000,
    "deep arguments": json.dumps(CALL).replace('"red shirt"', "[" * 200 + "]" * 200).encode(),
    "NaN": json.dumps(message(name="search", arguments={"query": "a", "min_score": float("nan")})).encode(),
    "a huge number": json.dumps(CALL).replace('"k": 1', '"k": ' + "9" * 100_000).encode(),
    "half a character": json.dumps(message(name="search", arguments={"query": "\ud800"})).encode(),
    "half a character as id": json.dumps(message(name="item", arguments={"id": "\ud800"})).encode(),
    "half a character as key": json.dumps(message(name="item", arguments={"\ud800": 1})).encode(),
    "too large": b" " * (LONGEST_MESSAGE + 1),
    "an unknown method": json.dumps(message("shutdown")).encode(),
    "an unknown tool": json.dumps(message(name="rm", arguments={})).encode(),
    "a list as arguments": json.dumps({**CALL, "params": {"name": "search", "arguments": [1]}}).encode(),
    "an answer": b'{"jsonrpc":"2.0","id":1,"result":{}}',
    "a subscription": json.dumps(message("subscriptions/listen")).encode(),
}


@pytest.mark.parametrize("version", [None, "2025-06-18", "2026-07-28", "1999-01-01"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_hostile_body_does_not_end_the_server(browser: httpx.Client, body: bytes, version: str | None) -> None:
    headers = {"MCP-Protocol-Version": version, "Mcp-Method": "tools/call"} if version else {}
    answer = browser.post("/mcp", content=body, headers=headers)
    assert answer.status_code < 500
    assert "Traceback" not in answer.text
    assert answers(browser)


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Accept": "text/html"}, {"Content-Type": ""}])
def test_other_kinds_of_content_are_refused(browser: httpx.Client, headers: dict[str, str]) -> None:
    assert browser.post("/mcp", content=json.dumps(CALL), headers=headers).status_code in (400, 406, 415)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.com", "::"])
def test_only_this_machine_is_served(host: str) -> None:
    index = Index.build(FakeModel(), catalog_of("red"))
    with index, pytest.raises(UserError, match="for this machine only: use --host"):
        serving_http(build_server(IndexTools(index)), host, 0).__enter__()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_command_serves_until_a_signal(run: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "likewise.cli", "mcp", str(run), "--http", "--port", str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    assert process.stderr.readline() == f"Serving MCP on http://127.0.0.1:{port}/mcp (Ctrl+C stops)\n"
    with httpx.Client(headers=HEADERS, trust_env=False, timeout=60) as client:
        found = client.post(f"http://127.0.0.1:{port}/mcp", json=message(name="item", arguments={"id": "sku-1003"}))
        assert found.json()["result"]["structuredContent"]["item"]["id"] == "sku-1003"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    watchdog.cancel()
    assert (process.returncode, out, err) == (0, "", "Stopped\n")


def test_with_keys_only_those_who_have_one_are_answered() -> None:
    keys = Keys.collect(read="read-key-0123456789")
    index = Index.build(FakeModel(), catalog_of("red shirt", "blue shirt"))
    with index, serving_http(build_server(IndexTools(index)), port=0, keys=keys) as url:
        for headers in ({}, {"X-API-Key": "wrong-key-0123456789"}):
            refused = httpx.post(url, json=CALL, headers=HEADERS | headers, trust_env=False)
            assert (refused.status_code, refused.json()["status"]) == (401, 401)
        other_name = {"X-API-Key": "read-key-0123456789", "Host": "search.example"}
        with httpx.Client(headers=HEADERS | other_name, trust_env=False) as client:
            answer = client.post(url, json=CALL)
            assert answer.json()["result"]["structuredContent"]["hits"][0]["id"] == "0"
            assert client.get(url).status_code == 405


def test_without_keys_other_machines_are_not_listened_to() -> None:
    with Index.build(FakeModel(), catalog_of("red shirt")) as index:
        server = build_server(IndexTools(index))
        with pytest.raises(UserError, match="name keys with --keys FILE"), serving_http(server, "0.0.0.0", 0):
            pass
