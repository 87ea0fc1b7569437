"""Heads in closed form at the end of a training over frozen encoders, where validation rows choose.

Gradient steps move the query tower, which all fields share, and lose on fields that say little for each item, such as
recordings: there kernel ridge finds more. So it is fitted once more, from a field's features to where the trained query
tower has put the titles, and takes the place of the trained head where it finds more on validation rows. And
training has to find more, beyond chance, than kernel ridge for all fields above the query tower as it was before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from likewise.model.closed_forms import BaseMaps
from likewise.model.heads import KernelMap, PictureMap
from likewise.progress import say
from likewise.training.batches import TrainingSet
from likewise.training.closed_form_start import collect_on_leader, fit_for_groups, set_base_maps
from likewise.training.context import TrainingContext
from likewise.training.validation import FINE_METRIC, HeldOutTask, ValidationScores, loses, score_in_all_processes

_LEAST_GAIN = 1.0  # standard errors of the difference; what gains less is chance


@dataclass(frozen=True)
class ClosedFormHeads:
    """What was chosen.

    Attributes:
        fields: whose heads were replaced; all that have one, where `whole` says so.
        whole: whether nothing that was trained is left: it finds no more than kernel ridge above the untrained queries.
        sentence: for the report; None where the trained network is left as it was.
    """

    fields: tuple[str, ...] = ()
    whole: bool = False
    sentence: str | None = None


def choose_closed_form_heads(
    context: TrainingContext, untrained: nn.ModuleDict, start: BaseMaps, validation: HeldOutTask
) -> ClosedFormHeads:
    """Replace the heads of the trained network that find less than kernel ridge on the validation rows.

    What loses beyond chance on any field subset is not chosen.

    Args:
        untrained: heads (`Network.copy_heads`).
        start: kernel ridge above the untrained query tower, by field; of the leading process.
        validation: the rows that choose.
    """
    network, chosen, said = context.model.network, list[str](), list[str]()
    if not validation.subsets:
        return ClosedFormHeads()
    best, trained = _score(context, validation), network.copy_heads()
    for field, kernel in _fit(context, context.data, network.fields).items():
        _replace(context, untrained, field, kernel)
        score = _score(context, validation)
        if _gains(score, best):
            chosen.append(field)
            said.append(f"{field} (mAP {best.mean:.3f} → {score.mean:.3f})")
            best = score
        else:
            network.restore_head(field, trained)
    found = ClosedFormHeads(tuple(chosen))
    trained = network.copy_heads()
    network.restore_heads(untrained)
    shared = set_base_maps(context, start)
    score = _score(context, validation)
    if shared and not _gains(best, score):
        found = ClosedFormHeads(tuple(shared), whole=True)
        said = [f"all fields, and the untrained query tower (mAP {best.mean:.3f} → {score.mean:.3f})"]
    else:
        network.restore_heads(trained)
    if not said:
        return found
    sentence = f"Validation rows chose kernel ridge instead of what was trained: {', '.join(said)}."
    say(sentence)
    return replace(found, sentence=sentence)


def set_closed_form_heads(
    context: TrainingContext, untrained: nn.ModuleDict, data: TrainingSet, fields: Sequence[str]
) -> None:
    """Give some fields of the trained network heads of kernel ridge, fitted on the rows of `data`."""
    for field, kernel in _fit(context, data, fields).items():
        _replace(context, untrained, field, kernel)


def _fit(context: TrainingContext, data: TrainingSet, fields: Sequence[str]) -> BaseMaps:
    """Fit kernel ridge from some fields to the present query tower's vectors of the titles, for all processes."""
    kernels: BaseMaps = {}
    if fields:
        regressions = collect_on_leader(context, data)
        asked = {field: pairs for field, pairs in regressions.items() if field in fields}
        kernels = fit_for_groups(context, asked).get("kernel ridge", {})
    shared: BaseMaps = context.processes.from_leader(kernels)
    return shared


def _replace(context: TrainingContext, untrained: nn.ModuleDict, field: str, kernel: PictureMap | KernelMap) -> None:
    context.model.network.restore_head(field, untrained)
    context.model.network.set_base_map(field, kernel)


def _score(context: TrainingContext, validation: HeldOutTask) -> ValidationScores:
    return score_in_all_processes(context, context.cached, validation, FINE_METRIC)


def _gains(score: ValidationScores, best: ValidationScores) -> bool:
    gained = score.flat - best.flat
    chance = _LEAST_GAIN * np.std(gained) / math.sqrt(max(len(gained), 1))
    return bool(gained.mean() > chance) and not loses([(score, best)])
