"""Stacking after encoders have trained, where titles do not repeat.

Closed forms are fitted again, on the features that training moved, and compared with the trained heads and with kernel
ridge on the features as they were. Validation rows choose between the three: closed forms on moved features cannot be
cross-fitted, because the encoders have seen every row that trains. Going back to the start is a fair outcome. What
training itself begins above is cross-fitted (`LeftOutMaps`).
"""

from collections.abc import Mapping

from torch import Tensor, nn

from likewise.model.closed_forms import BaseMaps
from likewise.progress import say
from likewise.training.closed_form_start import collect_on_leader, fit_for_groups, set_base_maps
from likewise.training.context import TrainingContext
from likewise.training.ema import load_weights
from likewise.training.features import Features
from likewise.training.interpolation import copy_weights
from likewise.training.validation import FINE_METRIC, HeldOutTask, ValidationScores, loses, score_in_all_processes

START, AGAIN, TRAINED = "the start", "closed forms on the new features", "the trained model"
_ENCODERS = "encoders."


def stack_moved_features(
    context: TrainingContext,
    features: Features,
    before: Mapping[str, Tensor],
    untrained: nn.ModuleDict,
    start: BaseMaps,
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
    heads, scores = dict[str, nn.ModuleDict](), dict[str, ValidationScores]()

    def measure(name: str, seen: Features) -> None:
        heads[name] = network.copy_heads()
        scores[name] = score_in_all_processes(context, seen, validation, FINE_METRIC)

    measure(TRAINED, features)
    network.restore_heads(untrained)
    again = fit_for_groups(context, collect_on_leader(context, context.data, features))
    set_base_maps(context, again.get("kernel ridge", {}))
    measure(AGAIN, features)
    load_weights(dict(network.named_parameters()), {name: before[name] for name in encoders})
    network.restore_heads(untrained)
    set_base_maps(context, start)
    measure(START, context.cached)
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
