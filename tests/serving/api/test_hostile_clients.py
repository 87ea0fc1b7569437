"""What no well-meaning client sends: each request is refused in a sentence, and the server answers the next one."""

import base64
import contextlib
import io
import json
import logging
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from PIL import Image
from serving.api.examples import FakeTextModel, png
from serving.api.servers import serving_fruit
from serving.asgi_server import connect, send_raw, status_of

from likewise.catalog.images import network
from likewise.serving.api.server import Protection
from likewise.serving.connection_bounds import ConnectionBounds
from likewise.serving.keys import Keys

READ, WRITE = "read-key-0123456789", "write-key-0123456789"
IMAGE_BYTES = 400_000
PUBLIC = "93.184.215.14"  # no connection is ever made to it
JSON = {"Content-Type": "application/json"}
SECRET = b"the secret of this machine"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("fruit")
    with serving_fruit(folder, image_bytes=IMAGE_BYTES, audio_bytes=IMAGE_BYTES, allow_urls=True) as address:
        yield address


@pytest.fixture(scope="module")
def impatient_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_fruit(tmp_path_factory.mktemp("impatient"), allow_urls=True, seconds=2) as address:
        yield address


@pytest.fixture
def client(url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[httpx.Client]:
    """A client of a server that is ready afterwards, answers another client, and has reported no defect."""
    with httpx.Client(base_url=url, trust_env=False, timeout=15) as opened:
        yield opened
    with httpx.Client(base_url=url, trust_env=False, timeout=15) as other:
        assert other.get("/readyz").status_code == 200
        assert other.post("/v1/search", json={"text": "red", "k": 1}).json()["hits"][0]["id"] == "0"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "Traceback" not in capfd.readouterr().err


def check_problem(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    assert 400 <= answer.status_code < 500, answer.text
    assert not statuses or answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance"}
    assert problem["status"] == answer.status_code
    assert 5 < len(problem["detail"]) < 600
    check_secrets(answer.content)
    return problem


def check_secrets(body: bytes) -> None:
    for told in (SECRET, b"Traceback", b'File "', b"site-packages", b"root:", b"object at 0x"):
        assert told not in body


BROKEN_JSON = {
    "empty": b"",
    "half": b'{"text": "red"',
    "NUL": b"\0",
    "two values": b'{"text": "red"}{"text": "red"}',
    "a comment": b'{"text": "red"} // red',
    "single quotes": b"{'text': 'red'}",
    "deep lists": b"[" * 200_000,
    "deep objects": b'{"text":' * 100_000,
    "deep inside a field": b'{"text": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "lone surrogate": b'{"text": "\\ud800"}',
    "raw surrogate": b'{"text": "\xed\xa0\x80"}',
    "Latin-1": '{"text": "é"}'.encode("latin-1"),
    "UTF-16": '{"text": "red"}'.encode("utf-16"),
    "a number": b"1",
    "null": b"null",
    "a list": b'[{"text": "red"}]',
    "a string": b'"red"',
    "NaN": b'{"text": "red", "min_score": NaN}',
    "infinity": b'{"text": "red", "image_weight": Infinity}',
    "1e999": b'{"text": "red", "min_score": 1e999}',
    "a number of 5,000 digits": b'{"text": "red", "k": ' + b"9" * 5_000 + b"}",
    "10 fields twice": b'{"text": "red", ' + b'"k": 1, ' * 10 + b'"k": 0}',
    "unknown field": b'{"text": "red", "__class__": "x"}',
    "unknown field with controls": b'{"text": "red", "\\u001b[31m\\u0000": "x"}',
}


@pytest.mark.parametrize("path", ["/v1/search", "/v1/search/batch", "/v1/embeddings"])
@pytest.mark.parametrize("body", BROKEN_JSON.values(), ids=BROKEN_JSON)
def test_json_that_is_broken(client: httpx.Client, path: str, body: bytes) -> None:
    check_problem(client.post(path, content=body, headers=JSON), 400, 422)


WRONG = [{"a": 1}, [[]], [None], [{"text": 1}], {}, -(10**30), 10**400, -1, "\0", "x" * 10_001]
FIELDS = {
    "text": [*WRONG[:8], "x" * 10_001, ["red"] * 33, "", "   ", True, {"text": "red", "weight": 0}],
    "image": [*WRONG[:8], "", "\0", "data:", "data:,", "data:image/png;base64,", "%%%", ["x"] * 33, True],
    "like": [*WRONG[:8], "", "\0", "x" * 1_001, ["0"] * 33, "../../etc/passwd", True],
    "minus": [*WRONG[:8], "x" * 10_001, True],
    "image_weight": [*WRONG[:9], 1.1, "0.5", True],
    "where": [*WRONG, "price <", "(" * 3_000, "not " * 2_000 + "price", "1; drop table items", "price < '", 1, True],
    "hybrid": [*(value for value in WRONG if value != {}), 1, "true", {"fusion": "x"}, {"words_weight": 2}],
    "k": [*WRONG, 0, 1_001, 1.5, "1", True],
    "offset": [*WRONG, 10_001, 0.5, "1", True],
    "min_score": [*WRONG[:5], 10**400, "x", True],
    "group_by": [*WRONG, "", "nothing", "../x", True, 1],
    "hide_duplicates": [*WRONG, 0, 1.5, "x"],
    "diversity": [*WRONG, 1, "x", True],
    "boost": [*WRONG, "price **", "__import__('os')", "price.__class__", "9**9**9**9", "(" * 1_000, 1, True],
    "facets": [*WRONG[:8], ["nothing"], [""], ["title"] * 21, "title", True],
    "fields": [*WRONG[:4], *WRONG[5:8], [""], ["x" * 1_001], ["title"] * 201, "title", True],
}
WRONG_FIELDS = [(field, value) for field, values in FIELDS.items() for value in values]


def test_wrong_types_for_each_field(client: httpx.Client) -> None:
    for field, value in WRONG_FIELDS:
        body = {"text": "red", field: value} if field != "like" else {field: value}
        content = json.dumps(body).encode()
        answer = client.post("/v1/search", content=content, headers=JSON)
        assert 400 <= answer.status_code < 500, (field, value, answer.text[:500])
        check_problem(answer, 400, 404, 422)


EMBEDDINGS = [
    {"model": "likewise/query"},
    {"model": "gpt-4", "input": "red"},
    {"model": "likewise/query", "input": []},
    {"model": "likewise/query", "input": ["red"] * 513},
    {"model": "likewise/query", "input": ["red", 1]},
    {"model": "likewise/query", "input": [[1, 2, 3]]},
    {"model": "likewise/query", "input": ["red", "  "]},
    {"model": "likewise/query", "input": "x" * 10_001},
    {"model": "likewise/query", "input": "red", "dimensions": 0},
    {"model": "likewise/query", "input": "red", "dimensions": 10**9},
    {"model": "likewise/query", "input": "red", "dimensions": 1.5},
    {"model": "likewise/query", "input": "red", "encoding_format": "xml"},
    {"model": "likewise/query", "input": "data:image/png;base64,AAAA"},
    {"model": "likewise/item", "input": "https://127.0.0.1/x.png"},
    {"model": ["likewise/query"], "input": "red"},
    {"model": "likewise/query", "input": "red", "user": 5},
]


@pytest.mark.parametrize("body", EMBEDDINGS, ids=range(len(EMBEDDINGS)))
def test_embeddings_of_nothing_sensible(client: httpx.Client, body: dict[str, Any]) -> None:
    check_problem(client.post("/v1/embeddings", json=body), 422)


@pytest.mark.parametrize("body", [{"searches": []}, {"searches": [{"text": "red"}] * 101}, {"searches": [1]}, {}])
def test_batches_of_nothing_sensible(client: httpx.Client, body: dict[str, Any]) -> None:
    check_problem(client.post("/v1/search/batch", json=body), 422)


def test_in_a_batch_each_search_has_its_own_problem(client: httpx.Client) -> None:
    searches = [{"text": "red", "k": 1}, {}, {"like": "nobody"}, {"image": "!"}, {"text": "red", "where": "x <"}]
    answers = client.post("/v1/search/batch", json={"searches": searches}).json()["answers"]
    assert [answer.get("status", 200) for answer in answers] == [200, 422, 404, 422, 422]


@pytest.mark.parametrize(
    "query",
    [
        *(
            "",
            "q=",
            "q=red&k=",
            "q=red&k=abc",
            "q=red&k=-1",
            "q=red&k=1e3",
            "q=red&k=NaN",
            "q=red&k=99999999999999999999",
        ),
        *("q=red&offset=-1", "q=red&offset=10001", "q=red&where=price+%3C", "q=red&where=%00", "q=red&hybrid=maybe"),
        *("q=red&where=" + "(" * 3_000, "q=" + "x" * 10_001, "q=red&k=١٢x", "q=+++"),
    ],
)
def test_parameters_that_make_no_sense(client: httpx.Client, query: str) -> None:
    check_problem(client.get(f"/v1/search?{query}"), 422)


@pytest.mark.parametrize("query", ["q=", "", "q=" + "x" * 201, "q=red&k=0", "q=red&k=51", "q=red&k=x"])
def test_suggestions_for_no_one(client: httpx.Client, query: str) -> None:
    check_problem(client.get(f"/v1/suggest?{query}"), 422)


@pytest.mark.parametrize(
    "query", ["", "columns=", "columns=nothing", "columns=title&most=0", "columns=title&where=x", "columns=title" * 21]
)
def test_facets_of_nothing(client: httpx.Client, query: str) -> None:
    check_problem(client.get(f"/v1/facets?{query}"), 422)


# Python's own normalisation is not wanted here, so these paths are sent as they are.
ODD_PATHS = [
    *("/v1/items/..%2F..%2F..%2Fetc%2Fpasswd", "/v1/items/../../../etc/passwd", "/v1/items/%2e%2e/%2e%2e/etc/passwd"),
    *("/v1/items/%00", "/v1/items/0%00", "/v1/items/%ff%fe", "/v1/items/%ed%a0%80", "/v1/items/%", "/v1/items/%zz"),
    *("/v1/items/C:%5CWindows", "/v1/items/%5C%5Chost%5Cshare", "/v1/items/file:%2F%2F%2Fetc%2Fpasswd", "/v1/items/"),
    *("/v1/items/" + "x" * 3_500, "/v1/items/" + "%00" * 1_000, "/v1/items/0/thumbnail/../../../etc/passwd"),
    *("/v1/items/..%2F0/thumbnail", "/v1/items/nobody/thumbnail", "/v1/items/1/thumbnail", "/v1/items/nobody/similar"),
    *("/v1/items/0;/v1", "/v1//items/0", "//v1/items/0", "/v1/items/0/", "/V1/items/0", "/v1/items/0/similar?k=0"),
    *("/docs/../../../etc/passwd", "/docs/%2e%2e%2fapp.py", "/docs/swagger-ui.css%00.js", "/.env", "/.git/config"),
    *("/gradio_api/file=/etc/passwd", "/static/../../etc/passwd", "/%00", "/%ff", "/?%00", "/v1/nothing"),
]


@pytest.mark.parametrize("path", ODD_PATHS)
def test_paths_that_lead_nowhere(url: str, client: httpx.Client, path: str) -> None:
    received = send_raw(url, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert status_of(received) in (400, 404, 405, 414, 422, 307), received[:300]
    check_secrets(received)


def test_a_path_that_is_too_long(client: httpx.Client) -> None:
    check_problem(client.get("/v1/items/" + "x" * 5_000), 414)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "PURGE", "get", "LOCK"])
@pytest.mark.parametrize("path", ["/v1/search", "/livez"])
def test_methods_that_nobody_knows(url: str, client: httpx.Client, method: str, path: str) -> None:
    received = send_raw(url, f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert status_of(received) in (400, 405)
    check_secrets(received)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[(method, "/v1/search") for method in ("PUT", "PATCH", "DELETE")],
        *[(method, "/v1/embeddings") for method in ("GET", "PUT", "DELETE")],
        *[("POST", path) for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/v1/facets")],
    ],
)
def test_methods_that_a_route_does_not_have(client: httpx.Client, method: str, path: str) -> None:
    assert "allow" in client.request(method, path, content=b"{}", headers=JSON).headers
    check_problem(client.request(method, path, content=b"{}", headers=JSON), 405)


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/mixed; boundary=a", "a" * 5_000],
)
def test_media_types_that_are_not_json(client: httpx.Client, kind: str) -> None:
    check_problem(client.post("/v1/search", content=b'{"text": "red"}', headers={"Content-Type": kind}), 415)


MULTIPART = {
    "no boundary": ("multipart/form-data", b"--a\r\n"),
    "no part": ("multipart/form-data; boundary=a", b"--a--\r\n"),
    "half": (
        "multipart/form-data; boundary=a",
        b'--a\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n',
    ),
    "another boundary": ("multipart/form-data; boundary=b", b"--a\r\n\r\n--a--"),
    "a long boundary": ("multipart/form-data; boundary=" + "b" * 10_000, b"--a--"),
    "no name": ("multipart/form-data; boundary=a", b"--a\r\nContent-Disposition: form-data\r\n\r\nx\r\n--a--\r\n"),
    "a header without end": ("multipart/form-data; boundary=a", b"--a\r\n" + b"X" * 200_000),
    "many parts": (
        "multipart/form-data; boundary=a",
        b'--a\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\nx\r\n' * 40 + b"--a--\r\n",
    ),
    "many fields": (
        "multipart/form-data; boundary=a",
        b'--a\r\nContent-Disposition: form-data; name="query"\r\n\r\n{}\r\n' * 1_000 + b"--a--\r\n",
    ),
    "another part": (
        "multipart/form-data; boundary=a",
        b'--a\r\nContent-Disposition: form-data; name="../../x"; filename="../../x"\r\n\r\nx\r\n--a--\r\n',
    ),
    "broken JSON": (
        "multipart/form-data; boundary=a",
        b'--a\r\nContent-Disposition: form-data; name="query"\r\n\r\n{\r\n--a--\r\n',
    ),
    "an empty picture": (
        "multipart/form-data; boundary=a",
        b'--a\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n\r\n--a--\r\n',
    ),
    "UTF-8 that is none": (
        "multipart/form-data; boundary=a; charset=utf-7",
        b'--a\r\nContent-Disposition: form-data; name="\xff\xfe"; filename="\xff"\r\n\r\nx\r\n--a--\r\n',
    ),
}


@pytest.mark.parametrize(("kind", "body"), MULTIPART.values(), ids=MULTIPART)
def test_forms_that_are_broken(client: httpx.Client, kind: str, body: bytes) -> None:
    check_problem(client.post("/v1/search", content=body, headers={"Content-Type": kind}), 400, 413, 422)


# --- pictures


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_that_claims(width: int, height: int, pixels: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


PICTURES: dict[str, bytes] = {
    "100 megapixels in the header": png_that_claims(10_000, 10_000),
    "2^31 pixels wide": png_that_claims(2**31 - 1, 1),
    "no pixels": png_that_claims(0, 0),
    "a bomb of 300 MB": png_that_claims(10_000, 10_000, bytes(300_000_000)),
    "more data than pixels": png_that_claims(10, 10, bytes(100_000_000))[:5_000],
    "text bomb": b"\x89PNG\r\n\x1a\n" + b"zTXt" * 1_000,
    "truncated PNG": encoded(Image.effect_noise((100, 100), 50), "PNG")[:1_000],
    "truncated JPEG": encoded(Image.effect_noise((200, 200), 50).convert("RGB"), "JPEG")[:1_500],
    "1 pixel": png(size=(1, 1)),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "SVG with entities": b'<!DOCTYPE x [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
    "PDF": b"%PDF-1.7\n" + b"x" * 100,
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(r) file\n",
    "HTML": b"<html><script>alert(1)</script></html>",
    "zip": b"PK\x03\x04" + bytes(100),
    "gzip": zlib.compress(bytes(100_000)),
    "NUL": bytes(1_000),
    "ICO": encoded(Image.new("RGB", (16, 16)), "ICO"),
    "a GIF without frames": b"GIF89a\xff\xff\xff\xff\x00\x00\x00;",
    "a TIFF in circles": b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
    "too many bytes": bytes(IMAGE_BYTES + 1),
}
MAY_BE_SEEN = {"1 pixel", "ICO", "more data than pixels"}  # odd, but pictures


@pytest.mark.parametrize("way", ["json", "data url", "form", "embeddings"])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_that_are_none(client: httpx.Client, name: str, way: str) -> None:
    data = PICTURES[name]
    text = base64.b64encode(data).decode()
    began = time.monotonic()
    match way:
        case "json":
            answer = client.post("/v1/search", json={"image": text})
        case "data url":
            answer = client.post("/v1/search", json={"image": f"data:image/png;base64,{text}", "text": "red"})
        case "form":
            answer = client.post("/v1/search", files={"image": ("../../x.png", data)})
        case _:
            body = {"model": "likewise/query", "input": f"data:image/png;base64,{text}"}
            answer = client.post("/v1/embeddings", json=body)
    assert time.monotonic() - began < 5
    if name in MAY_BE_SEEN and answer.status_code == 200:
        return
    check_problem(answer, 413, 422)


def test_50_megapixels_are_read_without_using_much_memory(client: httpx.Client) -> None:
    data = encoded(Image.new("RGB", (10_000, 5_000)), "PNG")
    assert len(data) < IMAGE_BYTES
    answer = client.post("/v1/search", files={"image": ("x.png", data)})
    assert answer.status_code == 200


# --- items

WRONG_ITEMS = [
    *(
        b"",
        b"{",
        b"[]",
        b"1",
        b"null",
        b'"x"',
        b"{}",
        b'{"title": ""}',
        b'{"title": NaN}',
        b'{"price": 1e999, "title": "x"}',
    ),
    *(
        b'{"title": ' + b"[" * 100_000,
        b'{"title": "\\ud800"}',
        b'{"title": "\xed\xa0\x80"}',
        b'{"title": "x", "\\u0000": 1}',
    ),
    *(b'{"title": "x", "id": "other"}', b'{"title": "x", "id": 5}', b'{"title": "x", "nothing": 1}'),
    *(b'{"title": "x", "image": "/etc/passwd"}', b'{"title": "x", "image": "file:///etc/passwd"}'),
    *(b'{"title": "x", "image": "http://127.0.0.1/"}', b'{"title": "x", "image": "http://[::1]/"}'),
    *(b'{"title": "x", "image": "data:image/png;base64,AAAA"}', b'{"title": "x", "image": {"path": "/etc/passwd"}}'),
    *(b'{"title": "x", "image": "../../../etc/passwd"}', b'{"title": "x", "image": "http://\\u0000/"}'),
    *(
        b'{"title": "x", "_likewise": {}}',
        b'{"title": "x", "price": {}}',
        b'{"title": "x", "price": 1' + b"0" * 400 + b"}",
    ),
]


@pytest.mark.parametrize("body", WRONG_ITEMS, ids=range(len(WRONG_ITEMS)))
def test_items_that_are_none(client: httpx.Client, body: bytes) -> None:
    check_problem(client.put("/v1/items/hostile", content=body, headers=JSON), 400, 422)
    if body != b"{}":  # changes nothing
        check_problem(client.patch("/v1/items/5", content=body, headers=JSON), 400, 422)
    if body and b'"id"' not in body:
        lines = b'{"id": "hostile", "title": "fine"}\n' + body.replace(b'{"title"', b'{"id": "hostile-2", "title"', 1)
        answer = client.post("/v1/items", content=lines, headers={"Content-Type": "application/x-ndjson"})
        check_problem(answer, 400, 422)
        check_problem(client.get("/v1/items/hostile"), 404)


@pytest.mark.parametrize("id", ["..%2F..%2Fx", "%00", "%ff", "x" * 1_001, "%ed%a0%80"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_items_with_ids_that_are_paths(client: httpx.Client, tmp_path: Path, method: str, id: str) -> None:
    content = None if method == "DELETE" else b'{"title": "odd"}'
    answer = client.request(method, f"/v1/items/{id}", content=content, headers=JSON)
    if answer.status_code == 201:  # an id may look like a path, but is none
        assert client.get(f"/v1/items/{id}").json()["fields"]["title"] == "odd"
        assert client.delete(f"/v1/items/{id}").status_code == 204
    else:
        check_problem(answer, 404, 422)


# --- addresses


class Canary:
    """A server of this machine that must not be asked; `behaviour` is what it does with a connection all the same."""

    def __init__(self) -> None:
        self.asked = 0
        self.behaviour: Callable[[socket.socket], None] = lambda connection: connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\nConnection: close\r\n\r\n" + SECRET
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.asked += 1
                with connection, contextlib.suppress(OSError):
                    connection.recv(65_536)
                    self.behaviour(connection)


@pytest.fixture
def canary() -> Iterator[Canary]:
    canary = Canary()
    yield canary
    canary.close()


INWARD = [
    *("http://127.0.0.1:{port}/", "http://127.1:{port}/", "http://2130706433:{port}/", "http://0x7f000001:{port}/"),
    *(
        "http://0177.0.0.1:{port}/",
        "http://0x7f.0.0.1:{port}/",
        "http://127.0.0.1.:{port}/",
        "http://127.127.127.127:{port}/",
    ),
    *("http://0:{port}/", "http://0.0.0.0:{port}/", "http://[::1]:{port}/", "http://[::]:{port}/"),
    *(
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
        "http://[0:0:0:0:0:ffff:7f00:0001]:{port}/",
    ),
    *("http://[64:ff9b::7f00:1]:{port}/", "http://[2002:7f00:1::]:{port}/", "http://[::127.0.0.1]:{port}/"),
    *("http://localhost:{port}/", "http://LOCALHOST:{port}/", "http://localhost.:{port}/", "HTTP://LocalHost:{port}/"),
    *("http://user:pass@127.0.0.1:{port}/", "http://example.com@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@a.b/"),
    *("http://127.0.0.1:{port}\\@example.com/", "http://①②⑦.⓪.⓪.①:{port}/", "http://127。0。0。1:{port}/"),
    *("http://%31%32%37.0.0.1:{port}/", "http://[::1%25lo]:{port}/", "http:/127.0.0.1:{port}/", "http:////127.0.0.1/"),
    *(
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://10.0.0.1/",
    ),
    *("http://192.168.0.1/", "http://172.16.0.1/", "http://224.0.0.1/", "http://255.255.255.255/", "http://[fe80::1]/"),
    *("http://127.0.0.1:22/", "http://127.0.0.1:25/", "http://127.0.0.1:0/", "http://127.0.0.1:99999/", "http://:80/"),
    *(
        "http://",
        "https://",
        "http:// /",
        "http://\0/",
        "http://a\r\nX: y/",
        "http://" + "a" * 3_000 + "/",
        "http://[/",
    ),
]
OTHER_SCHEMES = [
    *(
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "gopher://127.0.0.1:{port}/_GET",
        "ftp://127.0.0.1/x",
        "jar:http://a!/",
    ),
    *(
        "dict://127.0.0.1:11211/",
        "ldap://127.0.0.1/",
        "javascript:alert(1)",
        "//127.0.0.1/x",
        "/etc/passwd",
        "php://input",
    ),
    *(
        "data:text/html,<script>",
        "data:image/svg+xml,<svg/>",
        "data:;base64,////",
        "data:image/png;base64," + "A" * 100,
    ),
    *(
        "data:image/png," + "%41" * 10_000,
        "blob:http://127.0.0.1/x",
        "unix:/var/run/docker.sock",
        "\\\\host\\share\\x.png",
    ),
]


@pytest.mark.parametrize("address", [*INWARD, *OTHER_SCHEMES])
def test_addresses_that_lead_inward(client: httpx.Client, canary: Canary, address: str) -> None:
    picture = address.replace("{port}", str(canary.port))
    check_problem(client.post("/v1/search", json={"image": picture}), 422)
    assert canary.asked == 0


class Outside:
    """The net as it is for a test: names, and one public address that leads to a server of this machine."""

    def __init__(self, port: int) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.dialled: list[str] = []
        self._port = port

    async def resolve(self, host: str, port: int) -> list[str]:
        answers = self.names.get(host)
        if answers is None:
            return [host] if host.replace(".", "").isdigit() else []
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def dial(self, original: Any) -> Any:
        async def connect_tcp(backend: Any, host: str, port: int, *rest: Any, **options: Any) -> Any:
            self.dialled.append(host)
            if host != PUBLIC:
                raise httpcore.ConnectError(host)
            return await original(backend, "127.0.0.1", self._port, *rest, **options)

        return connect_tcp


@pytest.fixture
def outside(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> Outside:
    outside = Outside(canary.port)
    monkeypatch.setattr(network, "_ask_system", outside.resolve)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", outside.dial(httpcore.AnyIOBackend.connect_tcp))
    outside.names["shop.example"] = [[PUBLIC]]
    return outside


def answering(head: str, body: bytes = b"") -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".replace("\n ", "\n").encode() + body)

    return answer


def ask(client: httpx.Client, address: str = "http://shop.example/x.png") -> httpx.Response:
    return client.post("/v1/search", json={"image": address, "k": 1})


def test_a_public_picture_is_fetched(client: httpx.Client, canary: Canary, outside: Outside) -> None:
    data = png()
    canary.behaviour = answering(f"200 OK\r\nContent-Length: {len(data)}", data)
    answer = ask(client)
    assert (answer.status_code, answer.json()["hits"][0]["id"]) == (200, "0")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target",
    [
        *("http://127.0.0.1:{port}/", "http://169.254.169.254/", "http://inside.example/", "//127.0.0.1:{port}/"),
        *(
            "file:///etc/passwd",
            "gopher://127.0.0.1:{port}/",
            "http://[::ffff:127.0.0.1]:{port}/",
            "http://shop.example/x",
        ),
    ],
)
def test_redirects_that_lead_inward(
    client: httpx.Client, canary: Canary, outside: Outside, target: str, status: int
) -> None:
    outside.names["inside.example"] = [["192.168.0.7"]]
    canary.behaviour = answering(f"{status} Elsewhere\r\nLocation: {target.replace('{port}', str(canary.port))}")
    check_problem(ask(client), 422)
    assert set(outside.dialled) == {PUBLIC}


@pytest.mark.parametrize(
    "answers", [[["127.0.0.1"]], [[PUBLIC, "127.0.0.1"]], [["::1"]], [["10.1.2.3"]], [["::ffff:169.254.169.254"]], [[]]]
)
def test_names_that_lead_inward(
    client: httpx.Client, canary: Canary, outside: Outside, answers: list[list[str]]
) -> None:
    outside.names["rebind.example"] = answers
    check_problem(ask(client, "http://rebind.example/x.png"), 422)
    assert outside.dialled == []


def test_a_name_that_changes_its_mind_is_not_asked_again(
    client: httpx.Client, canary: Canary, outside: Outside
) -> None:
    outside.names["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    canary.behaviour = answering("404 Not Found")
    check_problem(ask(client, "http://rebind.example/x.png"), 422)
    assert outside.dialled == [PUBLIC]


@pytest.mark.parametrize(
    "head",
    [
        *(
            "200 OK\r\nContent-Length: 99999999999",
            "200 OK\r\nContent-Encoding: gzip",
            "500 Broken",
            "429 Wait",
            "204 None",
        ),
        *("200 OK\r\nContent-Length: 10", "200 OK\r\nContent-Length: -1", "999 Odd", "200 OK\r\n" + "X: y\r\n" * 5_000),
        *("200 OK\r\nTransfer-Encoding: chunked", "101 Switching Protocols", "206 Partial Content"),
    ],
)
def test_hosts_that_answer_oddly(client: httpx.Client, canary: Canary, outside: Outside, head: str) -> None:
    canary.behaviour = answering(head, b"x")
    check_problem(ask(client), 422)


def test_a_host_that_sends_without_end(client: httpx.Client, canary: Canary, outside: Outside) -> None:
    def send_forever(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(100_000))

    canary.behaviour = send_forever
    assert "bytes" in check_problem(ask(client), 422)["detail"]


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_slow_hosts_keep_no_one_waiting(impatient_url: str, canary: Canary, outside: Outside, start: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"x")
            time.sleep(0.2)

    canary.behaviour = drip
    found: list[httpx.Response] = []
    client = httpx.Client(base_url=impatient_url, trust_env=False)
    asking = [threading.Thread(target=lambda: found.append(ask(client))) for _ in range(3)]
    for thread in asking:
        thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    assert httpx.post(f"{impatient_url}/v1/search", files={"image": png()}, trust_env=False).status_code == 200
    assert time.monotonic() - began < 1.2  # others' pictures are decoded meanwhile
    for thread in asking:
        thread.join()
    assert len(found) == 3
    for answer in found:
        check_problem(answer, 422)


# --- bytes on the wire

HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /v1/search HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        *[(path, 1_000_000) for path in ("/v1/search", "/v1/search/batch", "/v1/embeddings", "/v1/items/0")],
        *[(path, 1_000_000) for path in ("/v1/suggest", "/livez", "/nothing")],
        ("/v1/items", 64_000_000),
    ],
)
def test_bodies_that_are_too_large(url: str, client: httpx.Client, path: str, limit: int) -> None:
    head = f"POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {limit + 1}\r\n".encode()
    with connect(url) as connection:
        connection.sendall(head + HOST + b"\r\n{")
        assert status_of(connection.recv(65_536)) == 413


@pytest.mark.parametrize("path", ["/v1/search", "/v1/search/batch", "/v1/embeddings"])
def test_bodies_that_grow_too_large(client: httpx.Client, path: str) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"text": "'
        for _ in range(30):
            yield b"x" * 100_000
        yield b'"}'

    check_problem(client.post(path, content=parts(), headers=JSON), 413)


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 16\r\nContent-Length: 17\r\n\r\n" + b'{"text": "red"} ',
        POST + b"Content-Length: 16\r\nContent-Length: 16\r\n\r\n" + b'{"text": "red"} ',
        POST + b"Content-Length: 16, 16\r\n\r\n" + b'{"text": "red"} ',
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: +16\r\n\r\n" + b'{"text": "red"} ',
        POST + b"Content-Length: 0x10\r\n\r\n" + b'{"text": "red"} ',
        POST + b"Content-Length: 1e1\r\n\r\n",
        POST + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
        POST + b"Content-Length: 16\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\nx",
        POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length : 16\r\n\r\n" + b'{"text": "red"} ',
        b"GET /v1/search\r\n\r\n",
        b"GET /v1/search?q=red HTTP/9.9\r\n" + HOST + b"\r\n",
        b"GET /v1/search?q=\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /v1/search?q=\xff HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET  /v1/search HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /v1/search?q=red HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
        b"GET /v1/search?q=red HTTP/1.1\r\n" + HOST + b" folded\r\n\r\n",
        b"GET /v1/search?q=red HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /v1/search?q=red HTTP/1.1\r\n\r\n",
        b"GET /v1/search?q=red HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n",
        b"GET /v1/search?q=red HTTP/1.1\r\n" + HOST + b"Origin: https://evil.example\r\n\r\n",
        b"GET /v1/search?q=red HTTP/1.1\r\n" + HOST + b"Sec-Fetch-Site: cross-site\r\n\r\n",
        b"GET /v1/search?q=red HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 40_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n" * 20_000,
        bytes(1_000),
        b"SSH-2.0-OpenSSH_9.9\r\n",
    ],
)
def test_requests_that_are_none(url: str, client: httpx.Client, sent: bytes) -> None:
    received = send_raw(url, sent)
    assert 400 <= status_of(received) < 500, received[:300]
    assert received.count(b"HTTP/1.1 ") <= 1 or b" 200 " not in received
    check_secrets(received)


@pytest.mark.parametrize("sent", [b"", b"GET /v1/sear", POST, POST + b"Content-Length: 900\r\n\r\n{", POST + b"X: y"])
def test_half_a_request_ends_by_itself(
    url: str, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(ConnectionBounds, "seconds", {"headers": 0.3, "body": 0.3})
    with connect(url) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            assert b" 200 " not in connection.recv(65_536)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "sent", [POST + b"Content-Length: 900\r\n\r\n{", POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n"]
)
def test_a_client_that_vanishes_while_it_sends(url: str, client: httpx.Client, sent: bytes) -> None:
    for _ in range(5):
        with connect(url) as connection:
            connection.sendall(sent)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.2)


class SlowModel(FakeTextModel):
    """A model that notes what it encodes, slowly."""

    def encode_queries(self, texts: Any) -> Any:
        time.sleep(0.3)
        self.encoded += texts
        return super().encode_queries(texts)


def test_clients_that_vanish_are_not_encoded_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = SlowModel()
    with serving_fruit(tmp_path, model=model) as url, contextlib.ExitStack() as stack:
        body = [b'{"text": "vanished %d"}' % number for number in range(30)]
        for one in body:
            connection = stack.enter_context(connect(url))
            connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(one) + one)
        stack.close()
        began = time.monotonic()
        answer = httpx.post(f"{url}/v1/search", json={"text": "red", "k": 1}, trust_env=False)
        assert answer.json()["hits"][0]["id"] == "0"
        assert time.monotonic() - began < 2
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


# --- keys

GUARDED = [
    *[("GET", path) for path in ("/v1/search?q=red", "/v1/items/0", "/v1/models", "/metrics", "/docs")],
    *[("GET", path) for path in ("/openapi.json", "/v1/items/0/thumbnail", "/v1/items/0/similar", "/nothing", "/")],
    *[("POST", path) for path in ("/v1/search", "/v1/search/batch", "/v1/embeddings", "/v1/items", "/livez/x")],
    *[("DELETE", "/v1/items/0"), ("OPTIONS", "/v1/search"), ("PUT", "/v1/items/0"), ("PATCH", "/v1/items/0")],
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    protection = Protection(Keys.collect(READ, WRITE))
    with serving_fruit(tmp_path_factory.mktemp("guarded"), protection) as address:
        yield address


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nothing_is_answered_without_a_key(guarded: str, method: str, path: str) -> None:
    with httpx.Client(base_url=guarded, trust_env=False) as client:
        for headers in ({}, {"Authorization": "Bearer wrong-key-0123456789"}, {"X-API-Key": READ[:-1]}):
            answer = client.request(method, path, headers=headers)
            check_problem(answer, 401)
            assert "www-authenticate" in answer.headers


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_checks_need_no_key(guarded: str, path: str) -> None:
    answer = httpx.get(guarded + path, trust_env=False)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(("method", "path"), [entry for entry in GUARDED if entry[0] in ("DELETE", "PUT", "PATCH")])
def test_a_key_that_reads_does_not_write(guarded: str, method: str, path: str) -> None:
    answer = httpx.request(method, guarded + path, headers={"X-API-Key": READ}, trust_env=False)
    check_problem(answer, 403)


def test_a_body_without_a_key_is_not_read(guarded: str) -> None:
    head = b"POST /v1/search HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 900000\r\n\r\n"
    with connect(guarded) as connection:
        connection.sendall(head + b"{")
        assert status_of(connection.recv(65_536)) == 401
