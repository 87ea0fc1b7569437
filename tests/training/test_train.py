"""From a catalogue to a run folder, as a user sees it."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from model.shape_catalogue import catalogue_of, draw
from safetensors.torch import load_file

from likewise.catalog.catalog import Catalog
from likewise.config import ModelSettings, TrainConfig
from likewise.encoders.scratch_image import ScratchImage
from likewise.errors import UserError
from likewise.evaluation.results import RunMetrics
from likewise.model.model import Model
from likewise.progress import console, quiet
from likewise.training import moved_features
from likewise.training.train import train


@pytest.fixture(autouse=True)
def silence():
    with quiet():
        yield


@pytest.fixture
def passes(monkeypatch):
    """Counts the pictures that go through the scratch encoder."""
    seen = []
    forward = ScratchImage.forward

    def counted(self, inputs):
        seen.append(len(inputs["pixels"]))
        return forward(self, inputs)

    monkeypatch.setattr(ScratchImage, "forward", counted)
    return seen


def brief(tiny, **changes):
    return tiny.model_copy(update={"epochs": 2, **changes})


def test_a_run_holds_everything(trained):
    names = {path.name for path in trained.path.iterdir()}
    assert {"config.yaml", "model.safetensors", "metrics.json", "report.html", "README.md", "encoders"} <= names
    assert not list(trained.path.rglob("*.tmp")) and not list(trained.path.rglob("*.new"))
    assert not (trained.path / "training" / "state.pt").exists()
    assert "<html" in (trained.path / "report.html").read_text()
    assert RunMetrics.read(trained.path) == trained.metrics


def test_the_config_reproduces_the_run(trained, shapes, tiny, tmp_path):
    config = TrainConfig.read(trained.path / "config.yaml")
    assert config.model == tiny.model and config.data == shapes.settings
    again = train(shapes, tmp_path / "again", config)
    assert (again.path / "model.safetensors").read_bytes() == (trained.path / "model.safetensors").read_bytes()


def test_the_metrics_tell_what_was_done(trained, shapes):
    metrics = trained.metrics
    data = metrics.data
    assert (data.items, data.training_items, data.validation_items, data.test_items) == (60, 40, 10, 10)
    assert data.query == "title" and "part" in data.split
    assert [epoch.epoch for epoch in metrics.history] == list(range(13))
    assert metrics.history[-1].loss < metrics.history[1].loss
    assert [subset.subset for subset in metrics.comparison.subsets] == ["all", "text", "image", "mixed"]
    everywhere = {system.name for system in metrics.comparison.subsets[0].systems}
    assert everywhere == {"trained", "untrained", "BM25", "ridge", "kernel ridge", "start"}
    assert "BM25" not in {system.name for system in metrics.comparison.subsets[2].systems}
    json.dumps(metrics.catalogue)
    assert {"pictures", "encoding", "baselines", "training", "evaluating"} <= set(metrics.seconds)


def test_it_learns_to_find_pictures(trained):
    image = next(subset for subset in trained.metrics.comparison.subsets if subset.subset == "image")
    ours, before = (image.system(name).metrics["mrr"].mean for name in ("trained", "untrained"))
    assert ours > before + 0.15
    assert ours > 0.5


def test_the_model_of_a_run_finds_shapes_by_words(trained):
    model = Model.load(trained.path, "cpu")
    pictures = [draw(colour, shape, 26) for colour, shape in (("red", "circle"), ("blue", "square"), ("black", "bar"))]
    scores = (
        model.encode_queries(["large red circle", "large blue square", "large black bar"])
        @ model.encode_images(pictures).T
    )
    assert (scores.argmax(axis=1) == np.arange(3)).all()


def test_in_frozen_the_encoders_stay_as_they_were(trained, tiny):
    untrained = Model.create(tiny.model, "cpu", {"text": "float32", "image": "float32"}, tiny.seed)
    saved = load_file(trained.path / "model.safetensors")
    before = untrained.network.state_dict()
    for name, tensor in before.items():
        if name.startswith("encoders."):
            assert torch.equal(saved[name], tensor), name
    heads = [name for name in saved if not name.startswith("encoders.")]
    assert any(name not in before or not torch.equal(saved[name], before[name]) for name in heads)


def test_a_second_training_reads_the_cache(trained, shapes, tiny, tmp_path, passes):
    train(shapes, tmp_path / "second", brief(tiny, seed=0, learning_rate=1e-3))
    assert passes == []


def test_a_finished_run_is_returned_at_once(trained, shapes, tiny, passes, monkeypatch):
    weights = trained.path / "model.safetensors"
    before = weights.stat().st_mtime_ns
    monkeypatch.setattr("likewise.training.train.prepare_training", None)  # nothing may be built
    assert train(shapes, trained.path, tiny).metrics == trained.metrics
    assert weights.stat().st_mtime_ns == before and passes == []


def test_another_setting_is_refused_and_restart_replaces(trained, shapes, tiny, tmp_path):
    run = shutil.copytree(trained.path, tmp_path / "run")
    changed = brief(tiny, epochs=1)
    with pytest.raises(UserError, match=r"epochs was 12 and is 1 now.*--restart"):
        train(shapes, run, changed)
    with pytest.raises(UserError, match=r"the catalogue's rows, or its queries, have changed"):
        train(shapes.select(range(50)), run, tiny)
    assert (run / "metrics.json").read_bytes() == (trained.path / "metrics.json").read_bytes()
    assert len(train(shapes, run, changed, restart=True).metrics.history) == 2


@pytest.fixture
def keep_trained(monkeypatch):
    """What trained is kept, even if it finds less than its start."""
    monkeypatch.setattr(moved_features, "choose", lambda scores: moved_features.TRAINED)


def test_the_regime_full_changes_the_encoders(shapes, tiny, tmp_path, passes, keep_trained):
    run = train(shapes, tmp_path / "full", brief(tiny, regime="full", epochs=1, encoder_learning_rate=1e-3))
    untrained = Model.create(tiny.model, "cpu", {"text": "float32", "image": "float32"}, tiny.seed)
    opened = Model.load(run.path, "cpu")
    for modality in ("text", "image"):
        assert opened.encoder(modality).fingerprint() != untrained.encoder(modality).fingerprint()
    assert sum(passes) > 40
    assert np.isfinite(opened.encode_queries(["red circle"])).all()
    assert run.metrics.comparison is not None


def changed_parts(run, tiny):
    """The parts of the encoders whose weights a training has changed."""
    untrained = Model.create(tiny.model, "cpu", {"text": "float32", "image": "float32"}, tiny.seed)
    opened = Model.load(run.path, "cpu")
    return {
        f"{modality}.{name}"
        for modality in ("text", "image")
        for name, weight in opened.encoder(modality).named_parameters()
        if not torch.equal(weight, untrained.encoder(modality).get_parameter(name))
    }


def test_the_regime_partial_changes_what_lies_behind_the_cut(shapes, tiny, tmp_path, passes, keep_trained):
    encoder = Model.create(tiny.model, "cpu", {"text": "float32", "image": "float32"}).encoder("image")
    behind = {f"image.{name}" for name in encoder.train_above(encoder.blocks - 1)}
    partial = brief(tiny, regime="partial", epochs=1, encoder_learning_rate=1e-3)
    assert changed_parts(train(shapes, tmp_path / "run", partial), tiny) == behind
    passes.clear()
    train(shapes, tmp_path / "again", brief(partial, seed=tiny.seed, learning_rate=1e-3))
    assert passes == []  # neither pictures nor mirror images pass the encoder once more


def test_a_cut_that_is_not_there_is_one_sentence(shapes, tiny, tmp_path):
    with pytest.raises(UserError, match=r"cut it at 0 to \d+, not 99"):
        train(shapes, tmp_path / "run", brief(tiny, regime="partial", image_cut=99))


def test_the_regime_partial_needs_pictures(shapes, tiny, tmp_path):
    words = tiny.model.model_copy(update={"fields": {"title": "text", "description": "text"}})
    with pytest.raises(
        UserError, match="regime partial trains the image encoder, but fields has no image: use frozen or full"
    ):
        train(shapes, tmp_path / "run", brief(tiny, regime="partial", model=words))


@pytest.mark.parametrize("regime", ["frozen", "partial", "full"])
def test_a_model_that_looks_closer_keeps_its_resolution(shapes, tiny, tmp_path, regime):
    closer = tiny.model.model_copy(update={"resolution": 120})
    run = train(shapes, tmp_path / "run", brief(tiny, model=closer, regime=regime, epochs=1))
    image = Model.load(run.path, "cpu").encoder("image")
    assert (image.grid, image.minimum_side) == ((10, 10), 120)


def test_a_loss_that_is_not_a_number_is_one_sentence_and_can_be_restarted(shapes, tiny, tmp_path):
    wild = brief(tiny, learning_rate=1e30)
    with pytest.raises(UserError, match=r"training stopped at step \d+: the loss is not a number; lower learning_rate"):
        train(shapes, tmp_path / "run", wild)
    assert not (tmp_path / "run" / "metrics.json").exists()
    train(shapes, tmp_path / "run", brief(tiny), restart=True)


def texts(count):
    colours, things = ("red", "green", "blue", "grey"), ("shoe", "hat", "lamp", "chair", "rug")
    return [
        {
            "title": f"{colours[n % 4]} {things[n % 5]} {n}",
            "description": f"A {things[n % 5]} that is {colours[n % 4]}.",
        }
        for n in range(count)
    ]


def test_a_catalogue_without_pictures_trains(tiny, tmp_path):
    catalogue = catalogue_of(tmp_path / "items", texts(30))
    run = train(catalogue, tmp_path / "run", brief(tiny, split=None))
    assert run.metrics.data.fields == ["title", "description"]
    assert [subset.subset for subset in run.metrics.comparison.subsets] == ["all"]
    assert np.isfinite(Model.load(run.path, "cpu").encode_items(catalogue)).all()


def test_a_language_that_the_encoder_does_not_know_is_said(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(console, "quiet", False)
    monkeypatch.setattr(console, "_file", None)
    title, description = "Водонепроницаемые ботинки для женщин", "Треккинговая обувь на каждый день, модель"
    rows = [{"title": f"{title} {row}", "description": f"{description} {row}"} for row in range(12)]
    settings = brief(tiny, split=None, model=ModelSettings(text_encoder="lite-text", fields=("title", "description")))
    train(catalogue_of(tmp_path / "items", rows), tmp_path / "run", settings)
    said = capsys.readouterr().err
    assert "Warning: about 100% of the texts" in said
    assert "choose one that has, such as that of --preset multilingual-lite" in said


def test_a_model_of_texts_ignores_the_pictures(shapes, tiny, tmp_path, passes):
    words_only = tiny.model.model_copy(update={"fields": {"title": "text", "description": "text"}})
    run = train(shapes, tmp_path / "run", brief(tiny, model=words_only))
    assert passes == []
    assert Model.load(run.path, "cpu").fields == ("title", "description")


def test_items_that_are_only_pictures_train_beside_the_others(tiny, tmp_path):
    rows = [row | {"image_url": draw(row["title"].split()[0].replace("grey", "black"), "bar")} for row in texts(20)]
    rows += [{"title": None, "description": None, "image_url": draw("purple", "cross", 8 + n)} for n in range(10)]
    catalogue = catalogue_of(tmp_path / "items", rows)
    run = train(catalogue, tmp_path / "run", brief(tiny, split=None))
    assert run.metrics.data.items == 30
    assert np.isfinite(Model.load(run.path, "cpu").encode_items(catalogue)).all()


def test_held_out_rows_without_titles_leave_no_verdict_but_a_model(tiny, tmp_path):
    rows = texts(16)
    for number in range(8, 16):
        rows[number] |= {"title": None, "part": "test"}
    for number in range(8):
        rows[number] |= {"part": "train"}
    catalogue = catalogue_of(tmp_path / "items", rows)
    run = train(catalogue, tmp_path / "run", brief(tiny))
    assert run.metrics.comparison is None
    assert run.metrics.best_epoch == 2
    assert Model.load(run.path, "cpu").encode_queries(["red"]).shape == (1, 64)


@pytest.mark.parametrize("rows", [2, 3, 4, 6])
def test_a_handful_of_items_trains(tiny, tmp_path, rows):
    catalogue = catalogue_of(tmp_path / "items", texts(rows))
    assert train(catalogue, tmp_path / "run", brief(tiny, split=None)).metrics.data.items == rows


def test_a_query_column_is_what_is_asked(tiny, tmp_path):
    rows = [
        row | {"query": f"something {row['title'].split()[0]} for me, number {n}"} for n, row in enumerate(texts(24))
    ]
    catalogue = catalogue_of(tmp_path / "items", rows)
    run = train(catalogue, tmp_path / "run", brief(tiny, split=None))
    assert run.metrics.data.query is None
    assert [subset.subset for subset in run.metrics.comparison.subsets] == ["all"]


@pytest.mark.parametrize("column", ["title", "description"])
def test_nothing_to_learn_from_is_one_sentence(tiny, tmp_path, column):
    if column == "title":
        catalogue = catalogue_of(tmp_path / "items", [{"title": f"item {n}"} for n in range(12)])
    else:
        catalogue = catalogue_of(tmp_path / "items", [{"title": None, "description": "One two."} for _ in range(12)])
    with pytest.raises(UserError, match="there is nothing to learn from: no row has two"):
        train(catalogue, tmp_path / "run", brief(tiny, split=None))


def test_a_picture_that_breaks_between_two_trainings_costs_nothing(shapes, tiny, tmp_path):
    folder = shutil.copytree(shapes.source.parent, tmp_path / "shapes")
    shutil.rmtree(folder / "cache", ignore_errors=True)  # it is there if another test trained before
    (folder / "30.png").write_bytes(b"GIF89a, not really")
    catalogue = Catalog.read(folder / "shapes.csv", cache=folder / "cache")
    run = train(catalogue, tmp_path / "run", brief(tiny))
    assert run.metrics.data.items == 60
    assert sum(run.metrics.catalogue["problems"].values()) >= 2


def test_tensorboard_events_are_written_on_request(shapes, tiny, tmp_path):
    from conftest import require

    try:
        import tensorboard  # noqa: F401

        installed = True
    except ImportError:
        installed = False
    require(installed, "tensorboard is not installed")
    run = train(shapes, tmp_path / "run", brief(tiny, epochs=1, tensorboard=True))
    assert list((run.path / "training" / "tensorboard").glob("events.*"))


def test_images_column_that_leads_nowhere_trains_on_texts(tiny, tmp_path):
    rows = [row | {"image_url": "missing.png"} for row in texts(20)]
    catalogue = catalogue_of(tmp_path / "items", rows)
    run = train(catalogue, tmp_path / "run", brief(tiny, split=None))
    assert run.metrics.catalogue["problems"]["without-picture"] == 20
    assert pl.read_csv(tmp_path / "items" / "items.csv").height == 20
