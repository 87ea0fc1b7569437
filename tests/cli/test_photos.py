"""From a folder of pictures to a page in one command, and commands on files of weights where a run is named."""

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from catalog.picture_files import encoded, photo
from cli.commands import run_command

from likewise.catalog.catalog import Catalog
from likewise.cli.app import main
from likewise.cli.photos import _hold_run, _name_run, _open_or_build
from likewise.model.model import Model
from likewise.model.portable import EncodedItems, load_portable, save_portable
from likewise.progress import console


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    console.file = None
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert end.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    console.file = None
    run_command(*arguments)
    return capsys.readouterr().err


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for seed, place in enumerate(["red bicycle.png", "holiday-2021/IMG_beach.png", "holiday-2021/IMG_0001.png"]):
        path = tmp_path / "album" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(photo(seed=seed)))
    return tmp_path / "album"


def test_a_folder_is_searched_in_one_command(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("photos", album, "--preset", "scratch", "--check", "--port", "0", "--cache", tmp_path / "cache")
    killed = tmp_path / "cache" / "photos" / _name_run(str(album), "scratch")
    (killed / "encoders").mkdir(parents=True)  # as a start leaves it that was killed early
    first = said(capsys, *command)
    assert "words find pictures only after a training" in first
    assert "3 pictures can be searched" in first
    assert "The page answers on http://127.0.0.1:" in first
    (run,) = (path for path in (tmp_path / "cache" / "photos").iterdir() if path.is_dir())
    assert run.name.startswith("album-")
    before = {path.name for path in album.rglob("*")}
    (album / "blue kite.png").write_bytes(encoded(photo(seed=8)))
    (album / "red bicycle.png").unlink()
    capsys.readouterr()
    _open_or_build(run, Catalog.read(album, cache=tmp_path / "cache"), "scratch", "cpu", tmp_path / "cache")
    assert "1 new, 0 changed, 0 with other metadata, 1 removed, 2 unchanged" in capsys.readouterr().err
    assert {path.name for path in album.rglob("*")} - before == {"blue kite.png"}, "nothing is written there"
    run_command("search", run, "blue kite", "--hybrid", "--json", "-k", "1")
    assert json.loads(capsys.readouterr().out)[0]["id"] == "blue kite.png"
    shutil.rmtree(run / "index")
    (run / "store.json").unlink()  # as after a run that was killed before its index was finished
    catalog = Catalog.read(album, cache=tmp_path / "cache")
    assert len(_open_or_build(run, catalog, "scratch", "cpu", tmp_path / "cache")) == 3


def test_two_first_starts_for_the_same_folder_take_turns(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("photos", album, "--preset", "scratch", "--check", "--port", "0", "--cache", tmp_path / "cache")
    run = tmp_path / "cache" / "photos" / _name_run(str(album), "scratch")
    capsys.readouterr()
    console.file = None
    with ThreadPoolExecutor(1) as second:
        with _hold_run(run):  # as the first start does, which has not got far yet
            (run / "encoders").mkdir(parents=True)
            started = second.submit(run_command, *command)
            assert "Waiting for another start" in wait_for(lambda: capsys.readouterr().err, "Waiting")
            assert (run / "encoders").is_dir(), "what the first start is writing stays"
        started.result(timeout=60)
    assert (run / "model.safetensors").is_file()


def wait_for(read: Callable[[], str], word: str) -> str:
    said, deadline = "", time.monotonic() + 30
    while word not in said and time.monotonic() < deadline:
        said += read()
        time.sleep(0.02)
    return said


def test_photos_refuses_what_it_cannot_search(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert "did you mean lite?" in refused(capsys, "photos", album, "--preset", "light")
    assert "without pictures" in refused(capsys, "photos", tmp_path / "empty")
    assert "there is no file" in refused(capsys, "photos", tmp_path / "nowhere")
    assert "allow that with --allow-buckets" in refused(capsys, "photos", "s3://shop/products.csv")
    assert "allow that with --allow-buckets" in refused(capsys, "doctor", "gs://shop/products.csv")


@pytest.fixture
def weights(album: Path, tmp_path: Path) -> Path:
    catalog = Catalog.read(album, cache=tmp_path / "cache")
    model = Model.create("scratch", "cpu", {"text": "float32", "image": "float32"})
    items = EncodedItems(model.encode_items(catalog), catalog.table, [shown[0] for shown in catalog.pictures])
    save_portable(tmp_path / "model_weights.pt", model, items, cache=catalog.cache)
    return tmp_path / "model_weights.pt"


def test_a_file_of_weights_is_searched_evaluated_and_shown(
    weights: Path, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run_command("search", weights, "--image", album / "red bicycle.png", "--json", "-k", "2")
    assert json.loads(capsys.readouterr().out)[0]["title"] == "red bicycle"
    (tmp_path / "queries.csv").write_text("query,id\nbeach,holiday-2021/IMG_beach.png\n")
    options = ("--data", album, "--cache", tmp_path / "cache")
    run_command(
        "evaluate", weights, *options, "--queries", tmp_path / "queries.csv", "--json", "--report", tmp_path / "r.html"
    )
    figures = json.loads(capsys.readouterr().out)
    assert (figures["queries"], figures["candidates"]) == (1, 3)
    assert (tmp_path / "r.html").is_file()
    assert "The page answers on" in said(capsys, "demo", weights, "--check", "--port", "0")
    run_command("encode", weights, *options, "--output", tmp_path / "vectors.parquet")
    assert (tmp_path / "vectors.parquet").is_file()


def test_index_fills_a_file_of_weights_anew(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fingerprint = load_portable(weights, tmp_path / "a", "cpu")[0].fingerprint
    (tmp_path / "products.csv").write_text("id,title,price\n1,green kettle,5\n2,blue kettle,6\n")
    said(capsys, "index", weights, "--data", tmp_path / "products.csv", "--cache", tmp_path / "cache")
    model, items = load_portable(weights, tmp_path / "b", "cpu")
    assert model.fingerprint == fingerprint
    assert items.table["title"].to_list() == ["green kettle", "blue kettle"]
    run_command("search", weights, "green kettle", "--json", "--where", "price < 6")
    assert [hit["id"] for hit in json.loads(capsys.readouterr().out)] == ["1"]


def test_what_a_file_of_weights_cannot_do_is_said(
    weights: Path, album: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--store applies to a run folder" in refused(capsys, "search", weights, "red", "--store", "faiss:x")
    for option in (("--update",), ("--dim", "8"), ("--store", "faiss:x"), ("--no-field-vectors",)):
        assert "omit other options" in refused(capsys, "index", weights, "--data", album, *option)
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "is damaged" in refused(capsys, "search", weights, "red")
