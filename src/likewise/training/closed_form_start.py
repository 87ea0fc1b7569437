"""Closed-form start of a training: fit maps to the rows that train, and let the untrained heads begin at them.

Where towers are stacked, a field starts at cross-fitted kernel ridge; elsewhere validation rows choose between a linear
map and kernel ridge. The leading process fits, and all processes get the same maps.
"""

from collections.abc import Mapping

from torch import nn

from likewise.evaluation.results import START
from likewise.model.closed_forms import BaseMaps, save_closed_forms
from likewise.model.heads import KernelMap, PictureMap
from likewise.training.batches import TrainingSet
from likewise.training.context import TrainingContext
from likewise.training.features import Features
from likewise.training.field_weights import weigh_on_validation_rows
from likewise.training.initialization import (
    ClosedForms,
    RegressionData,
    Regressions,
    collect_regressions,
    cross_fit_start,
    fit_closed_forms,
    initialise_heads,
)
from likewise.training.left_out import StartFit
from likewise.training.left_out_maps import LeftOutMaps
from likewise.training.validation import HeldOutTask, score_network


def collect_on_leader(context: TrainingContext, data: TrainingSet, features: Features | None = None) -> Regressions:
    """Collect what closed forms of the network in its present state are fitted to; empty but on the leading process.

    Args:
        data: the rows.
        features: None: those of the untrained encoders.
    """
    if not context.processes.leads:
        return {}
    network = context.model.network.eval()
    return collect_regressions(network, context.cached if features is None else features, data, context.config.seed)


def fit_for_groups(context: TrainingContext, regressions: Regressions) -> ClosedForms:
    """Fit closed forms with penalties for the groups that a split keeps together; empty but on the leading process."""
    if not context.processes.leads:
        return {}
    return fit_closed_forms(regressions, context.config.seed, groups=context.groups)


def fit_start(context: TrainingContext, regressions: Regressions) -> dict[str, StartFit]:
    """Cross-fit kernel ridge by field, for a network whose heads are untrained.

    There is none where the untrained towers share a space already.
    """
    fits: dict[str, StartFit] = {}
    if context.processes.leads and not context.model.network.aligned:
        fits = cross_fit_start(regressions, context.folds, context.config.seed)
    shared: dict[str, StartFit] = context.processes.from_leader(fits)
    for start in shared.values():
        start.left_out.to(context.model.device)
    return shared


def complete_closed_forms(
    context: TrainingContext, regressions: Regressions, fits: Mapping[str, StartFit]
) -> ClosedForms:
    """Fit all closed forms, with kernel ridge taken from `fit_start`; empty but on the leading process."""
    if not context.processes.leads:
        return {}
    kernels = {field: fit.build_map() for field, fit in fits.items()} or None
    return fit_closed_forms(regressions, context.config.seed, kernels)


def weigh_description(fits: Mapping[str, StartFit], share: float | None) -> dict[str, StartFit]:
    """The fits with a share of kernel ridge in the description tower; unchanged for None."""
    if share is None:
        return dict(fits)
    return {field: fit.weigh(share) if field == "description" else fit for field, fit in fits.items()}


def set_start(context: TrainingContext, fits: Mapping[str, StartFit]) -> None:
    """Set the base maps of the network's untrained heads to these fits."""
    for field, start in fits.items():
        context.model.network.set_base_map(field, start.build_map())


def set_base_maps(context: TrainingContext, maps: BaseMaps) -> BaseMaps:
    """Set the leading process's base maps in the networks of all processes.

    Returns:
        These maps, in every process.
    """
    shared: BaseMaps = context.processes.from_leader(dict(maps))
    for field, base in shared.items():
        context.model.network.set_base_map(field, base)
    return shared


def save_fits(context: TrainingContext, closed_forms: ClosedForms, fits: Mapping[str, StartFit]) -> None:
    """Save the closed forms and a start of `fit_start` in the run; a start at all of kernel ridge is the same map."""
    if context.processes.leads:
        whole = closed_forms.get("kernel ridge", {})
        start = {field: whole[field] if fit.share == 1 else fit.build_map() for field, fit in fits.items()}
        save_start(context, closed_forms, start)


def save_start(context: TrainingContext, closed_forms: ClosedForms, start: BaseMaps) -> None:
    """Save the closed forms and the start in the run; the leading process does."""
    if context.processes.leads:
        maps = {**closed_forms, START: start}
        save_closed_forms(context.run, maps, context.model.network.fusion.field_logits)


def choose_start(
    context: TrainingContext, closed_forms: ClosedForms, validation: HeldOutTask, untrained: nn.ModuleDict
) -> dict[str, str]:
    """Initialise the heads of the untrained network in closed form, weigh its fields, and save both in the run.

    Args:
        closed_forms: of `fit_for_groups`.
        validation: the rows that choose.
        untrained: heads (`Network.copy_heads`), whose fusion gets the same weights.

    Returns:
        The name of the closed form that a field starts from, by field.
    """
    network, start = context.model.network, dict[str, PictureMap | KernelMap]()
    if context.processes.leads and not network.aligned:
        kernels = context.config.regime == "frozen" and not context.titles_repeat
        validate = (lambda: score_network(context, context.cached, validation).mean) if kernels else None
        start = initialise_heads(network, closed_forms, validate)
    chosen = set_base_maps(context, start)
    weigh_on_validation_rows(context, validation, untrained)
    save_start(context, closed_forms, start)
    return {field: "ridge" if isinstance(base, PictureMap) else "kernel ridge" for field, base in chosen.items()}


def fit_left_out_maps(context: TrainingContext, pictures: RegressionData | None) -> LeftOutMaps | None:
    """Fit the linear start of pictures without each fold, for encoders that train.

    Args:
        pictures: what the start was fitted to, on the leading process.

    Returns:
        None where rows may see a start that has seen them. Where titles repeat they may: a row's title is mostly that
        of other rows, too, and training goes far beyond the start.
    """
    network, left_out = context.model.network, None
    frozen = context.config.regime == "frozen"
    if context.processes.leads and pictures is not None and not (frozen or context.titles_repeat or network.aligned):
        fitted = network.base_map("image")
        left_out = LeftOutMaps.fit(fitted, pictures, context.folds) if isinstance(fitted, PictureMap) else None
    shared: LeftOutMaps | None = context.processes.from_leader(left_out)
    return None if shared is None else shared.to(context.model.device)
