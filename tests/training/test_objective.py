"""The loss of a step: what counts as the same thing, and what a batch may lack."""

import math

import numpy as np
import pytest
import torch
from training.identity_codes import identity_of
from training.toy_network import toy_objective, unlike

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
@pytest.mark.parametrize("settings", [ALONE, {"negatives": 64, "prototypes": 64}], ids=["batch", "further"])
def test_rows_that_are_the_same_thing_are_never_told_apart(identity, settings):
    objective = toy_objective(identity, **settings)
    for seed in range(5):
        loss = loss_of(objective, [0, 1, 2], seed)
        if settings is ALONE:
            assert loss.item() == 0, "without a negative there is nothing to say"
        elif len(set(identity.component.tolist())) == 1 and len(set(identity.title.tolist())) == 1:
            assert loss.item() == 0
    assert loss_of(toy_objective(unlike(3), **settings), [0, 1, 2]).item() > 0.1


def test_a_duplicate_adds_nothing_to_what_the_others_are_told_apart_from():
    """Row 2 has the picture of row 0. Wherever its texts lie, row 0 is never pushed away from them."""
    objective = toy_objective(identity_of([0, 1, 2], [0, 1, 0], [0, 1, 2]), **ALONE)
    table = objective.features.table
    table.requires_grad_()
    loss_of(objective, [0, 2, 1]).backward()
    whole = table.grad.clone()
    table.grad = None
    with torch.no_grad():
        for text in (2, 5):  # title and description of row 2 become those of row 0
            table[text] = table[text - 2]
    moved = loss_of(objective, [0, 2, 1])
    moved.backward()
    assert torch.isfinite(whole).all() and torch.isfinite(table.grad).all()
    # now rows 0 and 2 say the same, so the loss is what it is for either beside row 1
    pictures = objective.features.images
    with torch.no_grad():
        pictures[2] = pictures[0]
    both = [loss_of(objective, [0, 2, 1], seed).item() for seed in range(40)]
    one = [loss_of(objective, [0, 1], seed).item() for seed in range(40)]
    assert np.mean(both) == pytest.approx(np.mean(one), rel=0.35)


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
