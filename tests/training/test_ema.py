"""The moving average of the weights, and looking at it for a while."""

import pytest
import torch
from torch import nn

from likewise.training.ema import load_weights, update_average, use_weights


def weights(value):
    return {"weight": nn.Parameter(torch.full((2,), float(value)))}


def test_the_average_follows_closely_at_first_and_slowly_later():
    averaged = {"weight": torch.zeros(2)}
    update_average(averaged, weights(1.0), step=1, decay=0.99)
    assert averaged["weight"].tolist() == pytest.approx([10 / 11] * 2)
    averaged = {"weight": torch.zeros(2)}
    update_average(averaged, weights(1.0), step=10**6, decay=0.99)
    assert averaged["weight"].tolist() == pytest.approx([0.01] * 2)


def test_other_weights_are_used_inside_the_block_alone_even_if_it_fails():
    own = weights(1.0)
    with pytest.raises(RuntimeError, match="stop"), use_weights(own, {"weight": torch.full((2,), 5.0)}):
        assert own["weight"].tolist() == [5.0, 5.0]
        raise RuntimeError("stop")
    assert own["weight"].tolist() == [1.0, 1.0]


def test_weights_that_are_not_there_are_passed_over():
    own = weights(1.0)
    load_weights(own, {"other": torch.zeros(3)})
    assert own["weight"].tolist() == [1.0, 1.0]
