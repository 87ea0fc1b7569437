"""Between the weights that training began with and those it ended with: what is chosen and left in the network."""

import numpy as np
import torch
from torch import nn
from training.toy_network import toy_network

from likewise.training.interpolation import ALPHAS, copy_weights, interpolate, move_weights
from likewise.training.validation import ValidationScores


class Toy:
    """A network whose encoders have one weight each, and a validation that knows where it likes the first of them."""

    def __init__(self, likes):
        self.network = toy_network()
        for name in ("text", "image"):
            self.network.encoders[name].weight = nn.Parameter(torch.zeros(3))
        self.before = copy_weights(self.network)
        self.likes = likes
        self.seen = []

    @property
    def weight(self):
        return self.network.encoders["image"].weight

    def learn(self):
        with torch.no_grad():
            self.weight.fill_(1.0)
            self.network.fusion.gates.add_(2.0)

    def validate(self):
        self.seen.append(self.weight[0].item())
        per_query = np.tile([0.75, 1.25], 25) * (1 - abs(self.seen[-1] - self.likes))
        return ValidationScores({"all": per_query, "image": per_query / 2})


def test_the_point_that_validates_best_is_left_in_the_network():
    toy = Toy(likes=0.5)
    toy.learn()
    frontier = interpolate(toy.network, toy.before, toy.validate)
    assert toy.seen == list(ALPHAS)
    assert frontier.chosen == 0.5
    assert [point.alpha for point in frontier.points] == list(ALPHAS)
    assert frontier.points[2].metrics == {"all": 1.0, "image": 0.5}
    assert toy.weight.tolist() == [0.5] * 3


def test_heads_move_along_and_what_stood_still_stays():
    toy = Toy(likes=0.75)
    toy.learn()
    interpolate(toy.network, toy.before, toy.validate)
    for name, weight in toy.network.named_parameters():
        moved = {"fusion.gates": 1.5, "encoders.image.weight": 0.75}.get(name, 0.0)
        assert torch.allclose(weight, toy.before[name] + moved), name


def test_weights_can_be_moved_to_a_point_that_is_known():
    toy = Toy(likes=0.5)
    toy.learn()
    move_weights(toy.network, toy.before, 0.25)
    assert toy.weight.tolist() == [0.25] * 3 and toy.network.fusion.gates.unique().tolist() == [0.5]
    assert not toy.seen


def test_of_equals_the_one_that_learned_longest_is_kept():
    toy = Toy(likes=0.5)
    toy.learn()
    flat = ValidationScores({"all": np.ones(20)})
    assert interpolate(toy.network, toy.before, lambda: flat).chosen == 1.0
    assert toy.weight.tolist() == [1.0] * 3


def test_without_questions_all_that_was_learned_stays():
    toy = Toy(likes=0.5)
    toy.learn()
    assert interpolate(toy.network, toy.before, lambda: ValidationScores({})).chosen == 1.0


def test_a_network_that_stood_still_leaves_nothing_to_choose():
    toy = Toy(likes=0.0)
    assert interpolate(toy.network, toy.before, toy.validate) is None
    assert not toy.seen
