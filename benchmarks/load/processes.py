"""Servers and encoders in processes of their own: started, pointed at, measured, stopped."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likewise.errors import UserError

_HERE = Path(__file__).parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_LONGEST_START = 300.0  # seconds


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def memory(self) -> int:
        """Resident bytes, mapped files included."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise UserError(f"the server {self.name} has ended")

    def status(self, path: str, method: str = "GET", body: bytes | None = None) -> int:
        """The status that a request gets."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, method=method)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def load(self, **asked: Any) -> dict[str, Any]:
        """Run a pattern of `load.client` against the server; its figures and the server's CPU seconds."""
        before = self.cpu
        command = [sys.executable, "-m", "load.client", str(self.port)]
        done = subprocess.run(command, cwd=_HERE, input=json.dumps(asked), capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"the client of {self.name} failed: {done.stderr.strip()[-2000:]}")
        return json.loads(done.stdout) | {"server CPU s": round(self.cpu - before, 3)}


@contextmanager
def running_server(name: str, command: Sequence[str], log: Path, *, ready: str = "/readyz") -> Iterator[Server]:
    """Run a server while the block runs; it is given once it answers.

    Args:
        command: without the port, which is given as --port.
        log: what the server says.
        ready: a path that is answered with 200 when the server is ready.
    """
    port = _free_port()
    with log.open("wb") as written:
        process = subprocess.Popen([*command, "--port", str(port)], cwd=_HERE, stdout=written, stderr=written)
        server = Server(name, port, process)
        try:
            _wait_until_ready(server, ready, log)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(server: Server, path: str, log: Path) -> None:
    end = time.monotonic() + _LONGEST_START
    while time.monotonic() < end:
        if server.process.poll() is not None:
            said = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
            raise UserError(f"the server {server.name} ended while it started: {said}")
        with suppress(OSError):
            if server.status(path) == 200:
                return
        time.sleep(0.1)
    raise UserError(f"the server {server.name} was not ready within {_LONGEST_START:.0f} seconds")


def _free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


class MemoryWatch:
    """The memory of a server, looked at twice a second while the block runs.

    Attributes:
        megabytes: what was seen.
    """

    def __init__(self, server: Server) -> None:
        self.megabytes: list[float] = []
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def figures(self) -> dict[str, float]:
        """The first, the last and the largest, and by how much the second half grew, a minute."""
        half = self.megabytes[len(self.megabytes) // 2 :]
        grown = (half[-1] - half[0]) / max(len(half) - 1, 1) * 120
        return {
            "MB at first": self.megabytes[0],
            "MB at last": self.megabytes[-1],
            "largest MB": max(self.megabytes),
            "MB a minute more in the second half": round(grown, 1),
        }

    def _watch(self) -> None:
        while True:
            self.megabytes.append(round(self._server.memory / 1e6, 1))
            if self._ended.wait(0.5):
                return


class BareEncoder:
    """The encoder of a run in a process of its own, with nothing around it.

    python -m load.processes RUN reads lines "BATCH THREADS SECONDS SEED" and answers each with the queries a second.
    """

    def __init__(self, run: Path) -> None:
        command = [sys.executable, "-m", "load.processes", str(run)]
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}  # as `likewise serve` has it
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, cwd=_HERE, env=environment, text=True, **pipes)

    def __enter__(self) -> "BareEncoder":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()

    def rate(self, batch: int, threads: int, seconds: float, seed: int) -> float:
        """Queries a second in batches of one size, by this number of threads."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{batch} {threads} {seconds} {seed}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise UserError("the process of the bare encoder has ended")
        return float(answer)


def _answer_rates(run: Path) -> None:
    import torch

    from likewise.model.model import Model
    from load.queries import five_words

    model = Model.load(run)
    model.pack_texts()  # as the server does
    for line in sys.stdin:
        batch, threads, seconds, seed = line.split()
        torch.set_num_threads(int(threads))
        texts = five_words(int(seed))
        began, count = time.perf_counter(), 0
        while time.perf_counter() < began + float(seconds):
            model.encode_queries([next(texts) for _ in range(int(batch))])
            count += int(batch)
        print(count / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    _answer_rates(Path(sys.argv[1]))
