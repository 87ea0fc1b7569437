"""WiSE-FT: interpolation of all weights between the start and the end of training.

Training improves on the data it sees and forgets elsewhere; a point between the two ends often keeps most of both
(Wortsman et al. 2022, https://arxiv.org/abs/2109.01903). The heads are interpolated, too, as their closed-form start
knows words that the catalogue lacks. The validation rows choose the point.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from likewise.evaluation.results import Frontier, FrontierPoint
from likewise.model.network import Network
from likewise.training.validation import ValidationScores

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def copy_weights(network: Network) -> dict[str, Tensor]:
    """Copies of all weights, by name."""
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def interpolate(
    network: Network, before: Mapping[str, Tensor], validate: Callable[[], ValidationScores]
) -> Frontier | None:
    """Set the weights to the point between `before` and now that validates best; of equals, at the most trained one.

    Args:
        before: `copy_weights` the network that training began with.
        validate: scores the network as it is.

    Returns:
        What was measured; None where no weight has moved.
    """
    weights = dict(network.named_parameters())
    after = _copy_changed(weights, before)
    if not after:
        return None
    scores: dict[float, ValidationScores] = {}
    for alpha in ALPHAS:
        _set(weights, before, after, alpha)
        scores[alpha] = validate()
    chosen = max(scores, key=lambda alpha: (scores[alpha].mean, alpha))
    _set(weights, before, after, chosen)
    return Frontier(
        points=[FrontierPoint(alpha=alpha, metrics=at.means) for alpha, at in scores.items()], chosen=chosen
    )


def move_weights(network: Network, before: Mapping[str, Tensor], alpha: float) -> None:
    """Set the weights to the point between `before`, which `copy_weights` copied, and now: 0 is before, 1 is now."""
    weights = dict(network.named_parameters())
    _set(weights, before, _copy_changed(weights, before), alpha)


def _copy_changed(weights: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weights[name].detach().clone() for name in before if not torch.equal(weights[name], before[name])}


@torch.no_grad()
def _set(
    weights: Mapping[str, Tensor], before: Mapping[str, Tensor], after: Mapping[str, Tensor], alpha: float
) -> None:
    for name, trained in after.items():
        weights[name].copy_(torch.lerp(before[name], trained, alpha))
