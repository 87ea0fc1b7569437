"""`likewise verify` reads every byte of a run, its index and its words, and says what is damaged."""

import json
from pathlib import Path

import pytest
from retrieval.shop_catalogue import write_shop, write_untrained_run

from likewise.cli.app import main


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with products.csv and a run whose index and words are there."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    write_untrained_run(folder / "run")
    call("index", folder / "run", "--data", folder / "products.csv", "--cache", folder / "cache")
    call("search", folder / "run", "red", "--hybrid")
    return folder


def call(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def verified(capsys: pytest.CaptureFixture[str], target: object) -> tuple[int, dict[str, dict]]:
    capsys.readouterr()
    status = call("verify", target, "--json")
    return status, {part["part"]: part for part in json.loads(capsys.readouterr().out)}


def flip(path: Path) -> bytes:
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return whole


def test_a_whole_run_is_whole(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, parts = verified(capsys, shop / "run")
    assert status == 0
    assert set(parts) == {"model", "index", "words"}
    assert all(part["damage"] is None and part["files"] > 1 and part["bytes"] > 1000 for part in parts.values())
    assert verified(capsys, f"faiss:{shop / 'run' / 'index'}")[1]["index"] == parts["index"]
    assert verified(capsys, shop / "run" / "index")[0] == 0
    assert call("verify", shop / "run") == 0
    assert capsys.readouterr().out.count("whole") == 3


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("model.safetensors", "model"),
        ("encoders/text/encoder.json", "model"),
        ("index/*/vectors.f32", "index"),
        ("index/*/wal", "index"),
        ("index/*/manifest.json", "index"),
        ("index/current", "index"),
        ("words/*/*/*.rows.npy", "words"),
    ],
)
def test_what_is_damaged_is_named(shop: Path, capsys: pytest.CaptureFixture[str], pattern: str, part: str) -> None:
    path = next((shop / "run").glob(pattern))
    whole = flip(path)
    try:
        status, parts = verified(capsys, shop / "run")
    finally:
        path.write_bytes(whole)
    assert status == 1
    assert {name for name, found in parts.items() if found["damage"]} == {part}
    assert str(path) in parts[part]["damage"]


def test_anything_else_is_one_sentence(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target in (shop, shop / "nothing", "faiss:nothing", "qdrant://localhost:6333"):
        assert call("verify", target) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
