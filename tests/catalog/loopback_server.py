"""What the web servers of these tests have in common."""

import hashlib
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


class ObjectHandler(BaseHTTPRequestHandler):
    """What the servers of objects have in common: ranges, as RFC 9110 has them, and refusals in XML, as S3 has them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        raise NotImplementedError

    def send_object(self, data: bytes, kind: str = "application/octet-stream") -> int:
        """Answer with an object, or the part of it that is asked for; how many of its bytes were sent."""
        wanted = self.headers.get("Range")
        if wanted is None:
            start, end, status = 0, len(data), 200
        else:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last or len(data)) + 1, len(data)), 206
            if start >= len(data):
                self.refuse(416, "InvalidRange")
                return 0
        part = data[start:end]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        self.send_header("Last-Modified", "Wed, 01 May 2024 10:00:00 GMT")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)
        return len(part)

    def refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
