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


def examples_in(weights: Mapping[str, Tensor], module: str) -> tuple[int, int] | None:
    """(n, width) of the examples of a module that is a `KernelMap` in these weights; None where it is none."""
    examples = weights.get(f"{module}.examples")
    return None if examples is None else (len(examples), examples.shape[-1])
