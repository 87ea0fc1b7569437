"""A web server on loopback that behaves well or badly, and counts what it is asked."""

import gzip
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler

from catalog.loopback_server import LoopbackServer
from catalog.picture_files import PNG, encoded, photo


class PictureServer(LoopbackServer):
    """Start it as a context manager; `url(path)` gives addresses, `asked` counts requests by path."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        super().__init__(_Handler)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def count(self, path: str, headers: dict[str, str]) -> int:
        """Note a request; how often this path was asked for by now."""
        with self._lock:
            self.asked[path] += 1
            self.headers.append(headers)
            return self.asked[path]

    def busy(self, change: int) -> None:
        """Note that a slow request begins or ends."""
        with self._lock:
            self.at_once += change
            self.most_at_once = max(self.most_at_once, self.at_once)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_tests: PictureServer

    def do_GET(self) -> None:
        times = self.server_of_tests.count(self.path, {name.lower(): value for name, value in self.headers.items()})
        name = self.path.split("?")[0].strip("/").split("/")[0]
        try:
            getattr(self, f"_{name.replace('-', '_')}", self._missing)(times)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass

    def _send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _missing(self, times: int) -> None:
        self._send(b"<html>no such page</html>", 404)

    def _good(self, times: int) -> None:
        number = sum(self.path.encode())
        self._send(encoded(photo(seed=number)), Content_Type="text/plain", Set_Cookie="a=b; Path=/")

    def _page(self, times: int) -> None:
        self._send(b"<html><body>please log in</body></html>", Content_Type="image/jpeg")

    def _redirect(self, times: int) -> None:
        self._send(b"", 302, Location=self.path.partition("?")[2])

    def _circle(self, times: int) -> None:
        self._send(b"", 301, Location=self.path)

    def _chunked(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.close_connection = True

    def _endless(self, times: int) -> None:
        self._chunked()
        self.wfile.write(PNG)
        while True:
            self.wfile.write(bytes(65_536))

    def _drip(self, times: int) -> None:
        self._chunked()
        for byte in PNG * 100:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def _silent(self, times: int) -> None:
        time.sleep(5)

    def _promises_much(self, times: int) -> None:
        self._send(PNG, Content_Length=str(10**12))
        self.close_connection = True

    def _promises_more(self, times: int) -> None:
        self._send(PNG[:-50], Content_Length=str(len(PNG)))
        self.close_connection = True

    def _gzip_bomb(self, times: int) -> None:
        self._send(gzip.compress(bytes(20_000_000)), Content_Encoding="gzip", Content_Type="image/png")

    def _flaky(self, times: int) -> None:
        self._send(PNG, 200) if times > 1 else self._send(b"try later", 500)

    def _patient(self, times: int) -> None:
        self._send(PNG, 200) if times > 1 else self._send(b"", 429, Retry_After="1")

    def _busy_for_an_hour(self, times: int) -> None:
        self._send(b"", 503, Retry_After="3600")

    def _always_500(self, times: int) -> None:
        self._send(b"", 500)

    def _nonsense(self, times: int) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.close_connection = True

    def _huge_headers(self, times: int) -> None:
        self._send(PNG, X_Filler="x" * 200_000)

    def _slow(self, times: int) -> None:
        self.server_of_tests.busy(+1)
        time.sleep(0.08)
        self.server_of_tests.busy(-1)
        self._good(times)
