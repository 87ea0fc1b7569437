"""After encoders have trained on titles that do not repeat: what validation rows leave in the model."""

import itertools

import numpy as np
import pytest
import torch
from model.shape_catalogue import COLOURS, SHAPES, catalogue_of, draw
from training.tiny_config import TINY

from likewise.evaluation.evaluate import create_untrained
from likewise.model.closed_forms import load_closed_forms
from likewise.model.heads import KernelMap
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.training import moved_features
from likewise.training.moved_features import AGAIN, START, TRAINED, choose
from likewise.training.train import train
from likewise.training.validation import ValidationScores

PARTIAL = TINY.model_copy(
    update={"split": None, "epochs": 1, "regime": "partial", "hflip_augment": False, "encoder_learning_rate": 1e-2}
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """60 items, each with a title of its own."""
    rows = [
        {
            "title": f"{size} {colour} {shape}",
            "description": f"A {shape}. It is {colour} all over.",
            "image_url": draw(colour, shape, radius),
        }
        for (size, radius), colour, shape in itertools.product({"small": 12, "large": 26}.items(), COLOURS, SHAPES)
    ]
    return catalogue_of(tmp_path_factory.mktemp("distinct"), rows)


@pytest.mark.parametrize("chosen", [START, AGAIN, TRAINED])
def test_what_is_chosen_is_the_model_and_said(catalog, tmp_path, monkeypatch, chosen):
    monkeypatch.setattr(moved_features, "choose", lambda scores: chosen)
    with quiet():
        run = train(catalog, tmp_path / "run", PARTIAL)
    [sentence] = [note for note in run.metrics.notes if "Validation rows" in note]
    assert f"chose {chosen}" in sentence and sentence in (run.path / "report.html").read_text()
    card = (run.path / "README.md").read_text()
    assert ("was kept" in card) == (run.metrics.best_epoch is not None) == (chosen == TRAINED)
    if chosen == TRAINED:
        assert [point.alpha for point in run.metrics.frontier.points] == [0.0, 0.25, 0.5, 0.75, 1.0]
        assert {"all", "image"} <= set(run.metrics.frontier.points[0].metrics)
    else:
        assert run.metrics.frontier is None
    model = Model.load(run.path)
    moved = model.encoder("image").fingerprint() != create_untrained(model).encoder("image").fingerprint()
    base = model.network.base_map("image")
    assert moved == (chosen != START) and isinstance(base, KernelMap) == (chosen != TRAINED)
    if chosen != TRAINED:
        kernel = load_closed_forms(run.path, create_untrained(model).network)["kernel ridge"]["image"]
        same = torch.allclose(base.examples, kernel.examples, atol=1e-3)  # kept in half precision
        assert same == (chosen == START), "fitted on the features as they are"
    scored = float(sentence.split(f"{chosen} ")[-1].split(",")[0].rstrip("."))
    assert 0 < scored <= 1 and np.isfinite(model.encode_items(catalog)).all()


def test_the_start_is_kept_unless_something_scores_higher_and_loses_nowhere():
    rng = np.random.default_rng(0)
    luck = {subset: rng.normal(0.5, 0.1, 100) for subset in ("all", "text")}

    def scored(everywhere, text):
        noise = rng.normal(0.0, 0.01, 100)
        noise -= noise.mean()
        return ValidationScores({"all": luck["all"] + everywhere + noise, "text": luck["text"] + text + noise})

    start = ValidationScores(luck)
    assert choose({START: start, AGAIN: scored(-0.01, -0.01), TRAINED: scored(0.3, -0.05)}) == START
    assert choose({START: start, AGAIN: scored(0.01, 0.0), TRAINED: scored(0.3, -0.05)}) == AGAIN
    assert choose({START: start, AGAIN: scored(0.01, 0.0), TRAINED: scored(0.3, 0.05)}) == TRAINED
    assert choose({START: start, AGAIN: start, TRAINED: start}) == START
