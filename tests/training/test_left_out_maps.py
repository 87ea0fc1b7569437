"""While encoders train, a row's picture is answered for as if the start had not seen the row's fold."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from training.test_moved_features import PARTIAL, catalog  # noqa: F401 (a fixture)
from training.toy_network import DIM, toy_objective, unlike

from likewise.progress import quiet
from likewise.training.batches import TowerInput
from likewise.training.initialization import RegressionData, collect_regressions, fit_picture_map
from likewise.training.left_out_maps import LeftOutMaps
from likewise.training.train import train


@pytest.fixture
def objective():
    return toy_objective(unlike(24))


def start_at_ridge(objective, folds):
    """The network with a linear start, and what that is without each fold."""
    network = objective.network.eval()
    pairs = collect_regressions(network, objective.features, objective.data, seed=0)["image"]
    fitted = fit_picture_map(pairs)
    network.set_base_map("image", fitted)
    return pairs, fitted, LeftOutMaps.fit(fitted, pairs, folds)


def test_a_row_is_answered_for_as_if_its_fold_had_never_been_fitted(objective):
    folds = np.arange(24) % 4
    pairs, fitted, maps = start_at_ridge(objective, folds)
    rows = np.array([2, 7, 1, 2])
    summary = torch.randn(4, pairs.inputs.shape[1])  # features that have moved are answered for, too
    said = fitted(summary) + maps.shift(rows)(summary)
    for place, row in enumerate(rows):
        others = folds[pairs.rows] != folds[row]
        refitted = fit_picture_map(RegressionData(pairs.inputs[others], pairs.targets[others], pairs.rows[others]))
        assert torch.allclose(said[place], refitted(summary[place]), atol=1e-4)


def test_a_fold_without_pictures_changes_nothing_nor_does_one_that_holds_them_all(objective):
    pairs, _, maps = start_at_ridge(objective, np.zeros(24, np.int64))
    summary = torch.randn(2, pairs.inputs.shape[1])
    assert torch.equal(maps.shift(np.array([0, 1]))(summary), torch.zeros(2, DIM))


def test_training_sees_less_than_the_map_knows_by_heart_and_the_map_still_trains(objective):
    _, fitted, maps = start_at_ridge(objective, np.arange(24) % 6)
    network, rows = objective.network, objective.data.rows
    given = TowerInput("image", rows, np.zeros(24, bool), seed=0)
    objective.config = objective.config.model_copy(update={"patch_area": 1.0, "patch_dropout": 0.0})
    by_heart = objective.encode(given)
    objective.left_out_maps = maps
    left_out = objective.encode(given)
    summary = network.picture_head.summary(objective.features.pictures(rows))
    expected = functional.normalize(fitted(summary) + maps.shift(rows)(summary), dim=-1)
    assert torch.allclose(left_out, expected, atol=1e-5)
    titles = network.query(objective.features.texts(objective.data.texts.title[rows], "query"))
    assert (by_heart * titles).sum(-1).mean() > (left_out * titles).sum(-1).mean() + 0.05
    (left_out @ torch.randn(DIM, 3)).sum().backward()
    assert network.base_map("image").weight.grad.abs().sum() > 0


def test_a_training_of_encoders_begins_with_the_loss_of_items_it_has_not_seen(catalog, tmp_path, monkeypatch):  # noqa: F811
    still = PARTIAL.model_copy(update={"learning_rate": 1e-9, "encoder_learning_rate": 1e-9})
    with quiet():
        left_out = train(catalog, tmp_path / "left out", still)
        monkeypatch.setattr("likewise.training.train.fit_left_out_maps", lambda *given: None)
        by_heart = train(catalog, tmp_path / "by heart", still)
    first, other = (
        next(each.loss for each in run.metrics.history if each.loss is not None) for run in (left_out, by_heart)
    )
    assert first > other + 0.05
