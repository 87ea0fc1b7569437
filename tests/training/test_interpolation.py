"""Between the pretrained weights and the trained ones: what is chosen, and what is left in the network."""

import numpy as np
import torch
from torch import nn
from training.toy_network import toy_network

from likewise.training.interpolation import ALPHAS, interpolate, pretrained_weights
from likewise.training.questions import ScoresBySubset


class Toy:
    """A network whose encoders have one weight each, and a validation that knows where it likes the first of them."""

    def __init__(self, likes):
        self.network = toy_network()
        for name in ("text", "image"):
            self.network.encoders[name].weight = nn.Parameter(torch.zeros(3))
        self.before = pretrained_weights(self.network)
        self.likes = likes
        self.seen = []

    @property
    def weight(self):
        return self.network.encoders["image"].weight

    def validate(self):
        self.seen.append(self.weight[0].item())
        per_query = np.tile([0.75, 1.25], 25) * (1 - abs(self.seen[-1] - self.likes))
        return ScoresBySubset({"all": per_query, "image": per_query / 2})


def test_the_point_that_validates_best_is_left_in_the_network():
    toy = Toy(likes=0.5)
    with torch.no_grad():
        toy.weight.fill_(1.0)
    heads = {name: weight.clone() for name, weight in toy.network.named_parameters() if "encoders" not in name}
    frontier = interpolate(toy.network, toy.before, toy.validate)
    assert toy.seen == list(ALPHAS)
    assert frontier.chosen == 0.5
    assert toy.weight.tolist() == [0.5] * 3
    assert [point.alpha for point in frontier.points] == list(ALPHAS)
    assert frontier.points[2].metrics == {"all": 1.0, "image": 0.5}
    for name, weight in toy.network.named_parameters():
        if name in heads:
            assert torch.equal(weight, heads[name])


def test_what_cannot_be_told_apart_keeps_all_that_was_learned():
    toy = Toy(likes=0.5)
    with torch.no_grad():
        toy.weight.fill_(1.0)
    flat = ScoresBySubset({"all": np.ones(20)})
    assert interpolate(toy.network, toy.before, lambda: flat).chosen == 1.0
    assert toy.weight.tolist() == [1.0] * 3


def test_encoders_that_stood_still_leave_nothing_to_choose():
    toy = Toy(likes=0.0)
    assert interpolate(toy.network, toy.before, toy.validate) is None
    assert not toy.seen
