"""A run without a training: it opens, it is measured as what it is, and it takes no other folder's place."""

import json

import pytest
from conftest import one_torch_thread
from model.shape_catalogue import write_catalogue

from likewise.catalog.catalog import Catalog
from likewise.errors import UserError
from likewise.evaluation.evaluate import evaluate_run
from likewise.evaluation.report import space_map
from likewise.evaluation.report.evaluation_report import write_evaluation
from likewise.evaluation.results import RunMetrics
from likewise.evaluation.task import TaskOptions
from likewise.evaluation.untrained_run import create_run
from likewise.model.model import Model
from likewise.model.run_folder import check_run


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with one_torch_thread():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained") / "shop"
    create_run(folder, "scratch", device="cpu", cache=folder.parent / "cache")
    return folder


def test_it_opens_like_any_run(run):
    assert "metrics.json" in check_run(run)
    assert not RunMetrics.read(run).trained
    assert Model.load(run, "cpu").fingerprint == Model.load(run, "cpu").fingerprint


def test_its_figures_say_that_nothing_was_trained(run, tmp_path, monkeypatch):
    monkeypatch.setattr(space_map, "_umap_is_installed", lambda: False)  # the first UMAP takes its time
    catalog = Catalog.read(write_catalogue(tmp_path), cache=tmp_path / "cache")
    model = Model.load(run, "cpu")
    task = TaskOptions(catalog, model.fields).build()
    evaluation = evaluate_run(run, model, task)
    assert [system.name for system in evaluation.comparison.subsets[0].systems] == ["untrained", "BM25"]
    assert evaluation.comparison.sentence.startswith("Verdict (nothing was trained): ")
    assert evaluation.comparison.training_sentence is None
    assert set(json.loads(json.dumps(evaluation.as_dict()))["baselines"]) == {"BM25"}
    report = write_evaluation(tmp_path / "report.html", run, model, evaluation).read_text()
    assert "Nothing was trained" in report and "Trained model" not in report and "The trained model" not in report


@pytest.mark.parametrize("there", ["metrics.json", "photo.jpg"])
def test_a_folder_that_holds_something_is_left_alone(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(UserError, match="is not empty: choose another folder"):
        create_run(tmp_path, "scratch", device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_a_file_is_no_folder_for_a_run(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        create_run(tmp_path / "run", "scratch", device="cpu")


def test_an_unknown_preset_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"unknown preset 'light': did you mean lite.* multilingual-lite, scratch"):
        create_run(tmp_path / "run", "light")
    assert not (tmp_path / "run").exists()
