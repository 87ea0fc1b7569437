"""Several processes behind one listening socket: each has a model of its own, and all have the same index."""

import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import Any

from likewise.errors import UserError
from likewise.progress import print_logs
from likewise.serving.http_server import ending_on_signal
from likewise.serving.metrics import MULTIPROCESS_FOLDER

log = logging.getLogger(__name__)

Serve = Callable[[Any, socket.socket, Callable[[], None], Callable[[], None]], None]
_SECONDS_TO_START = 300.0
_LEAST_SECONDS = 10.0  # a worker that ends sooner is not started again at once


def run_workers(
    count: int,
    serve: Serve,
    settings: Any,
    listener: socket.socket,
    drain_seconds: float,
    say_ready: Callable[[], None],
) -> None:
    """Serve by several processes until Ctrl+C, or until this one is asked to end; for the main thread.

    A worker that dies is replaced.

    Args:
        serve: called in each process with the settings, the socket, what to call once requests are answered, and a
            function that waits for the end; a function of a module.
        settings: can be pickled.
        drain_seconds: how long requests under way may take at the end.
        say_ready: called once all answer.

    Raises:
        UserError: the workers do not start.
    """
    with tempfile.TemporaryDirectory(prefix="likewise-metrics-") as folder, ending_on_signal() as wait:
        workers = [_Worker(serve, settings, listener, count, folder) for _ in range(count)]
        starting = _Starting(workers, say_ready)
        try:
            wait(lambda: _replace_dead(workers) if starting.is_over() else None)
        finally:
            for worker in workers:
                worker.process.terminate()
            deadline = time.monotonic() + drain_seconds + 10
            for worker in workers:
                worker.process.join(max(0.0, deadline - time.monotonic()))
                worker.process.kill()


class _Worker:
    """A process that serves, and when it was started."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self.process: BaseProcess
        self.ready: Event
        self.start()

    def start(self) -> None:
        """Start the process, or another one in its place."""
        context = get_context("spawn")
        self.ready = context.Event()
        self.started = time.monotonic()
        self.process = context.Process(target=_work, args=(*self._arguments, self.ready, os.getpid()))
        self.process.start()


def _work(
    serve: Serve,
    settings: Any,
    listener: socket.socket,
    workers: int,
    metrics: str,
    ready: Event,
    parent: int,
) -> None:
    """What a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all processes of a terminal; the first one tells us
    os.environ[MULTIPROCESS_FOLDER] = metrics
    print_logs()
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores // workers))
    with ending_on_signal() as wait:
        serve(settings, listener, ready.set, lambda: wait(lambda: _end_with(parent)))


def _end_with(parent: int) -> None:
    if os.getppid() != parent:
        signal.raise_signal(signal.SIGTERM)


class _Starting:
    """The time until all workers answer for the first time."""

    def __init__(self, workers: list[_Worker], say_ready: Callable[[], None]) -> None:
        self._workers = workers
        self._say_ready: Callable[[], None] | None = say_ready
        self._deadline = time.monotonic() + _SECONDS_TO_START

    def is_over(self) -> bool:
        """Whether all have answered; says so once."""
        if self._say_ready is None:
            return True
        if any(not worker.process.is_alive() for worker in self._workers):
            raise UserError("a worker ended before it could answer; the lines above say why")
        if time.monotonic() > self._deadline:
            raise UserError(f"the workers did not start within {_SECONDS_TO_START:.0f} s")
        if all(worker.ready.is_set() for worker in self._workers):
            self._say_ready()
            self._say_ready = None
        return self._say_ready is None


def _replace_dead(workers: list[_Worker]) -> None:
    for worker in workers:
        if not worker.process.is_alive() and time.monotonic() - worker.started > _LEAST_SECONDS:
            log.warning(
                "worker %s ended with status %s; another one starts", worker.process.pid, worker.process.exitcode
            )
            worker.start()
