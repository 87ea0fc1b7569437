"""Stacking after encoders have trained, where titles do not repeat.

Closed forms are fitted again, on the features that training moved, and compared with the trained heads and with kernel
ridge on the features as they were. Validation rows choose between the three: closed forms on moved features cannot be
cross-fitted, because the encoders have seen every row that trains. Going back to the start is a fair outcome. What
training itself begins above is cross-fitted (`LeftOutMaps`).
"""

from collections.abc import Mapping

from torch import Tensor, nn

from likewise.model.heads import KernelMap, PictureMap
from likewise.model.matryoshka import build_variants
from likewise.progress import say
from likewise.training.context import TrainingContext
from likewise.training.ema import load_weights
from likewise.training.features import Features
from likewise.training.initialization import collect_regressions, fit_closed_forms
from likewise.training.interpolation import copy_weights
from likewise.training.validation import HeldOutTask, ValidationScores, embed_held_out, loses, score_validation

Maps = Mapping[str, PictureMap | KernelMap]

START, AGAIN, TRAINED = "the start", "closed forms on the new features", "the trained model"
_METRIC = "map"  # recall@10 is near its ceiling on few rows
_ENCODERS = "encoders."


def stack_moved_features(
    context: TrainingContext,
    features: Features,
    before: Mapping[str, Tensor],
    untrained: nn.ModuleDict,
    start: Maps,
    validation: HeldOutTask,
) -> tuple[Features, str, str]:
    """Leave in the network what scores best on the validation rows; of equals, what trained least.

    What loses to the start beyond chance on any field subset is not chosen.

    Args:
        features: of the encoders as they are now.
        before: `copy_weights` the network that training began with.
        untrained: heads (`Network.copy_heads`).
        start: kernel ridge on the features as they were, by field; of the leading process.
        validation: the rows that choose.

    Returns:
        The features of the encoders that are left, what was chosen (`START`, `AGAIN` or `TRAINED`), and one sentence
        on it.
    """
    network = context.model.network
    encoders = {name: weight for name, weight in copy_weights(network).items() if name.startswith(_ENCODERS)}
    heads, scores = {TRAINED: network.copy_heads()}, {TRAINED: score_by_map(context, features, validation)}
    network.restore_heads(untrained)
    set_maps(context, _fit_again(context, features))
    heads[AGAIN], scores[AGAIN] = network.copy_heads(), score_by_map(context, features, validation)
    load_weights(dict(network.named_parameters()), {name: before[name] for name in encoders})
    network.restore_heads(untrained)
    set_maps(context, start)
    heads[START], scores[START] = network.copy_heads(), score_by_map(context, context.cached, validation)
    chosen = choose(scores)
    network.restore_heads(heads[chosen])
    measured = ", ".join(f"{name} {scores[name].mean:.3f}" for name in (START, AGAIN, TRAINED))
    sentence = f"Validation rows chose {chosen}, by their mAP: {measured}."
    say(sentence)
    if chosen == START:
        return context.cached, chosen, sentence
    load_weights(dict(network.named_parameters()), encoders)
    return features, chosen, sentence


def choose(scores: Mapping[str, ValidationScores]) -> str:
    """The candidate with the highest mean; one that loses to the start on a field subset beyond chance is none."""
    candidates = [START, *(name for name in (AGAIN, TRAINED) if not loses([(scores[name], scores[START])]))]
    return max(candidates, key=lambda name: scores[name].mean)


def _fit_again(context: TrainingContext, features: Features) -> Maps:
    if not context.processes.leads:
        return {}
    seed = context.config.seed
    regressions = collect_regressions(context.model.network.eval(), features, context.data, seed)
    return fit_closed_forms(regressions, seed, groups=context.groups).get("kernel ridge", {})


def set_maps(context: TrainingContext, maps: Maps) -> Maps:
    """Set the leading process's maps in all processes, which get them."""
    shared: Maps = context.processes.from_leader(dict(maps))
    for field, base in shared.items():
        context.model.network.set_base_map(field, base)
    return shared


def score_by_map(context: TrainingContext, features: Features, validation: HeldOutTask) -> ValidationScores:
    """What the network, in its present state, scores on held-out rows by mAP; the same in all processes."""
    scores = ValidationScores({})
    if context.processes.leads:
        embeddings = embed_held_out(context.model.network, features, context.data, validation)
        scores = score_validation(embeddings, validation.subsets, build_variants(context.config), _METRIC)
    shared: ValidationScores = context.processes.from_leader(scores)
    return shared
