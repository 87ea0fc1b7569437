"""MCP over standard input and output: one JSON message per line, and nothing else on standard output.

Reading and writing happen in daemon threads, because a thread that waits for a pipe cannot be interrupted, and the
server has to end at once when it is asked to.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, cast

import anyio
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

from likewise.progress import say
from likewise.serving.mcp.server import LONGEST_MESSAGE
from likewise.serving.mcp.stopping import stop_signals

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_BLOCK = 65_536  # bytes


@dataclass(frozen=True)
class StandardStreams:
    """File descriptors of the client's end of standard input and output."""

    input: int
    output: int


def claim_standard_streams() -> StandardStreams:
    """Keep standard input and output for the protocol, until this process ends.

    Whatever else prints on standard output, in Python or in a library, prints on standard error, and nothing else
    finds anything on standard input. They are not given back, because buffers of either may be flushed at the very end.
    """
    streams = StandardStreams(os.dup(_STDIN), os.dup(_STDOUT))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    os.dup2(_STDERR, _STDOUT)
    return streams


def serve_stdio(server: Server[Any], streams: StandardStreams) -> None:
    """Serve until standard input is closed, the client is gone, or Ctrl+C or SIGTERM."""
    asyncio.run(_serve(server, streams))


async def _serve(server: Server[Any], streams: StandardStreams) -> None:
    with stop_signals() as stopped:
        async with anyio.create_task_group() as tasks:

            async def end_on_signal() -> None:
                await stopped.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(end_on_signal)
            lines = cast("anyio.AsyncFile[str]", _Lines(streams.input))
            output = cast("anyio.AsyncFile[str]", _Output(streams.output, on_broken=stopped.set))
            async with stdio_server(lines, output) as (received, sent):
                await server.run(received, sent, server.create_initialization_options())
            tasks.cancel_scope.cancel()
        if stopped.is_set():
            say("Stopped")


class _Lines:
    """Lines of a file descriptor, none longer than a message may be; iterate over it once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = threading.Semaphore(1)  # lines that are read ahead, however fast the client writes
        threading.Thread(target=self._read, name="likewise-stdin", daemon=True).start()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        self._room.release()
        if line is None:
            raise StopAsyncIteration
        return line

    def _read(self) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            for line in split_lines(lambda: _read_block(self._descriptor)):
                self._put(line.decode("utf-8", "replace"))
            self._put(None)

    def _put(self, line: str | None) -> None:
        self._room.acquire()
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


class _Output:
    """A file descriptor that is written to without the event loop waiting for its reader."""

    def __init__(self, descriptor: int, on_broken: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._texts: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        threading.Thread(target=self._write, name="likewise-stdout", daemon=True).start()

    async def write(self, text: str) -> None:
        """Returns when the text is written, so that a slow reader slows its own answers."""
        written = self._loop.create_future()
        self._texts.put((text.encode("utf-8", "replace"), written))
        await written

    async def flush(self) -> None:
        """Nothing waits in a buffer."""

    def _write(self) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            while True:
                data, written = self._texts.get()
                try:
                    left = memoryview(data)
                    while left:
                        left = left[os.write(self._descriptor, left) :]
                except OSError:  # the client is gone
                    self._loop.call_soon_threadsafe(self._on_broken)
                self._loop.call_soon_threadsafe(_finish, written)


def _finish(written: "asyncio.Future[None]") -> None:
    if not written.done():
        written.set_result(None)


def _read_block(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _BLOCK)
    except OSError:  # a terminal or a pipe that is gone
        return b""


def split_lines(read: Callable[[], bytes], longest: int = LONGEST_MESSAGE) -> Iterator[bytes]:
    """The lines that blocks of bytes consist of; one that is too long is read past, and comes out empty.

    Args:
        read: the next block; empty at the end.
        longest: bytes of a line that are kept at most.
    """
    parts: list[bytes] = []
    size = 0
    while block := read():
        *ends, rest = block.split(b"\n")
        for end in ends:
            yield b"".join([*parts, end]) if size + len(end) <= longest else b""
            parts, size = [], 0
        size += len(rest)
        parts = [*parts, rest] if size <= longest else []
    if size:
        yield b"".join(parts)
