"""Requests over connections that stay open, and how long each took; little else, so that it takes little of the CPU.

A process of its own: echo '{"pattern": "closed", "clients": 16, "seconds": 5, "seed": 1}' | python -m load.client PORT
prints one JSON object.
"""

import asyncio
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from load.queries import five_words, json_request, search_request

_LONGEST = 30.0  # seconds to wait for an answer
_STAGES = ("encode", "search", "fetch", "total")


@dataclass
class Answers:
    """What came back.

    Attributes:
        seconds: of each answer with status 200, from when it was due.
        refused: seconds of each answer with status 429.
        outcomes: number of answers by status, or by the error in place of one.
    """

    seconds: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    bodies: list[bytes] = field(default_factory=list)

    def add(self, status: int, seconds: float) -> None:
        self.outcomes[str(status)] += 1
        if status < 300:
            self.seconds.append(seconds)
        elif status == 429:
            self.refused.append(seconds)


class _Connection(asyncio.Protocol):
    """One connection, which has one request under way at most."""

    def __init__(self) -> None:
        self._received = b""
        self._needed = -1
        self._answer: asyncio.Future[int] | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> "asyncio.Future[int]":
        """The status of the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._needed < 0:
            self._needed = _length(self._received)
        if 0 <= self._needed <= len(self._received):
            status = int(self._received[9:12])
            self._received, self._needed = b"", -1
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed by the server"))

    def close(self) -> None:
        self._transport.close()


def _length(received: bytes) -> int:
    """Bytes of a whole answer; -1 while its headers are incomplete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return -1
    _, found, rest = received[:end].lower().partition(b"content-length:")
    return end + 4 + (int(rest.split(b"\r\n", 1)[0]) if found else 0)


async def _connect(port: int) -> _Connection:
    _, protocol = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
    return protocol


# ---- patterns


def one_client(port: int, requests: Iterator[bytes], count: int, *, pause: float = 0.0) -> Answers:
    """One request after the other over a blocking socket, with the bodies of the answers."""
    answers = Answers()
    with socket.create_connection(("127.0.0.1", port), timeout=_LONGEST) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            request = next(requests)
            started = time.perf_counter()
            connection.sendall(request)
            received, needed = b"", -1
            while needed < 0 or len(received) < needed:
                data = connection.recv(1 << 20)
                if not data:
                    raise ConnectionResetError("closed by the server")
                received += data
                needed = _length(received) if needed < 0 else needed
            answers.add(int(received[9:12]), time.perf_counter() - started)
            answers.bodies.append(received.partition(b"\r\n\r\n")[2])
            time.sleep(pause)
    return answers


async def closed_loop(port: int, requests: Iterator[bytes], clients: int, seconds: float) -> Answers:
    """So many clients, each of which asks again once it has its answer."""
    answers = Answers()
    end = time.perf_counter() + seconds

    async def client() -> None:
        connection = await _connect(port)
        while (started := time.perf_counter()) < end:
            try:
                status = await connection.ask(next(requests))
            except OSError as error:
                answers.outcomes[type(error).__name__] += 1
                connection = await _connect(port)
                continue
            answers.add(status, time.perf_counter() - started)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def open_loop(port: int, requests: Iterator[bytes], rate: float, connections: int, seconds: float) -> Answers:
    """Requests at a fixed rate, whether earlier ones have been answered or not.

    One that is due while so many others wait for their answers is counted as "no connection" and not sent.
    """
    answers = Answers()
    idle: list[_Connection] = []
    under_way: set[asyncio.Task[None]] = set()

    async def send(due: float) -> None:
        try:
            while idle and not idle[-1].is_open:
                idle.pop()
            connection = idle.pop() if idle else await _connect(port)
            async with asyncio.timeout(_LONGEST):
                status = await connection.ask(next(requests))
        except (OSError, TimeoutError) as error:
            answers.outcomes[type(error).__name__] += 1
            return
        answers.add(status, time.perf_counter() - due)
        idle.append(connection)

    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        elif number % 16 == 0:
            await asyncio.sleep(0)  # answers are read, too
        if len(under_way) >= connections:
            answers.outcomes["no connection"] += 1
            continue
        task = asyncio.ensure_future(send(due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    for connection in idle:
        connection.close()
    return answers


# ---- the process


def _requests(asked: dict[str, Any]) -> Iterator[bytes]:
    """What a pattern sends."""
    texts = five_words(asked["seed"])
    if "items" in asked:
        for id, item in asked["items"].items():
            yield json_request("PUT", f"/v1/items/{id}", item)
    elif asked.get("repeat"):
        request = search_request(next(texts))
        while True:
            yield request
    for text in texts:
        yield search_request(text)


def summarize(answers: Answers, wall: float, cpu: float) -> dict[str, Any]:
    """The figures of a pattern: latencies in milliseconds, answers a second, the client's CPU."""
    figures: dict[str, Any] = {
        "answers a second": round(len(answers.seconds) / wall, 1),
        "outcomes": dict(answers.outcomes),
        "ms": percentiles(answers.seconds),
        "client CPU s": round(cpu, 3),
        "wall s": round(wall, 3),
    }
    if answers.refused:
        figures["ms until refused"] = percentiles(answers.refused)
    if answers.bodies:
        figures |= _stages(answers)
    return figures


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the largest, in milliseconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    places = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "largest": 1.0}
    return {name: round(1e3 * ordered[min(int(q * len(ordered)), len(ordered) - 1)], 3) for name, q in places.items()}


def _stages(answers: Answers) -> dict[str, Any]:
    """What the server says of each stage, and what is left of a client's wait when encode and search are taken off."""
    if len(answers.bodies) != len(answers.seconds):
        return {}
    took = [json.loads(body).get("took_ms") for body in answers.bodies]
    if not all(took):
        return {}
    stages = {stage: percentiles([one[stage] / 1e3 for one in took])["p50"] for stage in _STAGES}
    rest = [seconds - (one["encode"] + one["search"]) / 1e3 for seconds, one in zip(answers.seconds, took, strict=True)]
    return {"server's stages, p50 ms": stages, "all but encode and search, ms": percentiles(rest)}


_PATTERNS: dict[str, Callable[..., Coroutine[Any, Any, Answers]]] = {"closed": closed_loop, "open": open_loop}


def main() -> None:
    port, asked = int(sys.argv[1]), json.load(sys.stdin)
    options = {name: asked[name] for name in ("clients", "rate", "connections", "seconds") if name in asked}
    wall, cpu = time.perf_counter(), time.process_time()
    if asked["pattern"] == "one":
        answers = one_client(port, _requests(asked), asked["count"])
    else:
        answers = asyncio.run(_PATTERNS[asked["pattern"]](port, _requests(asked), **options))
    print(json.dumps(summarize(answers, time.perf_counter() - wall, time.process_time() - cpu)))


if __name__ == "__main__":
    main()
