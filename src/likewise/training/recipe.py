"""In which stages a training goes and how long each lasts, planned from what a step costs on this machine.

`effort` is what a person has to say: quick trains heads over cached features; standard and best go on with the last
blocks of the picture encoder, behind the earliest cut that leaves enough epochs in the time there is. A plan is made
once, from measurements, and written down; a resumed training keeps to it.
"""

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path

from likewise.config import Effort, TrainConfig
from likewise.errors import UserError
from likewise.files import read_record, write_record
from likewise.progress import say
from likewise.training.clock import Clock
from likewise.training.context import TrainingContext
from likewise.training.costs import CutCost, affordable
from likewise.training.objective import Objective
from likewise.training.sampler import steps_per_epoch

FILE = Path("training") / "recipe.json"
_FORMAT = 1

_SECONDS_AN_ITEM = {"quick": 0.03, "standard": 0.3}  # of training past encoding: 1 and 10 minutes for 2,000 items
_LEAST_SECONDS = {"quick": 30.0, "standard": 120.0}
_MOST_FOR_HEADS = 0.25  # of the time
_MOST_EPOCHS = 60
_KEPT_FOR_THE_END = 0.08  # of the time, for the evaluation and the report
_TRIED_STEPS = 5


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Attributes:
        name: in the report and beside the progress bar; empty where there is only one.
        config: how it trains, filled in.
        until_minute: of the training, past which no epoch may end if it takes as long as the one before it.
    """

    name: str
    config: TrainConfig
    until_minute: float = math.inf


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
            _write(context.run, config, _plan(context, config.effort, clock.elapsed))
    processes.wait()
    return _read(context.run, config)


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
    heads = Stage("heads", config, until_minute=seconds * (1.0 if effort == "quick" else _MOST_FOR_HEADS) / 60)
    if effort == "quick":
        return [heads]
    started = time.monotonic()
    for_heads = min(_seconds_of(context, heads), 60 * heads.until_minute)
    chosen = affordable(context, seconds - for_heads)
    seconds -= time.monotonic() - started
    if chosen is None:
        return [dataclasses.replace(heads, until_minute=seconds / 60)]
    return [heads, _blocks(context, chosen, seconds, for_heads)]


def _seconds_of(context: TrainingContext, heads: Stage) -> float:
    """An estimate of what training the heads takes, from a few steps."""
    objective = Objective(context.model.network, context.cached, context.data, heads.config, context.processes)
    objective.to(context.model.device).train()
    batch = context.data.rows[: heads.config.rows_per_batch]
    objective.backward(batch, 0)
    started = time.monotonic()
    for step in range(_TRIED_STEPS):
        objective.backward(batch, step)
    seconds = (time.monotonic() - started) / _TRIED_STEPS
    objective.zero_grad(set_to_none=True)
    return seconds * heads.config.total_epochs * steps_per_epoch(len(context.data.rows), heads.config.rows_per_batch)


def _blocks(context: TrainingContext, chosen: CutCost, seconds: float, for_heads: float) -> Stage:
    """The stage behind a cut; pictures are brought there before, which is not counted as minutes of training.

    Where every item has a title of its own, text heads stay as the first stage left them: moving on, they forget what
    the text encoder knows of words that are not in the catalogue (on the stamps, recall@10 by text fell from 0.83 to
    0.79).
    """
    epochs = max(1, min(chosen.epochs_in(seconds - for_heads), _MOST_EPOCHS))
    say(
        f"After the heads, the picture encoder trains from block {chosen.cut} on: {epochs} epochs of about "
        f"{chosen.epoch_seconds:.0f} s, once all pictures are encoded up to there in {chosen.cache_seconds:.0f} s"
    )
    settings = {
        "regime": "partial",
        "image_cut": chosen.cut,
        "epochs": epochs,
        "batch_size": None,
        "text_lr_scale": context.config.text_lr_scale if context.titles_repeat else 0.0,
    }
    return Stage("last blocks", context.config.model_copy(update=settings), (seconds - chosen.cache_seconds) / 60)


def _read(run: Path, config: TrainConfig) -> list[Stage]:
    try:
        planned = read_record(run / FILE, _FORMAT)["stages"]
        return [Stage(stage["name"], _changed(config, stage["settings"]), stage["until_minute"]) for stage in planned]
    except (OSError, ValueError, KeyError, TypeError, UserError):  # DamageError among them
        raise UserError(f"cannot resume: {run / FILE} is damaged; begin afresh with --restart") from None


def _write(run: Path, config: TrainConfig, stages: list[Stage]) -> None:
    planned = [
        {"name": stage.name, "settings": _changes(config, stage.config), "until_minute": stage.until_minute}
        for stage in stages
    ]
    write_record(run / FILE, {"stages": planned}, _FORMAT)


def _changed(config: TrainConfig, settings: dict[str, object]) -> TrainConfig:
    """The settings of a stage, checked; as one of a plan it may have a regime beside the effort."""
    values = config.model_dump() | settings | {"effort": None}
    return TrainConfig.parse(values).model_copy(update={"effort": config.effort})


def _changes(config: TrainConfig, changed: TrainConfig) -> dict[str, object]:
    before, after = config.model_dump(mode="json"), changed.model_dump(mode="json")
    return {name: value for name, value in after.items() if before[name] != value}
