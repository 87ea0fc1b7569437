"""What training the last blocks of the picture encoder costs on this machine, and which blocks fit into some time.

The text encoder stays frozen: on the stamps, training its last blocks as well found no more by text (0.833, and 0.830
without) and took time from the pictures (0.67, and 0.71 without).
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from likewise.encoders.base import Encoder
from likewise.model.model import Model
from likewise.progress import say
from likewise.training.context import TrainingContext
from likewise.training.sampler import steps_per_epoch
from likewise.training.split_features import forward_from_cut

_ENOUGH_EPOCHS = 20  # behind a cut; with fewer, a later cut with more epochs learns more
_FEWEST_EPOCHS = 3
_TRIED_PICTURES = 16


@dataclass(frozen=True)
class CutCost:
    """What training behind a cut costs.

    Attributes:
        cut: before which block.
        cache_seconds: to bring all pictures to the cut, mirror images included.
        epoch_seconds: of training behind it.
    """

    cut: int
    cache_seconds: float
    epoch_seconds: float

    def epochs_in(self, seconds: float) -> int:
        """How many epochs fit into some time."""
        return max(0, int((seconds - self.cache_seconds) / self.epoch_seconds))


def affordable(context: TrainingContext, seconds: float) -> CutCost | None:
    """Which blocks train in some time, caching included.

    None where the encoder cannot be cut, there are no pictures, or the time is too short.
    """
    if not context.data.pictured.any() or not context.model.encoder("image").blocks:
        return None
    chosen = choose_cut(_costs(context), seconds)
    if chosen is None:
        say("There is no time left to train the last blocks of the picture encoder")
    return chosen


def choose_cut(costs: Iterable[CutCost], seconds: float) -> CutCost | None:
    """The earliest cut that leaves enough epochs, else the last one; None where even that leaves too few.

    Args:
        costs: by descending cut. An earlier cut takes longer, so none is looked at before the first that takes too
            long: a short training should not be spent on planning it.
        seconds: that there are.
    """
    chosen: CutCost | None = None
    for cost in costs:
        if cost.epochs_in(seconds) < _ENOUGH_EPOCHS:
            return chosen or (cost if cost.epochs_in(seconds) >= _FEWEST_EPOCHS else None)
        chosen = cost
    return chosen


def _costs(context: TrainingContext) -> Iterator[CutCost]:
    """Of every block of the later half of the picture encoder, the last one first."""
    blocks = context.model.encoder("image").blocks
    for cut in range(blocks - 1, blocks // 2 - 1, -1):
        yield _cost(context, cut)


def _cost(context: TrainingContext, cut: int) -> CutCost:
    """Time a few pictures on their way to a cut, and a step behind it."""
    model, catalog, config = context.model, context.catalog, context.config
    encoder = model.encoder("image")
    examples = [shown[0] for shown in catalog.pictures if shown][:_TRIED_PICTURES]

    def lower() -> Tensor:
        opened = [catalog.open_picture(picture, encoder.minimum_side) for picture in examples]
        return model.featurizer("image").forward(encoder.prepare(opened), cut)

    with _training_above(encoder, cut):
        below, states = _quickest(lower)
        batch = states.repeat(-(-config.rows_per_batch // len(states)), *[1] * (states.dim() - 1))
        above, _ = _quickest(lambda: _step(model, batch[: config.rows_per_batch], cut))
    pictures = len({shown[0].key for shown in catalog.pictures if shown})
    sides = 2 if config.hflip_augment else 1
    area = (1 + config.patch_area) / 2  # what a random rectangle shows on average
    steps = steps_per_epoch(len(context.data.rows), config.rows_per_batch)
    return CutCost(cut, sides * below / len(examples) * pictures, steps * above * area)


@contextmanager
def _training_above(encoder: Encoder, cut: int) -> Iterator[None]:
    """Parameters behind a cut require gradients for a while."""
    trains = {name: weight.requires_grad for name, weight in encoder.named_parameters()}
    encoder.train_above(cut)
    try:
        yield
    finally:
        for name, weight in encoder.named_parameters():
            weight.requires_grad_(trains[name])
            weight.grad = None


def _quickest(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Seconds of the quicker of two tries, since the first time is slower than the others, and what was made."""
    best = math.inf
    for _ in range(2):
        started = time.monotonic()
        made = work()
        best = min(best, time.monotonic() - started)
    return best, made


def _step(model: Model, states: Tensor, cut: int) -> Tensor:
    """Forward and backward behind a cut."""
    with torch.enable_grad():
        vectors = forward_from_cut(model, states, cut)
        vectors.square().mean().backward()
    return vectors
