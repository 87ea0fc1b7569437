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
from likewise.evaluation.results import RunMetrics
from likewise.model.run_folder import CONFIG, METRICS
from likewise.training.batches import TrainingSet
from likewise.training.closed_form_heads import set_closed_form_heads
from likewise.training.closed_form_start import (
    collect_on_leader,
    complete_closed_forms,
    fit_for_groups,
    fit_start,
    save_fits,
    save_start,
    set_base_maps,
    set_start,
)
from likewise.training.context import TrainingContext
from likewise.training.freezing import keep_columns_at_start
from likewise.training.hard_negatives import build_mining
from likewise.training.interpolation import copy_weights, move_weights
from likewise.training.learned_items import count_known_items
from likewise.training.loop import fit
from likewise.training.objective import Objective
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage
from likewise.training.recording_centres import set_recording_centres
from likewise.training.resume import Environment, compute_catalogue_fingerprint
from likewise.training.stacking import Stacking
from likewise.training.text_heads import build_left_out_towers, train_text_heads
from likewise.training.training_state import TrainingState


@dataclass(frozen=True)
class Choices:
    """Choices of the validation rows, which a refit keeps.

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
    data = _build_data(context)
    if data is None:
        return None
    context.model.network.restore_heads(untrained)
    regressions = collect_on_leader(context, data)
    fits = fit_start(context, regressions)
    closed_forms = complete_closed_forms(context, regressions, fits)
    set_start(context, fits)
    towers = build_left_out_towers(context, data, fits)
    named = replace(stacking.shorten(stage), name="all items")
    train_text_heads(context, data, towers, named, TrainingState(), None, seeds=stacking.seeds)
    stacking.stack(context, fits)
    save_fits(context, closed_forms, stacking.weigh_start(fits))
    return _save_model(context, data)


def refit_heads(context: TrainingContext, stage: Stage, choices: Choices, untrained: nn.ModuleDict) -> int | None:
    """Train the heads again on all rows that may train, and save the model in place of the measured one.

    Args:
        stage: the training's only one, over frozen encoders.
        untrained: heads (`Network.copy_heads`).

    Returns:
        The number of rows that it was fitted on; None where they are those that it was trained on already.
    """
    network, processes, data = context.model.network, context.processes, _build_data(context)
    if data is None:
        return None
    network.restore_heads(untrained)
    _start_again(context, data, choices)
    keep_columns_at_start(network, choices.start, context.config)
    before = copy_weights(network)
    objective = Objective(network, context.cached, data, stage.config, processes).to(context.model.device)
    mine = build_mining(processes, network, context.cached, data, stage.config)
    again = replace(stage, name="all items", until_minute=math.inf, stop_after=choices.epochs)
    fit(objective, build_optimizer(objective, network, stage.config), again, None, TrainingState(), None, mine=mine)
    move_weights(network, before, choices.alpha)
    set_closed_form_heads(context, untrained, data, choices.closed)
    return _save_model(context, data)


def _build_data(context: TrainingContext) -> TrainingSet | None:
    """All rows that may train; None where the measured model was trained on them already."""
    rows = context.split.unreserved
    return None if len(rows) == len(context.data.rows) else context.build_training_set(rows)


def _save_model(context: TrainingContext, data: TrainingSet) -> int:
    """Save the model in place of the measured one, and return the number of its rows."""
    context.model.network.eval()
    if context.processes.leads:
        set_recording_centres(context, context.cached, data)
        context.model.save(context.run)
    return len(data.rows)


def _start_again(context: TrainingContext, data: TrainingSet, choices: Choices) -> None:
    """Fit all closed forms to the rows of `data`, save them in the run, and start from the chosen ones."""
    closed_forms = fit_for_groups(context, collect_on_leader(context, data))
    leads = context.processes.leads
    start = {field: closed_forms[name][field] for field, name in choices.start.items()} if leads else {}
    save_start(context, closed_forms, start)
    set_base_maps(context, start)
