"""What the web servers of these tests have in common."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LoopbackServer:
    """A server on loopback, as a context manager; its handlers know it as `server_of_tests`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        of_this_server: Any = type("Handler", (handler,), {"server_of_tests": self})
        self._server = _Server(("127.0.0.1", 0), of_this_server)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_address[1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
