"""A run from a stranger names its store: it gets no password, and one is told where it leads."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores.qdrant_server import QdrantServer

from likewise.errors import UserError
from likewise.files import write_record
from likewise.progress import console
from likewise.retrieval.location import IndexLocation
from likewise.stores.registry import remembered_store
from likewise.stores.schema import Schema
from likewise.stores.uri import Credentials

SECRET = "hunter2"
GIVEN = {"user": "me", "password": SECRET, "token": f"{SECRET}-key"}


def stranger(folder: Path, content: object) -> Path:
    """A run whose store.json says anything, with a checksum where it is an object."""
    if isinstance(content, dict) and "format" in content:
        write_record(folder / "store.json", {name: value for name, value in content.items() if name != "format"}, 1)
        if (type(content["format"]), content["format"]) != (int, 1):
            record = json.loads((folder / "store.json").read_text())
            (folder / "store.json").write_text(json.dumps(record | {"format": content["format"]}))
    else:
        (folder / "store.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(console, "print", lambda message, **_: lines.append(message))
    return lines


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A server that notes what it hears. PostgreSQL's clients are asked for their password in clear text."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.settimeout(0.5)
                for _ in range(3):
                    try:
                        heard.append(connection.recv(65_536))
                        if heard[-1][4:8] == b"\x00\x03\x00\x00":  # it begins, and is asked for its password
                            connection.sendall(b"R\x00\x00\x00\x08\x00\x00\x00\x03")
                        else:
                            connection.sendall(b"N")  # no TLS
                    except OSError:
                        break
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1], heard


@pytest.mark.parametrize(
    "uri", ["postgresql://127.0.0.1:{}/shop?sslmode=disable", "qdrant://127.0.0.1:{}", "postgresql://localhost:{}/shop"]
)
def test_a_host_that_only_a_run_names_hears_no_password(
    uri: str, listener: tuple[int, list[bytes]], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, heard = listener
    monkeypatch.setenv("PGPASSWORD", SECRET)
    run = stranger(tmp_path, {"format": 1, "uri": uri.format(port)})
    with pytest.raises(UserError):
        IndexLocation.for_run(run, None, Credentials(**GIVEN)).open()
    assert heard, "it was asked"
    assert SECRET.encode() not in b"".join(heard)
    assert b"user\0me\0" not in b"".join(heard)
    assert f"{run} remembers the store {uri.format(port)}" in said
    assert any(
        "No credentials are sent" in line and f":{port}" in line and "LIKEWISE_STORE_HOST" in line for line in said
    )


def test_a_host_that_is_named_gets_the_password(
    listener: tuple[int, list[bytes]], said: list[str], tmp_path: Path
) -> None:
    port, heard = listener
    uri = f"postgresql://127.0.0.1:{port}/shop"
    run = stranger(tmp_path, {"format": 1, "uri": uri})
    for place in (
        lambda: IndexLocation.for_run(run, uri, Credentials(**GIVEN)),
        lambda: IndexLocation.for_run(run, None, Credentials(**GIVEN, hosts=(f"127.0.0.1:{port}",))),
    ):
        heard.clear()
        with pytest.raises(UserError):
            place().open()
        assert SECRET.encode() in b"".join(heard)
    assert not any("No credentials" in line for line in said)


def test_a_real_server_is_opened_again_once_its_host_is_allowed(said: list[str], tmp_path: Path) -> None:
    server = QdrantServer(key=SECRET)
    try:
        key = Credentials(token=SECRET)
        place = IndexLocation.for_run(tmp_path, server.uri, key)
        with pytest.warns(UserWarning, match="insecure"), place.replace_store(Schema(2)):
            pass
        place.remember()
        assert said == []
        with pytest.raises(UserError, match="does not accept the API key"):
            IndexLocation.for_run(tmp_path, None, key).open()
        allowed = Credentials(token=SECRET, hosts=("127.0.0.1",))
        with pytest.warns(UserWarning, match="insecure"):
            assert IndexLocation.for_run(tmp_path, None, allowed).open().count() == 0
    finally:
        server.stop()


def test_a_run_cannot_have_a_password_sent_without_tls(said: list[str], tmp_path: Path) -> None:
    run = stranger(tmp_path, {"format": 1, "uri": "postgresql://db.example/shop?sslmode=disable"})
    allowed = Credentials(**GIVEN, hosts=("db.example",))
    assert IndexLocation.for_run(run, None, allowed).credentials == Credentials(withheld=True)
    assert "without TLS" in said[-1]
    assert IndexLocation.for_run(run, "postgresql://db.example/shop?sslmode=disable", allowed).credentials == allowed


@pytest.mark.parametrize("scheme", ["faiss", "lancedb", "milvus"])
def test_a_store_outside_of_the_run_is_said_aloud(scheme: str, said: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "link").symlink_to(tmp_path)
    for path in ("/elsewhere/x", "../x", "link/x"):
        said.clear()
        uri = f"{scheme}:{path}" if not path.startswith("/") else f"{scheme}://{path}"
        IndexLocation.for_run(stranger(run, {"format": 1, "uri": uri}))
        assert said == [f"{run} remembers a store outside its folder: {uri}"]
    said.clear()
    IndexLocation.for_run(stranger(run, {"format": 1, "uri": f"{scheme}:items"}))
    IndexLocation.for_run(run, f"{scheme}:///elsewhere/x")
    assert said == []


@pytest.mark.parametrize("scheme", ["faiss", "lancedb"])
def test_a_run_alone_makes_no_store_outside_of_itself(scheme: str, said: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    uri = f"{scheme}://{tmp_path}/home/store"
    stranger(run, {"format": 1, "uri": uri})
    with pytest.raises(UserError, match="outside the run, give --store"):
        IndexLocation.for_run(run).check_writable(8)
    assert not (tmp_path / "home").exists()
    with IndexLocation.for_run(run, uri).replace_store(Schema(8)):
        pass
    with IndexLocation.for_run(run).replace_store(Schema(8)):
        pass


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "1", '"faiss:index"', "[" * 100_000, " " * 100_000, {}, {"uri": "faiss:index"},
        {"format": 2, "uri": "faiss:index"}, {"format": True, "uri": "faiss:index"}, {"format": 1, "uri": None},
        {"format": 1, "uri": ["faiss:index"]}, {"format": 1, "uri": 1}, {"format": 1, "uri": ""},
        {"format": 1, "uri": "faiss:index", "more": 1}, {"format": 1, "uri": "qdrant://me:hunter2@db"},
        {"format": 1, "uri": "qdrant://db?api_key=hunter2"}, {"format": 1, "uri": "postgresql://db/shop?service=x"},
        {"format": 1, "uri": "postgresql://db/shop?sslkey=/home/me/key"}, {"format": 1, "uri": "mongodb://db?x=1"},
        {"format": 1, "uri": "mongodb://db?authMechanism=MONGODB-AWS"},
    ],
)  # fmt: skip
def test_anything_but_a_remembered_store_is_one_sentence(content: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"store\.json (is damaged|holds credentials).*give .*--store URI") as raised:
        remembered_store(stranger(tmp_path, content))
    assert len(str(raised.value).splitlines()) == 1
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "remembered"),
    [
        ("qdrant://me:hunter2@db:6333?api_key=hunter2&collection=shop", "qdrant://db:6333?collection=shop"),
        ("milvus://me:hunter2@db/x?token=hunter2&tls=true", "milvus://db/x?tls=true"),
        ("postgresql://me:hunter2@db/x?sslmode=verify-full&sslkey=hunter2&passfile=hunter2&service=hunter2",
         "postgresql://db/x?sslmode=verify-full"),
        ("postgresql:///x?host=db&user=hunter2&password=hunter2", "postgresql:///x?host=db"),
        ("mongodb://me:hunter2@db/x?authMechanismProperties=AWS_SESSION_TOKEN:hunter2&replicaSet=rs0",
         "mongodb://db/x?replicaSet=rs0"),
        ("mongodb+srv://me:hunter2@db/x?tlsCertificateKeyFilePassword=hunter2", "mongodb+srv://db/x"),
        ("faiss:index?memory=2GB", "faiss:index?memory=2GB"),
        ("lancedb:///data/items", "lancedb:///data/items"),
    ],
)  # fmt: skip
def test_a_run_remembers_where_its_store_is_and_no_secret(
    uri: str, remembered: str, said: list[str], tmp_path: Path
) -> None:
    IndexLocation.for_run(tmp_path, uri).remember()
    assert str(remembered_store(tmp_path)) == remembered
    assert SECRET not in "".join(said)
    assert bool(said) == any(name in uri for name in ("sslkey", "Properties", "KeyFile")), "what must be given again"
