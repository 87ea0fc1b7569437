"""A server that answers searches with fixed figures, slowly if asked to, and refuses more than it bears."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TARDY_SECONDS = 0.05
_BODY = json.dumps({"hits": [], "took_ms": {"encode": 0.2, "search": 0.1, "fetch": 0.1, "total": 0.5}}).encode()


@contextmanager
def serving_searches(*, tardy: bool = False, most: int = 1000) -> Iterator[int]:
    """Serve while the block runs; yields the port.

    Args:
        tardy: each answer takes `TARDY_SECONDS`.
        most: requests that are answered at once; others get status 429.
    """
    loop = asyncio.new_event_loop()
    started, port, running = threading.Event(), 0, 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
            status = b"429 Too Many Requests" if running >= most else b"200 OK"
            running += 1
            if tardy and status == b"200 OK":
                await asyncio.sleep(TARDY_SECONDS)
            running -= 1
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(_BODY), _BODY))

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def listen() -> None:
        nonlocal port
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        started.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(listen())
        loop.run_forever()
        talks = asyncio.all_tasks(loop)
        for task in talks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*talks, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
