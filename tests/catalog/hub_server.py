"""A stand-in for the Hugging Face hub on loopback: the endpoints that its client reads files through, and a CDN.

Large files are kept elsewhere: the hub answers with a redirect to another host, here the same server by its other name.
"""

import hashlib
import json
from collections import Counter
from urllib.parse import unquote, urlsplit

from catalog.loopback_server import LoopbackServer, ObjectHandler

TOKEN = "hf_the_secret_of_tests"
_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LARGE = 1_000  # bytes from which on a file lies on the CDN


class HubServer(LoopbackServer):
    """Start it as a context manager; `files` maps "datasets/owner/name/path" to bytes.

    Repositories of the owner "private" need the token, those of "gated" also say so; only "main" is a revision.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()  # by the path of the request
        self.sent = 0
        self.failures: dict[str, int] = {}  # path of a request → how often it still answers with 503
        self.seen_by_cdn: list[str | None] = []  # what the CDN was sent as Authorization
        super().__init__(_Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cdn(self) -> str:
        return f"http://localhost:{self.port}/cdn"

    def has_repository(self, repository: str) -> bool:
        return any(name.startswith(f"{repository}/") for name in self.files)


class _Handler(ObjectHandler):
    server_of_tests: HubServer

    def answer(self) -> None:
        outer, path = self.server_of_tests, unquote(urlsplit(self.path).path)
        outer.asked[path] += 1
        if outer.failures.get(path, 0) > 0:
            outer.failures[path] -= 1
            return self._refuse_by_header(503, "ServerError")
        if path.startswith("/cdn/"):
            outer.seen_by_cdn.append(self.headers.get("Authorization"))
            outer.sent += self.send_object(outer.files[path.removeprefix("/cdn/")])
            return None
        is_api = path.startswith("/api/")
        parts = path.removeprefix("/api").strip("/").split("/")
        repository, (verb, revision, *_), place = "/".join(parts[:3]), [*parts[3:5], "", ""], parts[5:]
        owner = parts[1]
        is_known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not outer.has_repository(repository) or (owner == "private" and not is_known):
            return self._refuse_by_header(401, "RepoNotFound")  # as the hub does, which does not say which
        if revision != "main":
            return self._refuse_by_header(404, "RevisionNotFound")
        if is_api and verb == "revision":
            return self._send_json({"id": "/".join(parts[1:3]), "sha": _COMMIT, "private": False, "tags": []})
        if verb != "resolve":
            return self._refuse_by_header(404, "EntryNotFound")
        if owner == "gated" and not is_known:
            return self._refuse_by_header(403, "GatedRepo")
        name = "/".join([repository, *place])
        if name not in outer.files:
            return self._refuse_by_header(404, "EntryNotFound")
        if len(outer.files[name]) >= _LARGE:
            return self._redirect(f"{outer.cdn}/{name}", outer.files[name])
        outer.sent += self.send_object(outer.files[name])
        return None

    def _send_json(self, content: object) -> None:
        self.send_object(json.dumps(content).encode(), "application/json")

    def _redirect(self, target: str, data: bytes) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("X-Linked-ETag", hashlib.sha256(data).hexdigest())
        self.send_header("X-Repo-Commit", _COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse_by_header(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
