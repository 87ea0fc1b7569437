"""`likewise mcp RUN` on standard input and output, in a process of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from likewise.serving.mcp.server import LONGEST_MESSAGE
from likewise.serving.mcp.stdio import split_lines

PROGRAM = [sys.executable, "-m", "likewise.cli", "mcp"]
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class RawClient:
    """A client that can send anything; a server that hangs is killed, and seen as gone."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._watchdog = threading.Timer(120, self.process.kill)
        self._watchdog.start()
        self._number = 0

    def greet(self) -> dict[str, Any]:
        """The handshake of clients before 2026."""
        answer = self.ask("initialize", HELLO)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    def send(self, message: Any) -> None:
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request; other messages are read past."""
        self._number += 1
        self.send({"jsonrpc": "2.0", "id": f"ask-{self._number}", "method": method, "params": params})
        for line in self.process.stdout:
            message = json.loads(line)  # nothing but JSON is ever on standard output
            if message.get("id") == f"ask-{self._number}":
                return message
        raise AssertionError(f"the server ended: {self.process.stderr.read().decode()}")

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return self.ask("tools/call", {"name": name, "arguments": arguments})["result"]

    def end(self) -> tuple[int, str, str]:
        """Wait for the process; its status, what was left on standard output, and standard error."""
        out, err = self.process.communicate()
        self._watchdog.cancel()
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[RawClient]:
    """One server that all hostile messages of this file are sent to."""
    client = RawClient(run)
    client.greet()
    yield client
    if client.process.poll() is None:
        client.end()


def test_the_official_client(run: Path) -> None:
    parameters = StdioServerParameters(command=PROGRAM[0], args=[*PROGRAM[1:], str(run)], env={**os.environ})

    async def use() -> None:
        async with Client(parameters) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert list(tools) == ["search", "similar", "item", "facets"]
            assert "The catalogue has 30 items." in tools["search"].description
            found = await client.call_tool("search", {"query": "red circle shirt", "k": 3, "where": "price < 50"})
            assert len(found.structured_content["hits"]) == 3
            assert all(hit["fields"]["price"] < 50 for hit in found.structured_content["hits"])
            assert [block.type for block in found.content] == ["text", *["text", "image"] * 3]
            shown = await client.call_tool("item", {"id": "sku-1003"})
            assert shown.structured_content["item"]["id"] == "sku-1003"
            wrong = await client.call_tool("search", {"query": "red", "where": "prise < 3"})
            assert (wrong.is_error, wrong.content[0].text) == (True, 'there is no column "prise"; did you mean price?')

    asyncio.run(use())


def request(**parts: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", **parts}


HOSTILE: dict[str, Any] = {
    "no JSON": b"hello",
    "an empty line": b"",
    "bytes that are no text": b"\xff\xfe\x00\x80",
    "a null byte": b"\x00",
    "half an object": b'{"jsonrpc": "2.0", "id": 1, "method":',
    "a number": 7,
    "null": None,
    "a batch": [request(params={"name": "item", "arguments": {"id": "sku-1003"}})] * 3,
    "no version": {"id": 1, "method": "tools/list"},
    "another version": {"jsonrpc": "1.0", "id": 1, "method": "tools/list"},
    "an id that is an object": {"jsonrpc": "2.0", "id": {"a": 1}, "method": "tools/list"},
    "a method that is a list": {"jsonrpc": "2.0", "id": 1, "method": ["tools/list"]},
    "an unknown method": {"jsonrpc": "2.0", "id": 1, "method": "shutdown"},
    "parameters that are a list": request(params=[1, 2]),
    "arguments that are a list": request(params={"name": "item", "arguments": ["sku-1003"]}),
    "arguments that are a text": request(params={"name": "item", "arguments": "sku-1003"}),
    "a name that is a number": request(params={"name": 7}),
    "an unknown tool": request(params={"name": "../../etc/passwd"}),
    "a tool's inner method": request(params={"name": "__init__"}),
    "a huge name": request(params={"name": "x" * 1_000_000}),
    "a huge text": request(params={"name": "search", "arguments": {"query": "x" * 2_000_000}}),
    "a huge key": request(params={"name": "search", "arguments": {"x" * 1_000_000: 1}}),
    "many arguments": request(params={"name": "search", "arguments": {f"a{n}": n for n in range(50_000)}}),
    "deep nesting": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
    "deep arguments": request(params={"name": "search", "arguments": {"query": json.loads("[" * 90 + "]" * 90)}}),
    "NaN": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":'
    b'{"query":"a","min_score":NaN,"picture_weight":-Infinity}}}',
    "a huge number": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":'
    b'{"query":"a","k":' + b"9" * 100_000 + b"}}}",
    "half a character": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":'
    b'{"query":"\\ud800"}}}',
    "a message that is too long": b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * LONGEST_MESSAGE + b'"}',
    "an answer to nothing": {"jsonrpc": "2.0", "id": 99, "result": {"tools": []}},
    "an error about nothing": {"jsonrpc": "2.0", "id": 99, "error": {"code": -1, "message": "no"}},
    "a cancellation of nothing": {
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "none"},
    },
    "a cancellation of anything": {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": {}}},
    "a second greeting": {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO},
    "a file as resource": {
        "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///etc/passwd"},
    },
    "a subscription": {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {}},
}  # fmt: skip


@pytest.mark.parametrize("message", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_message_does_not_end_the_server(server: RawClient, message: Any) -> None:
    server.send(message)
    shown = server.call("item", id="sku-1003")
    assert shown["structuredContent"]["item"]["id"] == "sku-1003"


def test_many_requests_at_once_are_all_answered(server: RawClient) -> None:
    for number in range(200):
        server.send(request(id=number, params={"name": "search", "arguments": {"query": "red", "k": 1}}))
    answered = {json.loads(server.process.stdout.readline())["id"] for _ in range(200)}
    assert answered == set(range(200))


def test_a_closed_input_ends_it_with_status_0(server: RawClient) -> None:
    status, out, err = server.end()
    assert (status, out) == (0, "")
    assert "Traceback" not in err


def test_an_input_that_is_closed_at_once(run: Path) -> None:
    done = subprocess.run([*PROGRAM, str(run)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_a_sentence(run: Path, number: signal.Signals) -> None:
    client = RawClient(run)
    client.greet()
    client.process.send_signal(number)
    status, out, err = client.end()
    assert (status, out, err.strip().splitlines()[-1]) == (0, "", "Stopped")
    assert "Traceback" not in err


def test_a_client_that_stops_reading_ends_it(run: Path) -> None:
    client = RawClient(run)
    client.greet()
    client.process.stdout.close()
    client.send(request(params={"name": "item", "arguments": {"id": "sku-1003"}}))
    assert client.process.wait(60) == 0
    client.process.stdin.close()
    assert "Traceback" not in client.process.stderr.read().decode()
    client._watchdog.cancel()


def test_what_else_prints_does_not_reach_the_client(run: Path, tmp_path: Path) -> None:
    program = tmp_path / "noisy.py"
    program.write_text(
        "import os, sys, likewise.serving.mcp.tools as tools\n"
        "from likewise.cli.app import main\n"
        "item = tools.IndexTools._item\n"
        "def noisy(self, given):\n"
        "    print('stray words'); os.write(1, b'stray bytes\\n'); os.system('echo stray child')\n"
        "    return item(self, given)\n"
        "tools.IndexTools._item = noisy\n"
        "main(['mcp', sys.argv[1]])\n",
        encoding="utf-8",
    )
    message = json.dumps(request(method="initialize", params=HELLO)) + "\n"
    message += json.dumps(request(id=2, params={"name": "item", "arguments": {"id": "sku-1003"}})) + "\n"
    process = subprocess.Popen(
        [sys.executable, str(program), str(run)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdin.write(message)
    process.stdin.flush()
    lines = [process.stdout.readline(), process.stdout.readline()]
    out, err = process.communicate(timeout=120)
    assert [json.loads(line)["id"] for line in lines] == [1, 2]
    assert (process.returncode, out) == (0, "")
    assert {"stray words", "stray bytes", "stray child"} <= set(err.splitlines())


def test_lines_are_bounded() -> None:
    blocks = iter([b"ab\ncd", b"ef\n", b"\n", b"x" * 5, b"y" * 5, b"z" * 5 + b"\nok\n", b"no end", b""])
    assert list(split_lines(lambda: next(blocks), longest=10)) == [b"ab", b"cdef", b"", b"", b"ok", b"no end"]
