"""Where titles repeat and encoders stand still: kernel ridge in the place of what training left, by validation rows."""

import numpy as np
import pytest
from model.shape_catalogue import catalogue_of, draw_repeated_titles
from training.tiny_config import TINY

from likewise.evaluation.evaluate import create_untrained
from likewise.model.closed_forms import load_closed_forms
from likewise.model.heads import KernelMap
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.training import closed_form_heads
from likewise.training.closed_form_heads import _gains
from likewise.training.train import train
from likewise.training.validation import ValidationScores

BRIEF = TINY.model_copy(update={"split": None, "epochs": 2, "refit": True})
NOTHING, PICTURE, WORDS, WHOLE = "nothing", "the picture", "the description", "whole"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """105 pictures of 15 things: titles repeat."""
    return catalogue_of(tmp_path_factory.mktemp("repeated"), draw_repeated_titles())


@pytest.mark.parametrize("chosen", [NOTHING, PICTURE, WORDS, WHOLE])
@pytest.mark.parametrize("refits", [False, True])
def test_what_is_chosen_is_the_model_that_is_saved_and_said(catalog, tmp_path, monkeypatch, chosen, refits):
    picture, words, trained = chosen == PICTURE, chosen == WORDS, chosen != WHOLE
    asked = iter([picture, words, trained])  # the last is what was trained against all closed forms together
    monkeypatch.setattr(closed_form_heads, "_gains", lambda score, best: next(asked))
    with quiet():
        run = train(catalog, tmp_path / "run", BRIEF.model_copy(update={"refit": refits}))
    assert next(asked, None) is None
    sentences = [note for note in run.metrics.notes if "Validation rows chose kernel ridge" in note]
    assert len(sentences) == (chosen != NOTHING)
    assert all(sentence in (run.path / "report.html").read_text() for sentence in sentences)
    assert (run.metrics.best_epoch is None) == (run.metrics.frontier is None) == (chosen == WHOLE)
    network = Model.load(run.path).network
    kernels = {field for field in network.fields if isinstance(network.base_map(field), KernelMap)}
    assert (
        kernels == {NOTHING: set(), PICTURE: {"image"}, WORDS: {"description"}, WHOLE: {"image", "description"}}[chosen]
    )
    assert run.metrics.refit_items == (len(catalog) if refits else None)
    untrained = create_untrained(Model.load(run.path))
    texts = ["red circle", "blue square"]
    same = np.allclose(Model.load(run.path).encode_queries(texts), untrained.encode_queries(texts), atol=1e-5)
    assert same == (chosen == WHOLE), "the query tower is the untrained one where nothing trained is left"
    if chosen == WHOLE:
        with untrained.network.with_base_maps(load_closed_forms(run.path, untrained.network)["kernel ridge"]):
            expected = untrained.encode_items(catalog)
        assert Model.load(run.path).encode_items(catalog) == pytest.approx(expected, abs=2e-3)  # kept in half precision


def test_recordings_of_noise_do_not_keep_what_training_made_of_them():
    """What gains less than chance, or loses on any subset, is not chosen."""
    luck = np.random.default_rng(0).normal(0.5, 0.1, 200)
    chance = np.random.default_rng(1).normal(0.0, 0.02, 200)
    chance -= chance.mean()
    before = ValidationScores({"all": luck, "image": luck})

    def after(everywhere, image):
        return ValidationScores({"all": luck + everywhere + chance, "image": luck + image - chance})

    assert _gains(after(0.05, 0.02), before)
    assert _gains(after(0.05, 0.0), before)
    assert not _gains(after(0.0005, 0.0005), before)
    assert not _gains(after(0.2, -0.05), before)
    assert not _gains(before, before)
