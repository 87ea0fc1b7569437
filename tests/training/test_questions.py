import numpy as np
import pytest
from training.toy_network import DIM, toy_network

from likewise.config import TrainConfig
from likewise.evaluation.metrics import unit_rows
from likewise.training.forms import forms_of
from likewise.training.questions import Questions, Towers, validation_scores

ITEMS = 40


def test_validation_is_the_mean_over_the_forms_in_which_vectors_will_be_kept():
    """Items that differ in their last numbers alone, and never in a sign: short or in bits they are all one."""
    vectors = np.ones((ITEMS, DIM), np.float32)
    vectors[:, 4:] += 0.5 * np.random.default_rng(0).uniform(-1, 1, (ITEMS, DIM - 4))
    towers = Towers(unit_rows(vectors), {"description": unit_rows(vectors)})
    rows = np.arange(ITEMS)
    questions = Questions(rows, rows, [np.array([row]) for row in rows], None, rows, "title", "recall@10")
    network = toy_network(("title", "description"))

    def mean(forms):
        return validation_scores(network, towers, questions, 0, forms).mean

    forms = forms_of(TrainConfig(matryoshka=(4,), quantization="binary"))
    whole, short, bits, _ = ([form] for form in forms)
    assert mean(whole) == 1.0
    assert mean(short) < 0.5 and mean(bits) < 0.5
    assert mean(forms) == pytest.approx(np.mean([mean([form]) for form in forms]))
