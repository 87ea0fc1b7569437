"""The loss of a step: what counts as the same thing, and what a batch may lack."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training.identity_codes import identity_of
from training.toy_network import toy_objective, unlike

from likewise.training.losses import nt_xent
from likewise.training.views import draw_pairs

ALONE = {"negatives": 0, "prototypes": 0}  # the batch is told apart from nothing but itself


def loss_of(objective, batch, seed=0):
    objective.eval()  # no dropout: losses are compared
    return objective(np.array(batch), np.random.default_rng(seed))


@pytest.mark.parametrize(
    "identity",
    [
        identity_of([0, 0, 0], [0, 1, 2], [0, 1, 2]),
        identity_of([0, 1, 2], [0, 0, 0], [0, 1, 2]),
        identity_of([0, 1, 2], [0, 1, 2], [0, 0, 0]),
        identity_of([0, 0, 1], [0, 1, 1], [0, 0, 1]),  # first and last only through the row between them
    ],
    ids=["title", "picture", "description", "component"],
)
def test_a_batch_of_one_thing_has_nothing_to_say(identity):
    objective = toy_objective(identity, **ALONE)
    assert all(loss_of(objective, [0, 1, 2], seed).item() == 0 for seed in range(5))
    assert loss_of(toy_objective(unlike(3), **ALONE), [0, 1, 2]).item() > 0.1


def test_further_negatives_and_titles_of_the_same_thing_say_nothing_either():
    objective = toy_objective(identity_of([0] * 6, [0] * 6), negatives=64, prototypes=64)
    assert all(loss_of(objective, [0, 1, 2], seed).item() == 0 for seed in range(5))


rows_of_codes = st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3), st.integers(-1, 3)), min_size=2, max_size=8)


@settings(max_examples=40, deadline=None)
@given(rows_of_codes, st.integers(0, 99))
def test_what_is_told_apart_has_nothing_in_common_and_everything_unlike_is(rows, seed):
    title, picture, description = (np.array(column) for column in zip(*rows, strict=True))
    identity = identity_of(title, picture, description)
    objective = toy_objective(identity, **ALONE)
    batch = np.arange(len(rows))
    pairs = draw_pairs(objective.data.texts, batch, objective.data.pictured, np.random.default_rng(seed))
    calls = []

    def noted(anchors, candidates, positive, ignored, scale):
        calls.append((positive, ignored))
        return nt_xent(anchors, candidates, positive, ignored, scale)

    with mock.patch("likewise.training.objective.nt_xent", noted):
        loss_of(objective, batch, seed)
    related = np.eye(len(rows), dtype=bool)
    for code in (title, picture, description, identity.component):
        related |= (code[:, None] == code[None, :]) & (code >= 0)[:, None]
    related = related[pairs.row][:, pairs.row]
    assert len(calls) == 2, "both directions"
    for positive, ignored in calls:
        assert not positive[torch.from_numpy(~related)].any(), "an answer has something in common with its question"
        assert (~(positive | ignored)).equal(torch.from_numpy(~related))
        assert positive.diagonal().all(), "every item answers its own question"


def test_further_negatives_come_from_the_training_rows_alone():
    objective = toy_objective(unlike(20), rows=range(10), negatives=256, prototypes=256)
    objective.features.table[10:20] = float("nan")
    objective.features.table[30:40] = float("nan")
    objective.features.images[10:] = float("nan")
    assert math.isfinite(loss_of(objective, range(4)).item())
    more, fewer = (toy_objective(unlike(20), negatives=count, prototypes=0) for count in (256, 0))
    assert loss_of(more, range(4)) > loss_of(fewer, range(4))


def test_live_features_are_computed_for_the_batch_alone():
    objective = toy_objective(unlike(20), regime="full", negatives=256, prototypes=256)
    objective.features.cheap_texts = objective.features.cheap_pictures = False
    loss_of(objective, range(4))
    assert objective.features.pictures_read == 4
    assert objective.features.texts_read <= 4 * 4 * 2


@pytest.mark.parametrize(
    "options",
    [
        {"pictured": [False] * 12},
        {"pictured": [True, False] * 6},
        {"described": False},
        {"titled": False},
        {"fields": ("title", "image")},
        {"fields": ("image", "description", "title")},
        {"fields": ("title", "description"), "pictured": [False] * 12},
    ],
    ids=["no pictures", "some pictures", "no descriptions", "no titles", "two fields", "other order", "texts only"],
)
@pytest.mark.parametrize("regime", ["frozen", "full"])
def test_a_catalogue_may_lack_anything(options, regime):
    if "fields" in options and "description" not in options["fields"]:
        options = options | {"described": False}
    objective = toy_objective(unlike(12), regime=regime, **options)
    assert objective.has_pairs()
    loss = loss_of(objective, range(6))
    loss.backward()
    assert math.isfinite(loss.item()) and loss.item() > 0
    assert all(torch.isfinite(weight.grad).all() for weight in objective.parameters() if weight.grad is not None)


def test_rows_with_one_field_give_no_pair():
    objective = toy_objective(unlike(6), described=False, pictured=[False] * 6)
    assert not objective.has_pairs()


def test_the_loss_is_a_function_of_batch_and_random_state():
    objective = toy_objective(unlike(12))
    assert loss_of(objective, range(4), 3) == loss_of(objective, range(4), 3)
    assert loss_of(objective, range(4), 3) != loss_of(objective, range(4), 4)


def test_the_temperature_is_learned_and_clamped():
    objective = toy_objective(unlike(8), temperature=0.1)
    assert objective.scale.item() == pytest.approx(10.0)
    loss_of(objective, range(4)).backward()
    assert objective.log_scale.grad.abs() > 0
    with torch.no_grad():
        objective.log_scale.fill_(50.0)
    assert objective.scale.item() == pytest.approx(100.0)
