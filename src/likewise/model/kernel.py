"""Kernel ridge regression as a layer: what an input means is read off the examples that it resembles."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional


class KernelMap(nn.Module):
    """x → base(x) + weight · k(x, examples) + bias, with k(x, e) = exp(-|u(x) - u(e)|²).

    u standardises every feature and scales the vector to unit length, so k is an exponential of the cosine. Examples
    and their statistics stand still; weight and bias can train on.

    Attributes:
        base: a linear map that is kept beside the examples; None: there is none.
        examples: (n, width) of unit length, as u sees them.
    """

    centre: Tensor
    scale: Tensor
    examples: Tensor

    def __init__(self, width: int, dim: int, examples: int, base: nn.Linear | None = None) -> None:
        super().__init__()
        self.base = base
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("examples", torch.zeros(examples, width))
        self.weight = nn.Parameter(torch.zeros(dim, examples))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, features: Tensor) -> Tensor:
        """(…, width) → (…, dim)."""
        cosines = functional.normalize((features - self.centre) / self.scale, dim=-1) @ self.examples.T
        mapped = functional.linear(torch.exp(2 * (cosines - 1)), self.weight, self.bias)
        return mapped if self.base is None else mapped + self.base(features)


def empty_map(weights: Mapping[str, Tensor], module: str, dim: int) -> KernelMap | None:
    """A map with room for what these weights hold of a `KernelMap`; None where they hold none of this width.

    It takes no more memory than the weights do, which may come from anyone.
    """
    examples, weight = weights.get(f"{module}.examples"), weights.get(f"{module}.weight")
    if examples is None or weight is None or examples.ndim != 2 or weight.shape != (dim, len(examples)):
        return None
    return KernelMap(examples.shape[1], dim, len(examples))
