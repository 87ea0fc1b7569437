"""The commands as a person types them: what they print, what they leave behind, how they refuse."""

import errno
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from catalog.picture_files import BAD_FILES
from cli.commands import run_command
from model.shape_catalogue import write_catalogue

from likewise.cli.app import app, main
from likewise.progress import console
from likewise.serving.keys import Keys

COMMANDS = (
    "photos",
    "doctor",
    "new",
    "train",
    "evaluate",
    "compare",
    "encode",
    "index",
    "search",
    "recommend",
    "sample",
    "demo",
    "serve",
    "key",
    "mcp",
    "verify",
)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the catalogue of shapes, a trained and indexed run, and a cache."""
    folder = tmp_path_factory.mktemp("cli")
    data = write_catalogue(folder)
    config = folder / "c.yaml"
    config.write_text("epochs: 3\nthreads: 1\nprecision: float32\nmodel: {dim: 64}\n", encoding="utf-8")
    run_command(
        *("train", data, "--output", folder / "run", "--preset", "scratch", "--config", config),
        *("--split", "part", "--epochs", "4", "--cache", folder / "cache"),
    )
    run_command("index", folder / "run", "--data", data, "--cache", folder / "cache")
    return folder


def refused(capsys, *arguments: object) -> str:
    """The one line with which a mistake is refused."""
    capsys.readouterr()
    console.file = None
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert end.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines, "nothing was said"
    assert lines[-1].startswith("likewise: ")
    assert "Traceback" not in "\n".join(lines)
    return lines[-1]


def printed_json(capsys, *arguments: object):
    capsys.readouterr()
    run_command(*arguments)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command, capsys):
    run_command(command, "--help")
    assert f"Example: likewise {command} " in capsys.readouterr().out


def test_every_command_is_known():
    assert {name for name in app if not name.startswith("-")} == set(COMMANDS)


def test_a_damaged_picture_is_counted_and_causes_no_warning(tmp_path):
    (tmp_path / "damaged.jpg").write_bytes(BAD_FILES["damaged.tif"][0])
    (tmp_path / "shop.csv").write_text("title,image\ntea,damaged.jpg\n")
    command = [sys.executable, "-m", "likewise.cli", "doctor", tmp_path / "shop.csv", "--cache", tmp_path / "cache"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert '"broken": 1' in done.stdout
    assert done.stderr == ""


def test_doctor_counts_rows_usable_items_and_problems(workplace, capsys):
    report = printed_json(capsys, "doctor", workplace / "shapes.csv", "--json", "--cache", workplace / "cache")
    assert report["rows"] == 60
    assert report["usable"] == 60
    assert report["problems"]["blank-title"] == 1
    assert report["problems"]["blank-image"] == 2
    run_command("doctor", workplace / "shapes.csv", "--cache", workplace / "cache")
    assert "60 usable items from 60 rows" in capsys.readouterr().out


def test_train_leaves_a_whole_run(workplace):
    run = workplace / "run"
    for name in ("config.yaml", "model.safetensors", "metrics.json", "report.html", "README.md"):
        assert (run / name).stat().st_size > 0
    config = (run / "config.yaml").read_text(encoding="utf-8")
    assert "scratch-image" in config  # the preset
    assert "dim: 64" in config  # the file wins over the preset
    assert "epochs: 4" in config  # the flag wins over the file


def test_search_by_words_picture_and_both(workplace, capsys):
    run, picture = workplace / "run", workplace / "20.png"
    hits = printed_json(capsys, "search", run, "a red circle", "-k", 3, "--json")
    assert len(hits) == 3
    assert set(hits[0]) == {"id", "score", "title"}
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    hits = printed_json(capsys, "search", run, "--image", picture, "--json")
    assert len(hits) == 10
    assert printed_json(capsys, "search", run, "large", "--image", picture, "--image-weight", "0.9", "--json")


def test_encode_writes_ids_and_vectors(workplace, capsys):
    target = workplace / "vectors.parquet"
    run_command(
        *("encode", workplace / "run", "--data", workplace / "shapes.csv", "--output", target),
        *("--fields", "image", "--cache", workplace / "cache"),
    )
    table = pl.read_parquet(target)
    assert table.columns == ["id", "vector"]
    assert len(table) == 60 - 2 - 1  # two items without a picture, one with a broken one
    lengths = table["vector"].to_numpy() ** 2
    assert lengths.sum(axis=1) == pytest.approx(1.0, abs=1e-4)


def test_encode_cuts_vectors_short(workplace, capsys):
    target = workplace / "short.parquet"
    options = ("--data", workplace / "shapes.csv", "--output", target, "--cache", workplace / "cache")
    run_command("encode", workplace / "run", *options, "--dim", "8")
    vectors = np.stack(pl.read_parquet(target)["vector"].to_list())
    assert vectors.shape[1] == 8
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("question", "candidates"),
    [
        (("--fields", "image"), 60),
        (("--queries", "column:title", "--relevance", "part"), 60),
        (("--answers", "column:title", "--fields", "image"), 58),
        (("--answers", "column:part"), 3),
    ],
)
def test_evaluate_measures_the_run_beside_its_baselines(workplace, capsys, question, candidates):
    command = ("evaluate", workplace / "run", "--data", workplace / "shapes.csv", "--cache", workplace / "cache")
    figures = printed_json(capsys, *command, *question, "--json")
    assert figures["candidates"] == candidates
    assert 0 <= figures["metrics"]["recall@10"]["low"] <= figures["metrics"]["recall@10"]["high"] <= 1
    assert {"untrained", "ridge", "kernel ridge", "start"} <= set(figures["baselines"])
    assert figures["training_verdict"] in ("better", "no difference", "worse")
    assert ("BM25" in figures["baselines"]) == ("image" not in question)
    assert figures["verdict"] in ("better", "no difference", "worse")


def test_evaluate_reads_judged_queries(workplace, capsys):
    judged = workplace / "queries.csv"
    judged.write_text("query,id\na large red circle,s0\na small red bar,s7\nsomething else,unknown\n", encoding="utf-8")
    command = ("evaluate", workplace / "run", "--data", workplace / "shapes.csv", "--cache", workplace / "cache")
    figures = printed_json(capsys, *command, "--queries", judged, "--json")
    assert figures["queries"] == 2


def test_evaluate_hides_the_field_that_is_asked_for(workplace, capsys):
    """With its own title in sight every item would be found by BM25."""
    command = ("evaluate", workplace / "run", "--data", workplace / "shapes.csv", "--cache", workplace / "cache")
    hidden = printed_json(capsys, *command, "--queries", "column:title", "--json")
    shown = printed_json(capsys, *command, "--queries", "column:title", "--fields", "title", "--json")
    assert "title" not in hidden["on"].split(", asked")[0]
    assert shown["baselines"]["BM25"]["recall@1"]["mean"] > hidden["baselines"]["BM25"]["recall@1"]["mean"]


def test_demo_serves_a_page(workplace, capsys):
    capsys.readouterr()
    console.file = None
    run_command("demo", workplace / "run", "--port", "0", "--check", "--cache", workplace / "cache")
    assert "The page answers on http://127.0.0.1:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("doctor", "nowhere.csv"), "nowhere.csv"),
        (("doctor",), "FILE"),
        (("train", "{data}", "--output", "{new}", "--preset", "huge"), "presets are lite, multilingual-lite, scratch"),
        (("train", "{data}", "--output", "{new}", "--epochs", "many"), "epochs"),
        (("train", "{data}", "--output", "{new}", "--epochs", "-1"), "epochs"),
        (("train", "{data}", "--output", "{new}", "--where", "part == "), "part =="),
        (("train", "{data}", "--output", "{new}", "--where", "prt == 1"), "did you mean part?"),
        (("train", "{data}", "--output", "{new}", "--split", "size"), "size"),
        (("train", "{data}", "--output", "{new}", "--map", "title"), "title=product_name"),
        (("train", "{data}", "--output", "{new}", "--map", "title=tilte"), "title"),
        (("train", "{data}", "--output", "{folder}"), "is not a run folder"),
        (("train", "{data}", "--output", "{run}", "--preset", "scratch", "--epochs", "9"), "another training"),
        (("index", "{folder}", "--data", "{data}"), "model.safetensors"),
        (("search", "{run}"), "words, a picture or both"),
        (("search", "{run}", "red", "-k", "0"), "k must be at least 1"),
        (("search", "{run}", "--image", "{data}"), "picture"),
        (("search", "{run}", "--image", "gone.png"), "gone.png"),
        (("evaluate", "{run}", "--data", "{data}", "--fields", "smell"), "title, description, image"),
        (("evaluate", "{run}", "--data", "{data}", "--queries", "column:nothing"), "nothing"),
        (("evaluate", "{run}", "--data", "{data}", "--answers", "titles"), "column:NAME"),
        (("encode", "{run}", "--data", "{data}", "--output", "{data}/x.parquet"), "x.parquet"),
        (("encode", "{run}", "--data", "{data}", "--output", "{new}", "--dim", "0"), "dim must be between 1 and"),
        (("index", "{run}", "--data", "{data}", "--update", "--dim", "8"), "--update keeps the dimensions"),
        (("index", "{run}", "--data", "{data}", "--prune"), "--prune applies to --update"),
        (("sample", "animals", "{new}"), "openmoji"),
        (("demo", "{run}", "--host", "0.0.0.0"), "127.0.0.1"),
        (("publish", "{run}"), "doctor, new, train"),
        (("serve", "{run}", "--host", "0.0.0.0"), "name keys with --keys FILE"),
        (("serve", "{run}", "--keys", "{new}"), "cannot read the keys"),
        (("serve", "{run}", "--keys", "{data}"), "line 1"),
        (("serve", "{run}", "--rate", "0"), "--rate must be above 0"),
        (("serve", "{run}", "--max-concurrent", "0"), "--max-concurrent must be at least 1"),
        (("serve", "{run}", "--allow-origin", "*"), "--allow-origin takes an origin"),
        (("key", "{new}", "--name", "two words"), "the name of a key"),
        (("key", "{folder}"), "cannot add a key"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(workplace, capsys, tmp_path, arguments, says):
    places = {
        "data": workplace / "shapes.csv",
        "run": workplace / "run",
        "new": tmp_path / "new",
        "folder": workplace,
    }
    assert says in refused(capsys, *(argument.format(**places) for argument in arguments))


@pytest.mark.parametrize(
    ("word", "foreign"),
    [("Αδιάβροχα μποτάκια", True), ("女士防水登山鞋", True), ("👟🔥🥾", True), ("Waterproof boots", False)],
    ids=["Greek", "Chinese", "emoji", "English"],
)
def test_the_doctor_warns_of_text_that_the_encoder_does_not_speak(tmp_path, capsys, word, foreign):
    data = tmp_path / "items.csv"
    rows = ["Hiking boots for women"] * 5 + [word] * 10
    data.write_text("id,title\n" + "\n".join(f"{number},{row}" for number, row in enumerate(rows)), encoding="utf-8")
    run_command("doctor", data, "--cache", tmp_path / "cache")
    out = " ".join(capsys.readouterr().out.split())
    warning = f"Warning: about 67% of the texts, such as '{word}', seem to be in a language or script that the text"
    assert (warning in out) == foreign
    assert ("--preset multilingual" in out) == foreign


TRAINING = ("--preset", "scratch", "--config", "{config}", "--split", "part", "--epochs", "1", "--cache", "{cache}")


@pytest.fixture
def small_files():
    """No file can grow beyond so many bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("size", "arguments", "named"),
    [
        (100, ("train", "{data}", "--output", "{new}", *TRAINING), "new/training/environment.json"),
        (100_000, ("train", "{data}", "--output", "{new}", *TRAINING), "new/training/closed_forms.safetensors"),
        (1_000_000, ("train", "{data}", "--output", "{new}", *TRAINING), "new/model.safetensors"),
        (100, ("doctor", "{data}", "--cache", "{new}"), "new/pictures"),
        (100, ("encode", "{run}", "--data", "{data}", "--output", "{new}", "--cache", "{cache}"), "cache/pictures"),
        (100, ("recommend", "{run}", "--output", "{new}"), "new"),
        (1000, ("sample", "openmoji", "{new}"), ".png"),
    ],
)
def test_a_disk_that_is_full_is_one_line_with_the_way_out(
    workplace, capsys, tmp_path, small_files, size, arguments, named
):
    places = {"data": workplace / "shapes.csv", "run": workplace / "run", "new": tmp_path / "new"}
    places |= {"cache": workplace / "cache", "config": workplace / "c.yaml"}
    small_files(size)
    said = refused(capsys, *(argument.format(**places) for argument in arguments))
    assert said.startswith("likewise: cannot write ")
    assert named in said
    assert "use a folder on another" in said


def test_an_error_that_nobody_has_explained_is_one_line(workplace, capsys, tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError(errno.EACCES, "denied", str(tmp_path / "somewhere"))

    monkeypatch.setattr("likewise.training.resume.lock", fail)
    said = refused(capsys, "train", workplace / "shapes.csv", "--output", tmp_path / "new")
    assert said == f"likewise: cannot use {tmp_path}/somewhere: Permission denied; use a folder that you may write to"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_one_line(workplace):
    command = [sys.executable, "-m", "likewise.cli", "search", str(workplace / "run"), "red", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("likewise: cannot write to a file or to the output: No space left on device; free")
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_cannot_be_written_is_refused_before_the_work(workplace, capsys, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(Path, "mkdir", fail)
    monkeypatch.setattr("likewise.model.model.Model.load", lambda *_: pytest.fail("the model was loaded before"))
    for command in (("encode", "{run}", "--data", "{data}"), ("recommend", "{run}")):
        arguments = [part.format(run=workplace / "run", data=workplace / "shapes.csv") for part in command]
        said = refused(capsys, *arguments, "--output", workplace / "vectors.parquet")
        way_out = "use a folder that you may write to"
        assert said == f"likewise: cannot write {workplace}/vectors.parquet: Permission denied; {way_out}"


def test_an_index_of_another_model_is_refused(workplace, capsys, tmp_path):
    import shutil

    other = tmp_path / "other"
    config = tmp_path / "c.yaml"
    config.write_text("threads: 1\nprecision: float32\nmodel: {dim: 64}\n", encoding="utf-8")
    run_command(
        *("train", workplace / "shapes.csv", "--output", other, "--preset", "scratch", "--config", config),
        *("--split", "part", "--epochs", "1", "--seed", "1", "--cache", workplace / "cache"),
    )
    shutil.copytree(workplace / "run" / "index", other / "index")
    assert "another model" in refused(capsys, "search", other, "red")


def test_config_with_an_unknown_key_names_the_nearest(workplace, capsys, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("epoch: 3\n", encoding="utf-8")
    said = refused(capsys, "train", workplace / "shapes.csv", "--output", tmp_path / "run", "--config", config)
    assert "did you mean epochs?" in said


def test_a_key_is_shown_once_and_its_hash_is_kept(tmp_path, capsys):
    file = tmp_path / "keys.txt"
    for options in (["--name", "shop"], ["--name", "loader", "--write"]):
        run_command("key", file, *options)
        key = capsys.readouterr().out.strip()
        assert key not in file.read_text()
        assert Keys.collect(file=file).find(key.encode()).name == options[1]
    assert [line.split()[0] for line in file.read_text().splitlines()] == ["read", "write"]
    assert file.stat().st_mode & 0o077 == 0
