"""Several worker processes: what one writes all find, one that dies is replaced, and all end when asked to."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from retrieval.shop_catalogue import write_indexed_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are listed as on Linux")
_PATIENCE = 120.0  # seconds, on a busy machine


class Server:
    """`likewise serve` with two workers."""

    def __init__(self, run: Path, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self._log = log
        command = ["-m", "likewise.cli", "serve", str(run), "--no-page", "--workers", "2", "--port", self.url[17:]]
        with log.open("w") as stderr:
            self.process = subprocess.Popen([sys.executable, *command], stderr=stderr)
        self.wait_for("Serving the API")

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while words not in self.log:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def workers(self) -> list[int]:
        """The processes that answer."""
        listed = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True
        )
        return [int(line.split()[0]) for line in listed.stdout.splitlines() if "spawn_main" in line]

    def get(self, path: str) -> httpx.Response:
        """Over a connection of its own, so that any worker may answer."""
        return httpx.get(f"{self.url}{path}", trust_env=False, timeout=30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("workers")
    server = Server(write_indexed_run(folder), folder / "log")
    yield server
    if server.process.poll() is None:
        server.process.terminate()
        server.process.wait(60)


def test_what_one_worker_writes_all_find(server: Server) -> None:
    assert len(server.workers()) == 2
    answer = httpx.put(f"{server.url}/v1/items/neu", json={"title": "zebra lamp"}, trust_env=False, timeout=30)
    assert answer.status_code == 201
    time.sleep(0.5)
    statuses = [server.get("/v1/items/neu").status_code for _ in range(20)]
    assert statuses == [200] * 20
    found = [server.get("/v1/search?q=zebra&hybrid=true&k=1").json()["hits"][0]["id"] for _ in range(20)]
    assert found == ["neu"] * 20


def test_metrics_are_those_of_all_workers(server: Server) -> None:
    def count() -> float:
        shown = server.get("/metrics").text
        found = re.search(r'requests_total\{[^}]*route="/v1/suggest",status="200"} (\S+)', shown)
        return float(found[1]) if found else 0.0

    before = count()
    for _ in range(10):
        server.get("/v1/suggest?q=red")
    assert {count() - before for _ in range(5)} == {10.0}


def test_a_worker_that_dies_is_replaced(server: Server) -> None:
    before = server.workers()
    time.sleep(10)  # one that dies at once is not started again at once
    os.kill(before[0], signal.SIGKILL)
    server.wait_for("another one starts")
    deadline = time.monotonic() + _PATIENCE
    while len(server.workers()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert before[1] in server.workers()
    assert server.get("/readyz").status_code == 200


def test_all_end_when_the_first_process_is_asked_to(server: Server) -> None:
    workers = server.workers()
    server.process.terminate()
    assert server.process.wait(60) == 0
    assert server.log.rstrip().endswith("Stopped")
    assert "Traceback" not in server.log
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
