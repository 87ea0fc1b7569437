"""Planner: in which stages a training goes and how long each lasts, planned from what a step costs on this machine.

`effort` is what a person has to say: quick trains heads over cached features; standard and best go on with the last
blocks of the picture encoder, behind the earliest cut that leaves enough epochs in the time there is. A plan is made
once, from measurements, and written down; a resumed training keeps to it. The last blocks train for more epochs where
these take less time than was planned, and for fewer where they take more, so that the rate falls to zero in time.

Where towers are stacked (`training/stacking.py`), every effort trains text heads alone: with the last blocks, unseen
items of such catalogues are found less often. There standard and best spend their time on further seeds, whose weights
are averaged.

The text encoder stays frozen: on the stamps, training its last blocks as well found no more by text (0.833, and 0.830
without) and took time from the pictures (0.67, and 0.71 without).
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from likewise.config import Effort, TrainConfig
from likewise.encoders.base import Encoder
from likewise.errors import UserError
from likewise.files import read_record, write_record
from likewise.model.model import Model
from likewise.progress import say
from likewise.training.context import Clock, TrainingContext
from likewise.training.distributed import Processes
from likewise.training.objective import Objective
from likewise.training.sampler import steps_per_epoch
from likewise.training.split_features import forward_from_cut

FILE = Path("training") / "recipe.json"
_FORMAT = 3

_SECONDS_AN_ITEM = {"quick": 0.03, "standard": 0.3}  # of training past encoding: 1 and 10 minutes for 2,000 items
_LEAST_SECONDS = {"quick": 30.0, "standard": 120.0}
_MOST_FOR_HEADS = 0.25  # of the time
_SHARE_OF_TWO_FITS = 0.45  # of the time, where the model is fitted again on all rows
_SHARE_OF_ONE_FIT = 0.15  # of the time, where folds and a refit train like the first fit
_FITS_AFTER_FOLDS = 2  # the fit that is measured, and that on all rows
_MOST_SEEDS = 8  # more hardly change a mean
_MOST_EPOCHS = 60
_KEPT_FOR_THE_END = 0.08  # of the time, for the evaluation and the report
_TRIED_STEPS = 5
_ENOUGH_EPOCHS = 20  # behind a cut; with fewer, a later cut with more epochs learns more
_FEWEST_EPOCHS = 3
_TRIED_PICTURES = 16


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Attributes:
        name: in the report and the progress bar; empty where there is only one.
        config: how it trains, filled in.
        until_minute: of the training, past which no epoch may end if it takes as long as the one before it.
        stop_after: as many epochs, of a schedule that is as long as before; None: all of it.
        most_epochs: after each epoch, as many as there is time for are planned again, but no more than these. None:
            their number is that of `config`.
        most_seeds: how many trainings with different seeds may be averaged, if each of them gains.
    """

    name: str
    config: TrainConfig
    until_minute: float = math.inf
    stop_after: int | None = None
    most_epochs: int | None = None
    most_seeds: int = 1

    def count_epochs(self, done: int, minutes: float, seconds: float) -> int:
        """How many epochs its schedule has, planned again.

        Args:
            done: of them.
            minutes: of the training until now.
            seconds: that an epoch takes.
        """
        if self.most_epochs is None:
            return self.config.total_epochs
        left = max(0, int(60 * (self.until_minute - minutes) / seconds))
        return min(done + left, self.most_epochs)

    def affords(self, seeds: int, spent: float, folds: int) -> bool:
        """Whether there is time for as many seeds in all.

        Args:
            spent: seconds of cross-validating one seed.
            folds: that it trained on; the fit and the refit train, too.
        """
        if seeds > self.most_seeds:
            return False
        return seeds * spent * (1 + _FITS_AFTER_FOLDS / folds) <= 60 * self.until_minute / _SHARE_OF_ONE_FIT


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


def plan_stages(context: TrainingContext, clock: Clock) -> list[Stage]:
    """The stages of a training, planned once and then written down.

    Raises:
        UserError: the plan of an earlier start cannot be read.
    """
    config, processes = context.config, context.processes
    if config.effort is None:
        return [Stage("", config)]
    if processes.leads and not (context.run / FILE).is_file():
        with clock.stage("planning"):
            _write_plan(context.run, config, _plan(context, config.effort, clock.elapsed))
    processes.wait()
    return _read_plan(context.run, config)


def _plan(context: TrainingContext, effort: Effort, elapsed: float) -> list[Stage]:
    """The stages that fit into the time.

    Args:
        elapsed: seconds since the start, which count for effort best.
    """
    config, rows = context.config, len(context.data.rows)
    if effort == "best":
        seconds = (1 - _KEPT_FOR_THE_END) * 60 * config.budget_minutes - elapsed
    else:
        seconds = max(_LEAST_SECONDS[effort], _SECONDS_AN_ITEM[effort] * rows)
    if context.stacked:
        most_seeds = 1 if effort == "quick" else _MOST_SEEDS
        return [Stage("heads", config, seconds * _SHARE_OF_ONE_FIT / 60, most_seeds=most_seeds)]
    for_heads = _MOST_FOR_HEADS if effort != "quick" else _SHARE_OF_TWO_FITS if context.refits else 1.0
    heads = Stage("heads", config, until_minute=seconds * for_heads / 60)
    if effort == "quick":
        return [heads]
    started = time.monotonic()
    needed = min(_estimate_seconds(context, heads), 60 * heads.until_minute)
    chosen = choose_affordable_cut(context, seconds - needed)
    seconds -= time.monotonic() - started
    if chosen is None:
        return [dataclasses.replace(heads, until_minute=seconds / 60)]
    return [heads, _plan_blocks(context, chosen, seconds, needed)]


def _estimate_seconds(context: TrainingContext, heads: Stage) -> float:
    """An estimate of what training the heads takes, from a few steps; the leader's alone, for which no other waits."""
    objective = Objective(context.model.network, context.cached, context.data, heads.config, Processes.ALONE)
    objective.to(context.model.device).train()
    batch = context.data.rows[: heads.config.rows_per_batch]
    objective.backward(batch, 0)
    started = time.monotonic()
    for step in range(_TRIED_STEPS):
        objective.backward(batch, step)
    seconds = (time.monotonic() - started) / _TRIED_STEPS
    objective.zero_grad(set_to_none=True)
    return seconds * heads.config.total_epochs * steps_per_epoch(len(context.data.rows), heads.config.rows_per_batch)


def _plan_blocks(context: TrainingContext, chosen: CutCost, seconds: float, for_heads: float) -> Stage:
    """The stage behind a cut; pictures are brought there before, which is not counted as minutes of training.

    Where all titles differ, text heads stay as the first stage left them: moving on, they forget what
    the text encoder knows of words that are not in the catalogue (on the stamps, recall@10 by text fell from 0.83 to
    0.79).
    """
    epochs = max(1, min(chosen.epochs_in(seconds - for_heads), _MOST_EPOCHS))
    say(
        f"After the heads, the image encoder is trained from block {chosen.cut} on: {epochs} epochs of about "
        f"{chosen.epoch_seconds:.0f} s, after encoding all pictures up to that block in {chosen.cache_seconds:.0f} s"
    )
    settings = {
        "regime": "partial",
        "image_cut": chosen.cut,
        "epochs": epochs,
        "batch_size": None,
        "text_lr_scale": context.config.text_lr_scale if context.titles_repeat else 0.0,
    }
    until_minute = (seconds - chosen.cache_seconds) / 60
    config = context.config.model_copy(update=settings)
    return Stage("last blocks", config, until_minute, most_epochs=max(epochs, _MOST_EPOCHS))


def _read_plan(run: Path, config: TrainConfig) -> list[Stage]:
    try:
        planned = read_record(run / FILE, _FORMAT)["stages"]
        return [
            Stage(
                stage["name"],
                _apply_changes(config, stage["settings"]),
                stage["until_minute"],
                most_epochs=stage["most_epochs"],
                most_seeds=stage["most_seeds"],
            )
            for stage in planned
        ]
    except (OSError, ValueError, KeyError, TypeError, UserError):  # DamageError among them
        raise UserError(f"cannot resume: {run / FILE} is damaged; start over with --restart") from None


def _write_plan(run: Path, config: TrainConfig, stages: list[Stage]) -> None:
    planned = [
        {
            "name": stage.name,
            "settings": _list_changes(config, stage.config),
            "until_minute": stage.until_minute,
            "most_epochs": stage.most_epochs,
            "most_seeds": stage.most_seeds,
        }
        for stage in stages
    ]
    write_record(run / FILE, {"stages": planned}, _FORMAT)


def _apply_changes(config: TrainConfig, settings: dict[str, object]) -> TrainConfig:
    """The settings of a stage, checked; as one of a plan it may have both a regime and an effort."""
    values = config.model_dump() | settings | {"effort": None}
    return TrainConfig.parse(values).model_copy(update={"effort": config.effort})


def _list_changes(config: TrainConfig, changed: TrainConfig) -> dict[str, object]:
    before, after = config.model_dump(mode="json"), changed.model_dump(mode="json")
    return {name: value for name, value in after.items() if before[name] != value}


def choose_affordable_cut(context: TrainingContext, seconds: float) -> CutCost | None:
    """The cut whose blocks train in some time, caching included.

    None where the encoder cannot be cut, there are no pictures, or the time is too short.
    """
    if not context.data.pictured.any() or not context.model.encoder("image").blocks:
        return None
    chosen = choose_cut(_measure_costs(context), seconds)
    if chosen is None:
        say("No time left to train the last blocks of the image encoder")
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


def _measure_costs(context: TrainingContext) -> Iterator[CutCost]:
    """Of every block of the later half of the picture encoder, the last one first."""
    blocks = context.model.encoder("image").blocks
    for cut in range(blocks - 1, blocks // 2 - 1, -1):
        yield _measure_cost(context, cut)


def _measure_cost(context: TrainingContext, cut: int) -> CutCost:
    """Time a few pictures on their way to a cut, and a step behind it."""
    model, catalog, config = context.model, context.catalog, context.config
    encoder = model.encoder("image")
    examples = [shown[0] for shown in catalog.pictures if shown][:_TRIED_PICTURES]

    def forward_to_cut() -> Tensor:
        opened = [catalog.open_picture(picture, encoder.minimum_side) for picture in examples]
        return model.featurizer("image").forward(encoder.prepare(opened), cut)

    with _training_above(encoder, cut):
        below, states = _time_quickest(forward_to_cut)
        batch = states.repeat(-(-config.rows_per_batch // len(states)), *[1] * (states.dim() - 1))
        above, _ = _time_quickest(lambda: _step(model, batch[: config.rows_per_batch], cut))
    pictures = len({shown[0].key for shown in catalog.pictures if shown})
    sides = 2 if config.hflip_augment else 1
    area = (1 + config.patch_area) / 2  # what a random rectangle shows on average
    steps = steps_per_epoch(len(context.data.rows), config.rows_per_batch)
    return CutCost(cut, sides * below / len(examples) * pictures, steps * above * area)


@contextmanager
def _training_above(encoder: Encoder, cut: int) -> Iterator[None]:
    """Let parameters behind a cut require gradients inside the block."""
    trains = {name: weight.requires_grad for name, weight in encoder.named_parameters()}
    encoder.train_above(cut)
    try:
        yield
    finally:
        for name, weight in encoder.named_parameters():
            weight.requires_grad_(trains[name])
            weight.grad = None


def _time_quickest(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
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
