"""A soak: `likewise serve` under load for a while, with everything that happens to a server meanwhile.

Searches come at 70 % of what the server bears, items are written, clients vanish in the middle of a request, and
another process rebuilds and updates the index.
"""

import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_LOAD = 0.7  # share of what the server bears
_SEARCHERS = 4
_COLOURS, _SHAPES = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle", "star")
_WORDS = [*_COLOURS, *_SHAPES, "small", "large", "shirt", "shoe", "hat", "scarf"]
_ITEMS = 120
_PAUSE_OF_WRITER, _PAUSE_OF_LEAVER = 0.05, 0.1  # seconds
_REBUILT = 0.35  # share of the time in which the index is rebuilt; after that it is only updated


@dataclass
class SoakReport:
    """What has happened.

    Attributes:
        outcomes: answers by kind of request and status, or by the error in place of one.
        lost: written items that were acknowledged and are not there, or hold something else.
        rebuilds: how often the index was rebuilt or updated meanwhile.
        failed_rebuilds: what the commands said that failed.
        writes: acknowledged writes that were looked for at the end; None: the server has no route for them.
        memory: (n, 2), seconds and megabytes.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    rebuilds: int = 0
    failed_rebuilds: list[str] = field(default_factory=list)
    writes: int | None = None
    is_ready: bool = False
    memory: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def server_errors(self) -> dict[tuple[str, str], int]:
        """Answers with a status of 500 or more, and connections that the server closed."""
        return {what: count for what, count in self.outcomes.items() if what[1] >= "500"}

    @property
    def growth(self) -> float:
        """Megabytes by which the server grew in the second half, along a straight line."""
        late = np.array(self.memory[len(self.memory) // 2 :])
        slope, _ = np.polyfit(late[:, 0], late[:, 1], 1)
        return float(slope * (late[-1, 0] - late[0, 0]))


@dataclass
class _Write:
    """An item that a client has put or deleted, and got an answer for."""

    began: float
    title: str | None  # None: deleted


class Soak:
    """Everybody who is busy with a server.

    Args:
        run: with an index.
        catalogues: files of the same items, of which the index holds one after the other.
        seconds: how long.
    """

    def __init__(self, port: int, pid: int, run: Path, catalogues: Sequence[Path], seconds: float) -> None:
        self.report = SoakReport()
        self._port, self._pid, self._run, self._catalogues = port, pid, run, catalogues
        self._seconds = seconds
        self._end = 0.0
        self._began = 0.0
        self._last_rebuild = 0.0
        self._interval = 0.0
        self._written: dict[str, _Write] = {}
        self._lock = threading.Lock()

    def go(self) -> SoakReport:
        """Soak the server, then look what is left."""
        self._interval = _SEARCHERS / (_LOAD * self._measure_capacity(min(2.0, self._seconds / 4)))
        self._began = time.monotonic()
        self._end = self._began + self._seconds
        tasks: list[Callable[[], None]] = [self._watch, self._write, self._leave, self._rebuild]
        tasks += [self._search] * _SEARCHERS
        threads = [threading.Thread(target=self._guard, args=(task,)) for task in tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._look_for_writes()
        self.report.is_ready = self._ask(self._connect(), "ready", "GET", "/readyz")[0] == 200
        return self.report

    def _guard(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            self.report.errors.append(f"{task.__name__}: {error!r}")

    def _is_over(self) -> bool:
        return time.monotonic() >= self._end

    # ---- requests

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)

    def _ask(
        self, connection: http.client.HTTPConnection, what: str, method: str, path: str, content: Any = None
    ) -> tuple[int, bytes]:
        """Status and body; 0 where the connection broke."""
        body = None if content is None else json.dumps(content)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            with self._lock:
                self.report.outcomes[(what, type(error).__name__)] += 1
            return 0, b""
        with self._lock:
            self.report.outcomes[(what, str(answer[0]))] += 1
        return answer

    def _measure_capacity(self, seconds: float) -> float:
        """Searches a second that the searchers get when they never wait."""
        done = [0] * _SEARCHERS
        end = time.monotonic() + seconds

        def search(number: int) -> None:
            connection, chance = self._connect(), random.Random(f"capacity {number}")
            while time.monotonic() < end:
                self._ask(connection, "search", "POST", "/v1/search", _search(chance))
                done[number] += 1

        threads = [threading.Thread(target=search, args=(number,)) for number in range(_SEARCHERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(done) / seconds

    # ---- those who are busy

    def _search(self) -> None:
        connection, chance = self._connect(), random.Random(threading.get_ident())
        due = time.monotonic()
        while not self._is_over():
            self._ask(connection, "search", "POST", "/v1/search", _search(chance))
            due = max(due + self._interval, time.monotonic() - 1.0)  # what was missed in a second is made up for
            time.sleep(max(0.0, due - time.monotonic()))

    def _leave(self) -> None:
        """Clients that vanish: before their answer, in the middle of their request, or after the first byte."""
        chance = random.Random(1)
        while not self._is_over():
            body = json.dumps(_search(chance)).encode()
            head = f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
                sent = (head + body)[: chance.choice((1, len(head) // 2, len(head) + 5, len(head) + len(body)))]
                connection.sendall(sent)
                time.sleep(chance.random() * 0.01)
            time.sleep(_PAUSE_OF_LEAVER)

    def _write(self) -> None:
        connection, chance = self._connect(), random.Random(2)
        status, _ = self._ask(connection, "probe", "PUT", "/v1/items/written-0", {"title": "red circle shirt"})
        if status in (403, 404, 405):
            return
        self.report.writes = 0
        number = 0
        while not self._is_over():
            id = f"written-{chance.randrange(1 + number // 2)}"
            began = time.monotonic()
            title: str | None = f"{' '.join(chance.sample(_WORDS, 3))} no. {number}"
            if number % 7 == 6 and id in self._written and self._written[id].title is not None:
                title = None
                status, _ = self._ask(connection, "delete", "DELETE", f"/v1/items/{id}")
            else:
                status, _ = self._ask(connection, "put", "PUT", f"/v1/items/{id}", {"title": title})
            if status in (200, 201, 204):
                self._written[id] = _Write(began, title)
            else:  # whether it was written is not known
                self._written.pop(id, None)
            number += 1
            time.sleep(_PAUSE_OF_WRITER)

    def _rebuild(self) -> None:
        """Another process builds the index anew, and later updates it, again and again."""
        number = 0
        while not self._is_over():
            number += 1
            is_new = time.monotonic() - self._began < _REBUILT * self._seconds
            data = self._catalogues[number % len(self._catalogues)]
            command = [sys.executable, "-m", "likewise.cli", "index", str(self._run), "--data", str(data)]
            done = subprocess.run(
                [*command, *([] if is_new else ["--update"])], capture_output=True, text=True, timeout=300
            )
            if is_new:
                self._last_rebuild = time.monotonic()
            if done.returncode:
                self.report.failed_rebuilds.append(done.stderr.strip()[-500:])
            self.report.rebuilds += 1
            time.sleep(min(1.0, self._seconds / 20))

    def _watch(self) -> None:
        while not self._is_over():
            self.report.memory.append((time.monotonic() - self._began, resident_megabytes(self._pid)))
            time.sleep(min(0.5, self._seconds / 20))

    def _look_for_writes(self) -> None:
        """What was written since the last rebuild has to be there: a new build holds its catalogue alone."""
        connection = self._connect()
        for id, write in self._written.items():
            if write.began < self._last_rebuild:
                continue
            assert self.report.writes is not None
            self.report.writes += 1
            status, body = self._ask(connection, "look", "GET", f"/v1/items/{id}")
            found = json.loads(body)["fields"].get("title") if status == 200 else None
            if found != write.title:
                self.report.lost.append(f"{id}: {write.title!r} was acknowledged, {found!r} (status {status}) is there")


def _search(chance: random.Random) -> dict[str, Any]:
    """A search of one of many kinds."""
    asked: dict[str, Any] = {"text": " ".join(chance.choices(_WORDS, k=chance.randint(1, 6)))}
    match chance.randrange(6):
        case 0:
            asked |= {"hybrid": True}
        case 1:
            asked |= {"where": f"price < {chance.randrange(100)}"}
        case 2:
            asked |= {"facets": ["category"], "k": 20}
        case 3:
            asked |= {"group_by": "category", "minus": chance.choice(_WORDS)}
    return asked


def resident_megabytes(pid: int) -> float:
    """The resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def write_catalogues(folder: Path) -> list[Path]:
    """Two catalogues of the same items, of which a third differ."""
    chance = random.Random(0)
    files = []
    for version in range(2):
        lines = ["id,title,price,category"]
        for number in range(_ITEMS):
            name = f"{chance.choice(_WORDS)} {chance.choice(_WORDS)} {number}"
            title = f"{name} of version {version}" if number % 3 == 0 else f"plain {_WORDS[number % 14]} {number}"
            lines.append(f"item-{number},{title},{number % 100},{_WORDS[number % 5]}")
        files.append(folder / f"version-{version}.csv")
        files[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


@contextmanager
def serving_run(run: Path, log: Path) -> Iterator[tuple[int, int]]:
    """`likewise serve` while the block runs; yields its port and its process id."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    command = [sys.executable, "-m", "likewise.cli", "serve", str(run), "--port", str(port), "--no-page"]
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            _wait_until_ready(process, port, log)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        with suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(log.read_text(encoding="utf-8"))
