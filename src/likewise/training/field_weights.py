"""How much columns other than title, description and picture count in an item, chosen on rows that are held out.

Their towers begin at a closed form like those of other fields, but a column may say nothing about what people ask for,
and a mean of fields is only as good as its worst. So each of them gets the greatest weight with which no query loses
beyond chance, neither by this field nor by all of them together. Those that hold words keep a quarter in any case, for
queries that mention them, which titles may never do, and so do recordings, which can be queries themselves.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import nn

from likewise.errors import UserError
from likewise.evaluation.embeddings import TaskEmbeddings
from likewise.files import make_folder, read_record, write_record
from likewise.model.fusion import MaskedFusion
from likewise.model.matryoshka import Variant, build_variants
from likewise.model.network import Network
from likewise.progress import say
from likewise.training.context import TrainingContext
from likewise.training.validation import (
    FINE_METRIC,
    HeldOutTask,
    ValidationScores,
    embed_held_out,
    loses,
    score_validation,
)

FILE = Path("training") / "field_weights.json"
_FORMAT = 1
_WEIGHTS = (1.0, 0.5, 0.25, 0.1)  # against 1 of title, description and picture; tried in this order
_ASKED_BY = ("audio",)  # kinds without words whose values can be queries
_LEAST_OF_ASKED = 0.25
_LEAST_OF_OTHERS = 1e-6  # such a field counts only where an item has nothing else
_TOLERANCE = 0.002  # mean loss of the metric that buys nothing but answers to those who ask for the column


def weigh_fields(
    context: TrainingContext, fusions: Sequence[MaskedFusion], measure: Callable[[], list[ValidationScores]]
) -> None:
    """Choose the weights of further fields one after the other, set them and keep them in the run.

    Args:
        fusions: that get the weights.
        measure: scores held-out rows with these fusions as they are.
    """
    network = context.model.network
    fields = network.further_fields
    if not fields:
        return
    asked = [field for field in fields if network.reads_words(field) or network.kinds[field] in _ASKED_BY]
    chosen = {field: _LEAST_OF_ASKED if field in asked else _LEAST_OF_OTHERS for field in fields}
    _set_weights(network.fields, fusions, chosen)
    first = before = measure()
    for field in fields:
        for weight in _WEIGHTS:
            if weight <= chosen[field]:  # the least, with which `before` was measured
                break
            _set_weights(network.fields, fusions, chosen | {field: weight})
            after = measure()
            if not any(loses(zip(after, other, strict=True), _TOLERANCE) for other in (first, before)):
                chosen[field], before = weight, after
                break
    _set_weights(network.fields, fusions, chosen)
    if context.processes.leads:
        make_folder((context.run / FILE).parent)
        write_record(context.run / FILE, {"weights": chosen}, _FORMAT)
    say("Weights of further fields: " + ", ".join(f"{field} {weight:.2g}" for field, weight in chosen.items()))


def weigh_on_validation_rows(context: TrainingContext, validation: HeldOutTask, untrained: nn.ModuleDict) -> None:
    """Choose the weights of further fields for a training of which validation rows choose the checkpoint.

    Its heads stand at their start. Equal weights stay where no validation row asks a query.

    Args:
        untrained: heads (`Network.copy_heads`), whose fusion gets the same weights.
    """
    network, variants, leads = context.model.network, build_variants(context.config), context.processes.leads
    if not network.further_fields or not validation.subsets:
        return
    embeddings = embed_held_out(context, context.cached, validation) if leads else None

    def measure() -> list[ValidationScores]:
        found: list[ValidationScores] = context.processes.from_leader(
            None if embeddings is None else [measure_weights(network, embeddings, validation, variants)]
        )
        return found

    weigh_fields(context, [network.fusion, cast(MaskedFusion, untrained["fusion"])], measure)


def measure_weights(
    network: Network, embeddings: TaskEmbeddings, held_out: HeldOutTask, variants: Sequence[Variant]
) -> ValidationScores:
    """Score held-out rows whose towers have run, on the subsets of fields on which further fields count."""
    further = set(network.further_fields)
    subsets = [subset for subset in held_out.subsets if further.intersection(subset.fields)]
    return score_validation(embeddings, subsets, variants, FINE_METRIC)


def read_field_weights(context: TrainingContext, heads: nn.ModuleDict) -> None:
    """Set the weights that `weigh_fields` kept in the run.

    Raises:
        UserError: the file is missing or damaged.
    """
    network = context.model.network
    if not network.further_fields:
        return
    try:
        weights = {
            str(field): float(weight) for field, weight in read_record(context.run / FILE, _FORMAT)["weights"].items()
        }
        if set(weights) != set(network.further_fields) or not all(0 < weight <= 1 for weight in weights.values()):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # DamageError among them
        raise UserError(f"cannot resume: {context.run / FILE} is damaged; start over with --restart") from None
    _set_weights(network.fields, [cast(MaskedFusion, heads["fusion"])], weights)


def _set_weights(fields: Sequence[str], fusions: Sequence[MaskedFusion], weights: dict[str, float]) -> None:
    logits = torch.tensor([math.log(weights.get(field, 1.0)) for field in fields])
    with torch.no_grad():
        for fusion in fusions:
            fusion.field_logits.copy_(logits)
