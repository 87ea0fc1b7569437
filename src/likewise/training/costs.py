"""What training the last blocks of an encoder costs on this machine, and which blocks fit into some time."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from likewise.encoders.base import STATES, Encoder, Modality
from likewise.model.model import Model
from likewise.training.features import PROMPTS
from likewise.training.ground import Ground
from likewise.training.partial import run_upper
from likewise.training.plan import draw_plan
from likewise.training.sampler import steps_per_epoch

ENOUGH_EPOCHS = 20  # behind a cut; with fewer, a later cut with more epochs learns more
_FEWEST_EPOCHS = 3
_TRIED_PICTURES, _TRIED_TEXTS = 16, 128


@dataclass(frozen=True)
class CutCost:
    """What training behind a cut costs.

    Attributes:
        cut: before which block of the picture encoder; None: none of its blocks train.
        text_cut: the same of the text encoder.
        cache_seconds: to bring all pictures and texts to the cut, mirror images included.
        epoch_seconds: of training behind it.
    """

    cut: int | None
    cache_seconds: float
    epoch_seconds: float
    text_cut: int | None = None

    def epochs_in(self, seconds: float) -> int:
        """How many epochs fit into some time."""
        return max(0, int((seconds - self.cache_seconds) / self.epoch_seconds))

    def beside(self, texts: "CutCost") -> "CutCost":
        """That of pictures and texts together."""
        return CutCost(
            self.cut,
            self.cache_seconds + texts.cache_seconds,
            self.epoch_seconds + texts.epoch_seconds,
            texts.text_cut,
        )


def affordable(ground: Ground, seconds: float) -> CutCost | None:
    """Which blocks train in some time, caching included; None where the time is too short for any, or none can.

    The later half of the text encoder trains where that leaves enough epochs, for a step through short texts costs
    less than one through pictures. Where titles repeat there are too few of them to learn from.
    """
    texts = None if ground.titles_repeat or not ground.model.encoder("text").blocks else _texts_cost(ground)
    if texts is not None and texts.epochs_in(seconds) < ENOUGH_EPOCHS:
        texts = None
    pictures = _pictures_costs(ground)
    if texts is None:
        return choose_cut(pictures, seconds)
    return choose_cut((cost.beside(texts) for cost in pictures), seconds) or texts


def choose_cut(costs: Iterable[CutCost], seconds: float) -> CutCost | None:
    """The earliest cut that leaves enough epochs, else the last one; None where even that leaves too few.

    Args:
        costs: by descending cut. An earlier cut takes longer, so none is looked at before the first that takes too
            long: a short training should not be spent on planning it.
        seconds: that there are.
    """
    chosen: CutCost | None = None
    for cost in costs:
        if cost.epochs_in(seconds) < ENOUGH_EPOCHS:
            return chosen or (cost if cost.epochs_in(seconds) >= _FEWEST_EPOCHS else None)
        chosen = cost
    return chosen


def _texts_cost(ground: Ground) -> CutCost:
    """Time a few texts on their way to the middle of the text encoder, and the texts of a step behind it."""
    model, encoder = ground.model, ground.model.encoder("text")
    cut = encoder.blocks // 2
    rows = ground.data.rows[: ground.config.rows_per_batch]
    plan = draw_plan(ground.data, rows, ground.config, 0, fields=model.fields, cheap_texts=False, cheap_pictures=False)
    shown = np.concatenate([job.values for job in plan.jobs if job.tower != "image"])
    tried = encoder.prepare([ground.texts.texts[index] for index in shown[:_TRIED_TEXTS]], prompt="document")
    with _training_above(encoder, cut):
        below, states = _quickest(lambda: model.featurizer("text").forward(tried, cut))
        above = _step_seconds(model, "text", {**tried, STATES: states.clone()}, cut)
    tries = len(shown[:_TRIED_TEXTS])
    prompts = len({encoder.prompt(prompt) for prompt in PROMPTS})
    steps = steps_per_epoch(len(ground.data.rows), ground.config.rows_per_batch)
    return CutCost(
        None, prompts * len(ground.texts.texts) * below / tries, steps * len(shown) * above / tries, text_cut=cut
    )


def _pictures_costs(ground: Ground) -> Iterator[CutCost]:
    """Of every block of the later half of the picture encoder, the last one first; none where there are no pictures."""
    encoder = ground.model.encoder("image")
    if not ground.data.pictured.any():
        return
    for cut in range(encoder.blocks - 1, encoder.blocks // 2 - 1, -1):
        yield _pictures_cost(ground, cut)


def _pictures_cost(ground: Ground, cut: int) -> CutCost:
    """Time a few pictures on their way to a cut, and a step behind it."""
    model, catalog, config = ground.model, ground.catalog, ground.config
    encoder = model.encoder("image")
    examples = [shown[0] for shown in catalog.pictures if shown][:_TRIED_PICTURES]

    def lower() -> Tensor:
        opened = [catalog.open_picture(picture, encoder.minimum_side) for picture in examples]
        return model.featurizer("image").forward(encoder.prepare(opened), cut)

    with _training_above(encoder, cut):
        below, states = _quickest(lower)
        batch = states.repeat(-(-config.rows_per_batch // len(states)), *[1] * (states.dim() - 1))
        above = _step_seconds(model, "image", {STATES: batch[: config.rows_per_batch]}, cut)
    pictures = len({shown[0].key for shown in catalog.pictures if shown})
    sides = 2 if config.mirror else 1
    area = (1 + config.patch_area) / 2  # what a random rectangle shows on average
    steps = steps_per_epoch(len(ground.data.rows), config.rows_per_batch)
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


def _step_seconds(model: Model, modality: Modality, activations: dict[str, Tensor], cut: int) -> float:
    def step() -> Tensor:
        with torch.enable_grad():
            vectors = run_upper(model, modality, activations, cut)
            vectors.square().mean().backward()
        return vectors

    return _quickest(step)[0]
