"""Weights of further fields: what helps counts, what hurts does not, and a killed training goes on with the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from likewise.config import ModelSettings
from likewise.errors import UserError
from likewise.evaluation.ranks import rank_candidates
from likewise.files import read_record
from likewise.model.field_encoders import build_encoders
from likewise.model.fusion import MaskedFusion
from likewise.model.network import Network
from likewise.training.field_weights import FILE, read_field_weights, weigh_fields
from likewise.training.validation import ValidationScores

FIELDS = {"title": "text", "description": "text", "brand": "text", "noise": "text"}


@pytest.fixture
def context(tmp_path):
    settings = ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=16, fields=FIELDS)
    encoders = build_encoders(settings, 0)
    network = Network(settings, encoders["text"], encoders["image"])
    model, processes = SimpleNamespace(network=network), SimpleNamespace(leads=True)
    return SimpleNamespace(run=tmp_path, model=model, processes=processes)


def reciprocal_ranks(heads):
    """Of 60 queries whose items share a description; the brand tells which one is meant, and the noise misleads."""
    draws = np.random.default_rng(0)
    queries, noise = (np.linalg.qr(draws.standard_normal((64, 64)))[0][:60] for _ in range(2))
    shared = np.ones(64) / 8
    towers = np.stack([np.tile(shared, (60, 1)), np.tile(shared, (60, 1)), queries, noise], axis=1)
    with torch.no_grad():
        weights = heads["fusion"].field_logits.softmax(dim=0).numpy()
    items = (weights[None, :, None] * towers).sum(axis=1)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    rankings = rank_candidates(queries @ items.T, [np.array([row]) for row in range(60)])
    return [ValidationScores({"all": (rankings.right - rankings.wrong > 0.45).astype(float)})]


def test_a_field_that_helps_counts_and_one_of_noise_hardly(context):
    heads = context.model.network.copy_heads()
    weigh_fields(context, [heads["fusion"]], lambda: reciprocal_ranks(heads))
    chosen = heads["fusion"].field_logits.exp().tolist()
    assert chosen[:2] == [1.0, 1.0]
    assert chosen[2] == pytest.approx(1.0)
    assert chosen[3] == pytest.approx(0.25)
    assert read_record(context.run / FILE, 1)["weights"].keys() == {"brand", "noise"}
    again = context.model.network.copy_heads()
    read_field_weights(context, again)
    assert torch.equal(again["fusion"].field_logits, heads["fusion"].field_logits)


def test_recordings_which_can_be_queries_keep_the_least_of_words(context):
    network = context.model.network
    network.fields = ("title", "brand", "spoken", "price")
    network.kinds |= {"spoken": "audio", "price": "number"}
    network.reads_words = lambda field: network.kinds[field] == "text"
    fusion, measured = MaskedFusion(4, 16), iter(range(100))
    weigh_fields(context, [fusion], lambda: [ValidationScores({"all": np.full(60, 1 - next(measured) / 100)})])
    assert fusion.field_logits.exp().tolist() == pytest.approx([1.0, 0.25, 0.25, 1e-6])


def test_losses_that_buy_nothing_do_not_add_up(context):
    """Each field loses less than is tolerated, both together more."""
    heads, luck = context.model.network.copy_heads(), np.random.default_rng(0).normal(0.0, 0.1, (2, 60))
    changes = luck - luck.mean(axis=1, keepdims=True) - 0.0015

    def measure():
        counts = heads["fusion"].field_logits.exp()[2:].numpy(force=True) > 0.3
        return [ValidationScores({"all": 0.5 + counts @ changes})]

    weigh_fields(context, [heads["fusion"]], measure)
    assert heads["fusion"].field_logits.exp()[2:].tolist() == pytest.approx([1.0, 0.25])


def test_without_further_fields_nothing_is_measured(context):
    context.model.network.fields = ("title", "description")
    weigh_fields(context, [], lambda: pytest.fail("measured"))
    assert not (context.run / FILE).exists()


def test_damaged_weights_are_one_sentence(context):
    with pytest.raises(UserError, match=r"cannot resume: .*field_weights\.json is damaged; start over with --restart"):
        read_field_weights(context, context.model.network.copy_heads())
