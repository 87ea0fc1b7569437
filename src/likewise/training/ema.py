"""EMA: an exponential moving average of the weights, which is what a training evaluates and keeps."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_WARMUP_STEPS = 10


@torch.no_grad()
def update_average(
    averaged: Mapping[str, Tensor], weights: Mapping[str, nn.Parameter], step: int, decay: float
) -> None:
    """Move the average towards the weights.

    Args:
        averaged: by name; changed in place.
        weights: after a step.
        step: how many steps there were; in the first ones the average follows the weights more closely.
        decay: share of the average that stays, at most.
    """
    decay = min(decay, step / (step + _WARMUP_STEPS))
    for name, weight in weights.items():
        averaged[name].lerp_(weight, 1 - decay)


@torch.no_grad()
def load_weights(weights: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Copy values into the weights of the same names; others, of an earlier stage, are passed over."""
    for name, value in values.items():
        if name in weights:
            weights[name].copy_(value)


@contextmanager
def use_weights(weights: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> Iterator[None]:
    """Load other values into the weights inside the block."""
    own = {name: weight.detach().clone() for name, weight in weights.items()}
    load_weights(weights, values)
    try:
        yield
    finally:
        load_weights(weights, own)
