"""Rates: what trains, and how fast."""

import numpy as np
import pytest
import torch
from torch import nn
from training.toy_network import toy_objective, unlike

from likewise.errors import UserError
from likewise.training.optimizer import find_trained_parameters, group_parameters


def objective_with(**settings):
    """One whose text encoder has an embedding, three blocks and a norm."""
    objective = toy_objective(unlike(4), **{"learning_rate": 1.0, "encoder_learning_rate": 0.5, **settings})
    encoder = objective.network.encoders["text"]
    encoder.embedding = nn.Linear(3, 3)
    encoder.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
    encoder.norm = nn.LayerNorm(3)
    return objective


def groups_of(objective, scale=1.0):
    trained = find_trained_parameters(objective, objective.config)
    groups = group_parameters(trained, objective.network, objective.config, scale)
    assert sum(len(group["params"]) for group in groups) == len(trained)

    def group_of(weight):
        return next(group for group in groups if any(weight is member for member in group["params"]))

    return group_of


def test_vectors_and_the_temperature_do_not_decay_and_encoders_have_their_own_rate():
    objective = objective_with(weight_decay=0.1)
    group_of = groups_of(objective, scale=0.5)
    assert group_of(objective.log_scale)["weight_decay"] == 0
    assert group_of(objective.network.fusion.field_logits)["weight_decay"] == 0
    assert group_of(objective.network.query_head.residual[1].weight)["weight_decay"] == 0.1
    assert group_of(objective.network.query_head.residual[1].weight)["peak"] == pytest.approx(0.05)
    assert group_of(objective.network.picture_head.base.weight)["peak"] == 0.5
    assert group_of(objective.network.encoders["text"].layers[2].weight)["peak"] == 0.25


def test_without_a_rate_of_the_users_the_encoder_names_its_own():
    objective = objective_with(encoder_learning_rate=None)
    encoder = objective.network.encoders["text"]
    assert groups_of(objective)(encoder.layers[0].weight)["peak"] == encoder.learning_rate


def test_earlier_blocks_learn_more_slowly():
    objective = objective_with(layer_decay=0.5)
    encoder = objective.network.encoders["text"]
    group_of = groups_of(objective)
    parts = [encoder.embedding, *encoder.layers, encoder.norm]
    assert [group_of(part.weight)["peak"] for part in parts] == [0.0625, 0.125, 0.25, 0.5, 0.5]
    assert group_of(objective.network.picture_head.base.weight)["peak"] == 1.0


def test_in_a_recipe_a_rate_may_be_for_what_trains_in_a_later_stage():
    objective = objective_with(lr_scales={"encoders.text": 0.5})
    objective.network.encoders.requires_grad_(False)
    with pytest.raises(UserError, match=r"no trainable parameter matches 'encoders\.text'"):
        find_trained_parameters(objective, objective.config)
    assert find_trained_parameters(objective, objective.config.model_copy(update={"effort": "best"}))
    unknown = objective.config.model_copy(update={"effort": "best", "lr_scales": {"encoder.text": 0.5}})
    with pytest.raises(UserError, match=r"no trainable parameter matches 'encoder\.text'"):
        find_trained_parameters(objective, unknown)


def test_a_table_of_rates_slows_parts_down_and_freezes_others():
    rates = {"encoders.text.layers.0": None, "heads.image": 0.1, "encoders.*.weight": 2.0}
    objective = objective_with(lr_scales=rates)
    encoder = objective.network.encoders["text"]
    group_of = groups_of(objective)
    assert not encoder.layers[0].weight.requires_grad
    assert group_of(objective.network.picture_head.base.weight)["peak"] == pytest.approx(0.1)
    assert group_of(encoder.layers[1].weight)["peak"] == 1.0
    assert group_of(encoder.layers[1].bias)["peak"] == 0.5


def test_a_pattern_that_fits_nothing_is_one_sentence():
    objective = objective_with(lr_scales={"heads.picture": 0.1})
    with pytest.raises(UserError, match=r"no trainable parameter matches 'heads.picture'; the names are .*heads.image"):
        find_trained_parameters(objective, objective.config)


def test_frozen_parts_do_not_move():
    objective = objective_with(lr_scales={"heads.title": None})
    weights = [weight.clone() for weight in objective.network.heads["title"].parameters()]
    trained = find_trained_parameters(objective, objective.config)
    optimizer = torch.optim.AdamW(group_parameters(trained, objective.network, objective.config, 1.0))
    objective.backward(np.arange(4), 0)
    optimizer.step()
    for before, after in zip(weights, objective.network.heads["title"].parameters(), strict=True):
        assert torch.equal(before, after)
