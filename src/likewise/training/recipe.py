"""In which stages a training goes and how long each lasts, planned from what a step costs on this machine.

`effort` is what a person has to say: quick trains heads over cached features; standard and best go on with the last
blocks of the encoders, behind the earliest cut that leaves enough epochs in the time there is. A plan is made once,
from measurements, and written down; a resumed training keeps to it.
"""

import dataclasses
import json
import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from likewise.catalog.catalog import Catalog
from likewise.config import Effort, TrainConfig
from likewise.encoders.base import STATES, Encoder
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.progress import say
from likewise.training.clock import Clock
from likewise.training.ground import Ground
from likewise.training.objective import Objective
from likewise.training.partial import run_upper
from likewise.training.sampler import steps_per_epoch

FILE = Path("training") / "recipe.json"

_SECONDS_AN_ITEM = {"quick": 0.03, "standard": 0.3}  # of training past encoding: 1 and 10 minutes for 2,000 items
_LEAST_SECONDS = {"quick": 30.0, "standard": 120.0}
_MOST_FOR_HEADS = 0.25  # of the time
_ENOUGH_EPOCHS = 20  # behind a cut; with fewer, a later cut with more epochs learns more
_FEWEST_EPOCHS = 3
_MOST_EPOCHS = 60
_KEPT_FOR_THE_END = 0.08  # of the time, for the evaluation and the report
_TRIED_PICTURES, _TRIED_STEPS = 16, 5


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Attributes:
        name: in the report and beside the progress bar; empty where there is only one.
        config: how it trains, filled in.
        until_minute: of the training, past which no further epoch begins.
    """

    name: str
    config: TrainConfig
    until_minute: float = math.inf


@dataclass(frozen=True)
class CutCost:
    """What training behind a cut of the picture encoder costs on this machine.

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


def planned_stages(ground: Ground, clock: Clock) -> list[Stage]:
    """The stages of a training, planned once and then written down.

    Raises:
        UserError: the plan of an earlier start cannot be read.
    """
    config, processes = ground.config, ground.processes
    if config.effort is None:
        return [Stage("", config)]
    if processes.leads and not (ground.run / FILE).is_file():
        with clock.stage("planning"):
            _write(ground.run, config, _plan(ground, config.effort, clock.elapsed))
    processes.wait()
    return _read(ground.run, config)


def _plan(ground: Ground, effort: Effort, elapsed: float) -> list[Stage]:
    """The stages that fit into the time.

    Args:
        elapsed: seconds since the start, which count for effort best.
    """
    config, rows = ground.config, len(ground.data.rows)
    if effort == "best":
        seconds = (1 - _KEPT_FOR_THE_END) * 60 * config.budget_minutes - elapsed
    else:
        seconds = max(_LEAST_SECONDS[effort], _SECONDS_AN_ITEM[effort] * rows)
    heads = Stage("heads", config, until_minute=seconds * (1.0 if effort == "quick" else _MOST_FOR_HEADS) / 60)
    if effort == "quick":
        return [heads]
    started = time.monotonic()
    for_heads = min(_seconds_of(ground, heads), 60 * heads.until_minute)
    chosen = _chosen_cut(ground, seconds - for_heads)
    seconds -= time.monotonic() - started
    if chosen is None:
        return [dataclasses.replace(heads, until_minute=seconds / 60)]
    return [heads, _blocks(config, chosen, seconds, for_heads)]


def _seconds_of(ground: Ground, heads: Stage) -> float:
    """An estimate of what training the heads takes, from a few steps."""
    objective = Objective(ground.model.network, ground.cached, ground.data, heads.config, ground.processes)
    objective.to(ground.model.device).train()
    batch = ground.data.rows[: heads.config.rows_per_batch]
    objective.backward(batch, 0)
    started = time.monotonic()
    for step in range(_TRIED_STEPS):
        objective.backward(batch, step)
    seconds = (time.monotonic() - started) / _TRIED_STEPS
    objective.zero_grad(set_to_none=True)
    return seconds * heads.config.total_epochs * steps_per_epoch(len(ground.data.rows), heads.config.rows_per_batch)


def _chosen_cut(ground: Ground, seconds: float) -> CutCost | None:
    """Where to cut the picture encoder to train its last blocks in some time, caching included.

    None where the encoder cannot be cut, there are no pictures, or the time is too short.
    """
    model, catalog, config = ground.model, ground.catalog, ground.config
    encoder = model.encoder("image")
    if not ground.data.pictured.any() or not encoder.blocks:
        return None
    measured = (measure_cut(model, catalog, cut, len(ground.data.rows), config) for cut in _candidates(encoder))
    chosen = choose_cut(measured, seconds)
    if chosen is None:
        say("There is no time left to train the last blocks of the picture encoder")
    return chosen


def _blocks(config: TrainConfig, chosen: CutCost, seconds: float, for_heads: float) -> Stage:
    """The stage behind a cut; pictures are brought there before, which is not counted as minutes of training."""
    epochs = max(1, min(chosen.epochs_in(seconds - for_heads), _MOST_EPOCHS))
    say(
        f"After the heads, the picture encoder trains from block {chosen.cut} on: {epochs} epochs of about "
        f"{chosen.epoch_seconds:.0f} s, once all pictures are encoded up to there in {chosen.cache_seconds:.0f} s"
    )
    settings = {"regime": "partial", "image_cut": chosen.cut, "text_cut": None, "epochs": epochs, "batch_size": None}
    return Stage("last blocks", config.model_copy(update=settings), (seconds - chosen.cache_seconds) / 60)


def _read(run: Path, config: TrainConfig) -> list[Stage]:
    try:
        planned = json.loads((run / FILE).read_text(encoding="utf-8"))
        return [
            Stage(stage["name"], config.model_copy(update=stage["settings"]), stage["until_minute"])
            for stage in planned
        ]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"cannot resume: {run / FILE} is damaged; begin afresh with --restart") from None


def _write(run: Path, config: TrainConfig, stages: list[Stage]) -> None:
    planned = [
        {"name": stage.name, "settings": _changes(config, stage.config), "until_minute": stage.until_minute}
        for stage in stages
    ]
    beside = run / FILE.with_suffix(f".{os.getpid()}.new")
    beside.write_text(json.dumps(planned, indent=1), encoding="utf-8")
    beside.replace(run / FILE)


def _changes(config: TrainConfig, changed: TrainConfig) -> dict[str, object]:
    before, after = config.model_dump(mode="json"), changed.model_dump(mode="json")
    return {name: value for name, value in after.items() if before[name] != value}


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


def _candidates(encoder: Encoder) -> list[int]:
    """Cuts worth trying: every block of the later half, the last one first."""
    return list(range(encoder.blocks - 1, encoder.blocks // 2 - 1, -1))


def measure_cut(model: Model, catalog: Catalog, cut: int, rows: int, config: TrainConfig) -> CutCost:
    """Time a few pictures on their way to a cut, and a step behind it.

    Args:
        rows: that train, most of them with a picture.
    """
    encoder = model.encoder("image")
    examples = [shown[0] for shown in catalog.pictures if shown][:_TRIED_PICTURES]
    trains = {name: weight.requires_grad for name, weight in encoder.named_parameters()}
    encoder.train_above(cut)
    try:
        below = math.inf
        for _ in range(2):  # the first time is slower than the others
            started = time.monotonic()
            opened = [catalog.open_picture(picture, encoder.minimum_side) for picture in examples]
            states = model.featurizer("image").forward(encoder.prepare(opened), cut)
            below = min(below, (time.monotonic() - started) / len(examples))
        batch = states.repeat(-(-config.rows_per_batch // len(states)), *[1] * (states.dim() - 1))
        batch = batch[: config.rows_per_batch]
        seconds = min(_step_seconds(model, batch, cut) for _ in range(2))
    finally:
        for name, weight in encoder.named_parameters():
            weight.requires_grad_(trains[name])
            weight.grad = None
    pictures = len({shown[0].key for shown in catalog.pictures if shown})
    sides = 2 if config.mirror else 1
    area = (1 + config.patch_area) / 2  # what a random rectangle shows on average
    steps = steps_per_epoch(rows, config.rows_per_batch)
    return CutCost(cut, sides * below * pictures, steps * seconds * area)


def _step_seconds(model: Model, states: torch.Tensor, cut: int) -> float:
    started = time.monotonic()
    with torch.enable_grad():
        run_upper(model, "image", {STATES: states}, cut).square().mean().backward()
    return time.monotonic() - started
