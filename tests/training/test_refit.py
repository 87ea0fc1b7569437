"""Where validation rows chose, the model in the run is fitted again on all rows, with what they chose."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from model.shape_catalogue import catalogue_of, draw_repeated_titles
from safetensors.torch import load_file
from training.tiny_config import TINY

from likewise.cli.app import main
from likewise.evaluation.evaluate import create_untrained
from likewise.evaluation.report import space_map
from likewise.model.closed_forms import load_closed_forms
from likewise.model.heads import PictureMap
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.training import learned_items, refit, train

BRIEF = TINY.model_copy(update={"split": None, "epochs": 4, "refit": True})


@pytest.fixture(autouse=True)
def silence():
    with quiet():
        yield


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """105 pictures of 15 things: titles repeat."""
    return catalogue_of(tmp_path_factory.mktemp("repeated"), draw_repeated_titles())


@pytest.fixture(scope="module")
def refitted(catalog, tmp_path_factory):
    with quiet():
        return train.train(catalog, tmp_path_factory.mktemp("runs") / "refitted", BRIEF)


@pytest.fixture
def fitted(monkeypatch):
    """The rows and the stages that `refit_heads` fits."""
    found, fit = [], refit.fit

    def spy(objective, optimizer, stage, run, state, validate, **options):
        fit(objective, optimizer, stage, run, state, validate, **options)
        found.append((objective.data.rows, state))

    monkeypatch.setattr(refit, "fit", spy)
    return found


def weights_of(run):
    return load_file(run.path / "model.safetensors")


def test_all_rows_are_fitted_and_the_figures_stay_those_of_the_measured_model(refitted, catalog, tmp_path):
    metrics = refitted.metrics
    assert metrics.refit_items == len(catalog) > metrics.data.training_items and metrics.cross_validation is None
    before = train.train(catalog, tmp_path / "run", BRIEF.model_copy(update={"refit": False}))
    assert before.metrics.refit_items is None
    assert before.metrics.comparison == metrics.comparison and before.metrics.threshold == metrics.threshold
    ours, theirs = weights_of(refitted), weights_of(before)
    assert ours.keys() == theirs.keys()
    assert not torch.equal(ours["heads.image.base.weight"], theirs["heads.image.base.weight"])
    sentence = f"on {len(catalog)} items"
    for name in ("report.html", "README.md"):
        text = " ".join((refitted.path / name).read_text().split())
        assert f"belong to the model that was trained on {metrics.data.training_items} items" in text
        assert sentence in text and sentence not in (before.path / name).read_text()
    assert Model.load(refitted.path).encode_items(catalog).shape == (len(catalog), 64)


def test_whoever_evaluates_on_what_the_model_was_fitted_on_is_told(refitted, catalog, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("likewise.cli.evaluate.say", said.append)
    monkeypatch.setattr(space_map, "_umap_is_installed", lambda: False)

    def told(source, *more, items=None):
        said.clear()
        page = tmp_path / "page.html"
        options = ["--data", str(source), "--cache", str(catalog.cache), "--report", str(page), "--json", *more]
        with pytest.raises(SystemExit, match="0"):
            main(["evaluate", str(refitted.path), *options])
        sentence = f"The model was fitted on {items or len(catalog)} of these items after its training had measured it"
        shown = sentence in " ".join(page.read_text().split())
        assert shown == any(sentence in line for line in said)
        return shown

    assert told(catalog.source)
    lines = catalog.source.read_text().splitlines()
    fewer = catalog.source.with_name("fewer.csv")
    fewer.write_text("\n".join(lines[:-1]))
    assert told(fewer, items=len(catalog) - 1)
    assert told(catalog.source, "--where", 'part == "test"', items=len(catalog.where('part == "test"')))
    others = catalog.source.with_name("others.csv")
    others.write_text("\n".join(lines[:1] + [line.replace("A ", "Another ") for line in lines[1:]]))
    assert not told(others)
    damaged = refitted.path / learned_items.FILE
    content = damaged.read_bytes()
    try:
        damaged.write_bytes(content[:-3])
        assert told(catalog.source) and not told(fewer)  # as in a run of an older version
    finally:
        damaged.write_bytes(content)


def test_where_all_rows_have_trained_already_nothing_is_fitted_again():
    rows = np.arange(5)
    context = SimpleNamespace(
        model=SimpleNamespace(network=None),
        processes=None,
        split=SimpleNamespace(unreserved=rows),
        data=SimpleNamespace(rows=rows),
    )
    assert refit.refit_stacked(context, None, None, None) is None
    assert refit.refit_heads(context, None, None, None) is None


def test_it_trains_as_many_epochs_as_were_chosen_from_the_same_start(catalog, tmp_path, fitted, monkeypatch):
    """The best checkpoint is made the second of four."""
    scores = iter([0.1, 0.2, 0.9, 0.1, 0.1])
    measure = train.fit

    def choose(objective, optimizer, stage, run, state, validate, **options):
        choice = lambda: torch.full((30,), next(scores)).numpy()  # noqa: E731
        measure(objective, optimizer, stage, run, state, choice, **options)

    monkeypatch.setattr(train, "fit", choose)
    run = train.train(catalog, tmp_path / "run", BRIEF)
    [(rows, state)] = fitted
    assert run.metrics.best_epoch == 2 and [entry["epoch"] for entry in state.history] == [0, 1, 2]
    assert len(rows) == len(catalog)
    rates = [epoch.learning_rate for epoch in run.metrics.history[1:3]]
    assert [entry["learning_rate"] for entry in state.history[1:]] == pytest.approx(rates, rel=0.2), "the same schedule"


def test_rows_that_a_column_marks_as_test_stay_out(catalog, tmp_path, fitted):
    run = train.train(catalog, tmp_path / "run", BRIEF.model_copy(update={"split": "part", "epochs": 1}))
    [(rows, _)] = fitted
    marked = {row for row, part in enumerate(catalog.column("part")) if part == "test"}
    assert not marked & set(rows.tolist()) and len(rows) == len(catalog) - len(marked) == run.metrics.refit_items


def test_a_training_that_was_killed_while_it_was_fitted_again_gives_the_same_model(
    refitted, catalog, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(refit, "move_weights", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.train(catalog, tmp_path / "run", BRIEF)
    assert not (tmp_path / "run" / "metrics.json").exists()
    again = train.train(catalog, tmp_path / "run", BRIEF)
    for name, weight in weights_of(refitted).items():
        assert torch.equal(weights_of(again)[name], weight), name


def test_where_encoders_train_the_measured_model_stays(catalog, tmp_path):
    brief = BRIEF.model_copy(update={"regime": "partial", "epochs": 1, "hflip_augment": False})
    partial = train.train(catalog, tmp_path / "run", brief)
    assert partial.metrics.refit_items is None and "refitting" not in partial.metrics.seconds


def test_the_interpolation_and_the_closed_forms_are_those_that_were_chosen(catalog, tmp_path, monkeypatch):
    """Where none of the training was kept, the refitted model is its start on all rows."""
    monkeypatch.setattr(
        refit, "move_weights", lambda network, before, alpha, move=refit.move_weights: move(network, before, 0.0)
    )
    run = train.train(catalog, tmp_path / "run", BRIEF)
    model = Model.load(run.path)
    start = load_closed_forms(run.path, create_untrained(model).network)["start"]
    assert set(start) == {"image"} and isinstance(start["image"], PictureMap)
    assert torch.equal(model.network.base_map("image").weight, start["image"].weight)
    assert not weights_of(run)["fusion.gates"].any()
