"""A Qdrant server for tests: the client's local mode behind HTTP, for as much of the API as a store uses.

It shows that a store speaks to a server, and from several processes; how a server stores and searches it does not show.
"""

import json
import threading
import warnings
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models


class QdrantServer(ThreadingHTTPServer):
    """Serves points in memory on loopback until `stop`.

    Args:
        key: an API key that every request has to bring.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, key: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key, self.lock = key, threading.Lock()
        self.client = QdrantClient(":memory:")
        self.indexes: dict[str, dict[str, str]] = {}
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    @property
    def uri(self) -> str:
        """What a store calls it."""
        return f"qdrant://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        """End it; its points are gone."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        self.client.close()

    def answer(self, method: str, path: list[str], body: Any) -> Any:
        """What the API gives as the result of a request."""
        client = self.client
        match method, path:
            case "GET", ["aliases"]:
                return client.get_aliases()
            case "POST", ["collections", "aliases"]:
                actions = TypeAdapter(list[models.AliasOperations]).validate_python(body["actions"])
                return client.update_collection_aliases(actions)
            case "GET", ["collections"]:
                return client.get_collections()
            case "GET", ["collections", name]:
                return client.get_collection(name)
            case "PUT", ["collections", name]:
                create = models.CreateCollection(**body)
                return client.create_collection(name, vectors_config=create.vectors, metadata=create.metadata)
            case "DELETE", ["collections", name]:
                return client.delete_collection(name)
            case "PUT", ["collections", name, "index"]:
                self.indexes.setdefault(name, {})[body["field_name"]] = body["field_schema"]
                return {"operation_id": 0, "status": "completed"}
            case "PUT", ["collections", name, "points"]:
                points = [models.PointStruct(**point) for point in body["points"]]
                return client.upsert(name, points)
            case "POST", ["collections", name, "points"]:
                return client.retrieve(
                    name, body["ids"], body.get("with_payload", True), body.get("with_vector", False)
                )
            case "POST", ["collections", name, "points", "delete"]:
                return client.delete(name, body["points"])
            case "POST", ["collections", name, "points", "count"]:
                return client.count(name, models.CountRequest(**body).filter)
            case "POST", ["collections", name, "points", "scroll"]:
                scroll = models.ScrollRequest(**body)
                points, start = client.scroll(
                    name,
                    scroll.filter,
                    scroll.limit,
                    offset=scroll.offset,
                    with_payload=scroll.with_payload,
                    with_vectors=scroll.with_vector,
                )
                return {"points": points, "next_page_offset": start}
            case "POST", ["collections", name, "points", "query", "batch"]:
                searches = [models.QueryRequest(**search) for search in body["searches"]]
                return client.query_batch_points(name, searches)
        raise LookupError(f"{method} /{'/'.join(path)}")


class _Handler(BaseHTTPRequestHandler):
    server: QdrantServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        if self.server.key and self.headers.get("api-key") != self.server.key:
            self._send(401, {"status": {"error": "Must provide an API key"}})
            return
        path = urlsplit(self.path).path.strip("/").split("/")
        try:
            with self.server.lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = self.server.answer(self.command, path, body)
            self._send(200, {"result": TypeAdapter(Any).dump_python(result, mode="json"), "status": "ok", "time": 0.0})
        except Exception as error:  # as a server does, it tells and goes on
            missing = isinstance(error, LookupError) or "not found" in str(error)
            self._send(404 if missing else 400, {"status": {"error": str(error)}, "time": 0.0})

    do_POST: Callable[[Any], None] = do_GET  # noqa: N815
    do_PUT: Callable[[Any], None] = do_GET  # noqa: N815
    do_DELETE: Callable[[Any], None] = do_GET  # noqa: N815

    def _send(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def new_place(folder: Path) -> str:
    """A collection of a test's own on a server that all tests share."""
    return f"{_started().uri}?collection=test_{uuid4().hex[:16]}"


def stop() -> None:
    """End the server that all tests share, if it was started."""
    if _started.cache_info().currsize:
        _started().stop()
        _started.cache_clear()


@cache
def _started() -> QdrantServer:
    return QdrantServer()
