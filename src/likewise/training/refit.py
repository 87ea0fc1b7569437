"""Refit: the model is fitted again on all rows that may train, with what was chosen on those that were held out.

Rows that were held out to choose and to report would otherwise never be learned, also in the model that people use.
Where towers are stacked, the shares stay as they were chosen; where validation rows chose, the closed form of every
field, the epoch of the best checkpoint and the interpolation do. Only heads over frozen encoders are fitted again:
where encoders train, that would take as long as the training did.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from likewise.catalog.catalog import Catalog
from likewise.config import TrainConfig
from likewise.errors import UserError
from likewise.evaluation.results import START, RunMetrics
from likewise.model.closed_forms import save_closed_forms
from likewise.model.heads import KernelMap, PictureMap
from likewise.model.run_folder import CONFIG, METRICS
from likewise.training.batches import TrainingSet
from likewise.training.closed_form_heads import set_closed_form_heads
from likewise.training.context import TrainingContext
from likewise.training.hard_negatives import build_mining
from likewise.training.initialization import ClosedForms, collect_regressions, fit_closed_forms
from likewise.training.interpolation import copy_weights, move_weights
from likewise.training.learned_items import count_known_items
from likewise.training.left_out import StartFit
from likewise.training.loop import fit
from likewise.training.objective import Objective
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage
from likewise.training.recording_centres import set_recording_centres
from likewise.training.resume import Environment, compute_catalogue_fingerprint
from likewise.training.stacking import (
    Stacking,
    build_left_out_towers,
    collect_start,
    fit_start,
    name_closed_forms,
    set_start,
    train_text_heads,
)
from likewise.training.training_state import TrainingState


@dataclass(frozen=True)
class Choices:
    """What validation rows chose.

    Attributes:
        start: the name of the closed form that a field started from, by field.
        epochs: up to the best checkpoint, of the stage's.
        alpha: the point between the start and the end of training, from 0 to 1.
        closed: fields whose heads are closed forms in the end (`choose_closed_form_heads`).
    """

    start: Mapping[str, str]
    epochs: int
    alpha: float
    closed: Sequence[str] = ()


def name_start(start: Mapping[str, PictureMap | KernelMap]) -> dict[str, str]:
    """Which of the closed forms each map of `initialise_heads` is, by field."""
    return {field: "ridge" if isinstance(base, PictureMap) else "kernel ridge" for field, base in start.items()}


def count_learned_items(run: Path, catalog: Catalog) -> int | None:
    """How many items of a catalogue the model of a run was fitted on after it was measured; None: not that we know.

    Args:
        run: the run folder, or a file of weights.
        catalog: that of the training, a part of it, or another one.
    """
    known = count_known_items(run, catalog)
    if known is not None:
        return known or None
    try:  # a run of an older version knows its whole catalogue only
        recorded = Environment.read(run)
        if recorded is None or not (run / METRICS).is_file():
            return None
        same = recorded.catalogue == compute_catalogue_fingerprint(catalog, TrainConfig.read(run / CONFIG))
        return RunMetrics.read(run).refit_items if same else None
    except UserError:  # a run that cannot be read as a whole can be measured all the same
        return None


def refit_stacked(context: TrainingContext, stage: Stage, stacking: Stacking, untrained: nn.ModuleDict) -> int | None:
    """Fit the model again on all rows, with the shares that were chosen, and save it in place of the measured one.

    Args:
        untrained: heads (`Network.copy_heads`).

    Returns:
        The number of rows that it was fitted on; None where they are those that it was trained on already.
    """
    network = context.model.network
    rows = context.split.unreserved
    if len(rows) == len(context.data.rows):
        return None
    data = TrainingSet.build(rows, context.texts, context.identity, context.data.pictured)
    network.restore_heads(untrained)
    regressions = collect_start(context, data)
    fits = fit_start(context, regressions)
    closed_forms = name_closed_forms(context, regressions, fits)
    set_start(context, fits)
    towers = build_left_out_towers(context, data, fits)
    named = replace(stacking.shorten(stage), name="all items")
    train_text_heads(context, data, towers, named, TrainingState(), None, seeds=stacking.seeds)
    stacking.stack(context, fits)
    network.eval()
    keep_closed_forms(context, closed_forms, stacking.weigh_start(fits))
    if context.processes.leads:
        set_recording_centres(context, context.cached, data)
        context.model.save(context.run)
    return len(rows)


def keep_closed_forms(context: TrainingContext, closed_forms: ClosedForms, start: Mapping[str, StartFit]) -> None:
    """Keep the closed forms in the run; where the start has all of kernel ridge, it is the same map."""
    if context.processes.leads:
        whole = closed_forms.get("kernel ridge", {})
        maps = {field: whole[field] if fit.share == 1 else fit.build_map() for field, fit in start.items()}
        save_closed_forms(context.run, {**closed_forms, START: maps}, context.model.network.fusion.field_logits)


def refit_heads(context: TrainingContext, stage: Stage, choices: Choices, untrained: nn.ModuleDict) -> int | None:
    """Train the heads again on all rows that may train, and save the model in place of the measured one.

    Args:
        stage: the training's only one, over frozen encoders.
        untrained: heads (`Network.copy_heads`).

    Returns:
        The number of rows that it was fitted on; None where they are those that it was trained on already.
    """
    network, processes, rows = context.model.network, context.processes, context.split.unreserved
    if len(rows) == len(context.data.rows):
        return None
    data = TrainingSet.build(rows, context.texts, context.identity, context.data.pictured)
    network.restore_heads(untrained)
    _start_again(context, data, choices)
    before = copy_weights(network)
    objective = Objective(network, context.cached, data, stage.config, processes).to(context.model.device)
    mine = build_mining(processes, network, context.cached, data, stage.config)
    again = replace(stage, name="all items", until_minute=math.inf, stop_after=choices.epochs)
    fit(objective, build_optimizer(objective, network, stage.config), again, None, TrainingState(), None, mine=mine)
    move_weights(network, before, choices.alpha)
    set_closed_form_heads(context, untrained, data, choices.closed)
    network.eval()
    if processes.leads:
        set_recording_centres(context, context.cached, data)
        context.model.save(context.run)
    return len(rows)


def _start_again(context: TrainingContext, data: TrainingSet, choices: Choices) -> None:
    """Fit all closed forms to the rows of `data`, keep them in the run, and start from the chosen ones."""
    network, seed = context.model.network, context.config.seed
    start: dict[str, PictureMap | KernelMap] = {}
    if context.processes.leads:
        regressions = collect_regressions(network.eval(), context.cached, data, seed)
        closed_forms: ClosedForms = fit_closed_forms(regressions, seed, groups=context.groups)
        start = {field: closed_forms[name][field] for field, name in choices.start.items()}
        save_closed_forms(context.run, {**closed_forms, START: start}, network.fusion.field_logits)
    for field, base in context.processes.from_leader(start).items():
        network.set_base_map(field, base)
