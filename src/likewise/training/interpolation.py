"""Not forgetting: pretrained weights on the line between where they were and where training took them.

Fine-tuning gains on what it was shown and loses elsewhere; a point between the two ends often has most of both
(WiSE-FT, Wortsman et al. 2022, https://arxiv.org/abs/2109.01903). Which point is chosen on the validation rows.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from likewise.evaluation.results import Frontier, FrontierPoint
from likewise.model.network import Network
from likewise.training.loop import as_good_as
from likewise.training.questions import ScoresBySubset

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
_ENCODERS = "encoders."


def pretrained_weights(network: Network) -> dict[str, Tensor]:
    """Copies of all weights of the encoders, by name."""
    return {name: weight.detach().clone() for name, weight in network.named_parameters() if name.startswith(_ENCODERS)}


def interpolate(
    network: Network, before: Mapping[str, Tensor], validate: Callable[[], ScoresBySubset]
) -> Frontier | None:
    """Leave the encoders' weights at the point between `before` and now that validates best.

    Of points that the validation rows cannot tell apart, the most trained one is kept.

    Args:
        before: `pretrained_weights` of the untrained network.
        validate: scores the network as it is.

    Returns:
        What was measured; None where no pretrained weight has moved.
    """
    weights = dict(network.named_parameters())
    after = {name: weights[name].detach().clone() for name in before if not torch.equal(weights[name], before[name])}
    if not after:
        return None
    found: dict[float, ScoresBySubset] = {}
    for alpha in ALPHAS:
        _set(weights, before, after, alpha)
        found[alpha] = validate()
    scores = {alpha: torch.from_numpy(at.flat) for alpha, at in found.items()}
    peak = max(scores.values(), key=lambda one: float(one.mean()) if len(one) else 0.0)
    chosen = max(alpha for alpha, one in scores.items() if as_good_as(one, peak))
    _set(weights, before, after, chosen)
    return Frontier(points=[FrontierPoint(alpha=alpha, metrics=at.means) for alpha, at in found.items()], chosen=chosen)


@torch.no_grad()
def _set(
    weights: Mapping[str, Tensor], before: Mapping[str, Tensor], after: Mapping[str, Tensor], alpha: float
) -> None:
    for name, trained in after.items():
        weights[name].copy_(torch.lerp(before[name], trained, alpha))
