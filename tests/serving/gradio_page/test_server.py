"""What the server answers, to whom, and where it refuses to listen."""

import io
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from retrieval.fakes import FakeModel, catalog_of, save_picture

from likewise.errors import UserError
from likewise.progress import print_logs
from likewise.retrieval.index import Index
from likewise.serving.gradio_page.page import create_page
from likewise.serving.gradio_page.server import serve, serving
from likewise.serving.thumbnails import thumbnails_in


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("originals")


@pytest.fixture(scope="module")
def client(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    catalog = catalog_of("red apple", "green pear", "lost plum")
    catalog.pictures = [
        (save_picture(originals / "apple.png", (250, 0, 0), size=(900, 600)),),
        (),
        (save_picture(originals / "plum.png", (0, 0, 250)),),
    ]
    index = Index.build(FakeModel(), catalog)
    (originals / "plum.png").unlink()
    page = create_page(index, thumbnails=thumbnails_in(tmp_path_factory.mktemp("cache")))
    with serving(page, port=0) as url, httpx.Client(base_url=url, trust_env=False) as opened:
        yield opened


def test_the_page_and_a_thumbnail_are_served(client: httpx.Client, originals: Path) -> None:
    assert "likewise" in client.get("/").text
    answer = client.get("/thumbnail", params={"id": "0"})
    assert answer.status_code == 200
    assert answer.content != (originals / "apple.png").read_bytes()
    with Image.open(io.BytesIO(answer.content)) as image:
        assert max(image.size) == 320


@pytest.mark.parametrize("id", ["1", "2", "unknown", "../../etc/passwd", ""])
def test_an_item_without_a_usable_picture_has_no_thumbnail(client: httpx.Client, id: str) -> None:
    assert client.get("/thumbnail", params={"id": id}).status_code == 404


def test_details_of_an_unknown_item_are_not_there(client: httpx.Client) -> None:
    assert "green pear" in client.get("/details", params={"id": "1", "score": "nan"}).text
    assert client.get("/details", params={"id": "unknown"}).status_code == 404


def test_log_lines_of_the_server_are_printable(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own
    monkeypatch.setattr(logging, "lastResort", None)
    print_logs()
    for name in ("uvicorn.error", "likewise.serving.gradio_page.page"):
        logging.getLogger(name).error("\x1b[31m %s", "[/b] \u202e")
    assert capsys.readouterr().err == "\\x1b[31m [/b] \\u202e\n" * 2


def test_no_file_of_the_machine_is_served(client: httpx.Client, originals: Path) -> None:
    secret = originals / "apple.png"
    for path in ("/etc/passwd", str(secret), f"{secret.parent}/../{secret.parent.name}/apple.png"):
        for prefix in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/..", "/"):
            for shape in (path, path.replace("/", "%2f")):
                answer = client.get(prefix + shape)
                assert answer.status_code in (403, 404), (prefix, shape)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/file=http://127.0.0.1:9/picture.png"),
        ("GET", "/gradio_api/proxy=https://example.hf.space/x"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/docs"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/process_recording"),
        ("PUT", "/gradio_api/upload"),
        ("DELETE", "/"),
    ],
)
def test_what_the_page_does_not_need_is_refused(client: httpx.Client, method: str, path: str) -> None:
    assert client.request(method, path, json={}).status_code == 403


@pytest.mark.parametrize("named", ["http://169.254.169.254/latest", "http://127.0.0.1:9/x.png", "/etc/passwd", "../x"])
@pytest.mark.parametrize("place", ["picture", "words", "deep"])
def test_an_event_cannot_name_other_files_or_addresses(client: httpx.Client, named: str, place: str) -> None:
    file = {"path": named, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.png"}
    data = {
        "picture": ["", file, 0.5, 10],
        "words": [file, None, 0.5, 10],
        "deep": [[{"a": [file]}], None, 0.5, 10],
    }[place]
    body = {"data": data, "fn_index": 0, "session_hash": "abc", "event_data": None, "trigger_id": None}
    assert client.post("/gradio_api/queue/join", json=body).status_code == 403


@pytest.mark.parametrize("body", [b"", b"no json", b"[" * 100_000])
def test_an_event_that_is_no_event_is_refused(client: httpx.Client, body: bytes) -> None:
    assert client.post("/gradio_api/queue/join", content=body).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "10.0.0.1", "[::1"]
)
def test_another_sites_name_for_this_machine_is_refused(client: httpx.Client, host: str) -> None:
    for path in ("/", "/thumbnail?id=0", "/details?id=0"):
        assert client.get(path, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://10.0.0.1:7860", "http://[::1"])
def test_other_sites_cannot_send_anything_here(client: httpx.Client, origin: str) -> None:
    answer = client.post("/gradio_api/upload", files={"files": ("a.jpg", b"x")}, headers={"Origin": origin})
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are_welcome(client: httpx.Client, host: str) -> None:
    assert client.get("/details?id=0", headers={"Host": host}).status_code == 200


def test_the_server_itself_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def noting_connect(self: socket.socket, place: object) -> None:
        asked.append(place[0])
        connect(self, place)

    def noting_resolve(host: object, *rest: object, **options: object) -> list:
        asked.append(host)
        return resolve(host, *rest, **options)

    monkeypatch.setattr(socket.socket, "connect", noting_connect)
    monkeypatch.setattr(socket, "getaddrinfo", noting_resolve)
    with serving(create_page(Index.build(FakeModel(), catalog_of("tea"))), port=0) as url:
        httpx.get(url, trust_env=False)
    assert set(asked) == {"127.0.0.1"}


def test_too_large_an_event_is_refused(client: httpx.Client) -> None:
    body = b'{"data": "' + b"x" * 2_000_000 + b'"}'
    assert client.post("/gradio_api/queue/join", content=body).status_code == 413


def test_too_large_an_upload_is_refused(client: httpx.Client) -> None:
    answer = client.post("/gradio_api/upload", files={"files": ("big.jpg", b"x" * 21_000_000)})
    assert answer.status_code == 413


def test_uploads_are_gone_when_the_server_stops() -> None:
    page = create_page(Index.build(FakeModel(), catalog_of("tea")))
    with serving(page, port=0) as url:
        answer = httpx.post(f"{url}/gradio_api/upload", files={"files": ("a.jpg", b"some bytes")}, trust_env=False)
        (path,) = map(Path, json.loads(answer.text))
        assert path.read_bytes() == b"some bytes"
        assert path.parents[1].stat().st_mode & 0o077 == 0, "other users of the machine cannot look at them"
    assert not path.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_a_served_page_ends_cleanly_when_asked_to(ask: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: list[Path] = []

    def visit(url: str) -> None:
        answer = httpx.post(f"{url}/gradio_api/upload", files={"files": ("a.jpg", b"some bytes")}, trust_env=False)
        uploads.extend(Path(path) for path in answer.json() if Path(path).exists())
        os.kill(os.getpid(), ask)

    monkeypatch.setattr("webbrowser.open", lambda url: threading.Timer(0.2, visit, [url]).start())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
    try:
        serve(create_page(Index.build(FakeModel(), catalog_of("tea"))), port=0, open_browser=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(uploads) == 1
    assert not uploads[0].exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.com", ""])
def test_other_machines_are_not_served(host: str) -> None:
    page = create_page(Index.build(FakeModel(), catalog_of("tea")))
    with pytest.raises(UserError, match=r"this machine only: use --host 127\.0\.0\.1"), serving(page, host, 0):
        pass


def test_a_taken_port_is_one_sentence() -> None:
    page = create_page(Index.build(FakeModel(), catalog_of("tea")))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use"), serving(page, port=port):
            pass
    with pytest.raises(UserError, match="between 1 and 65535"), serving(page, port=99_999):
        pass


def test_a_port_is_free_again_after_the_server_stopped() -> None:
    with serving(create_page(Index.build(FakeModel(), catalog_of("tea"))), port=0) as url:
        httpx.get(url, trust_env=False)
    port = int(url.rsplit(":", 1)[1])
    with serving(create_page(Index.build(FakeModel(), catalog_of("tea"))), port=port) as again:
        assert httpx.get(again, trust_env=False).status_code == 200
