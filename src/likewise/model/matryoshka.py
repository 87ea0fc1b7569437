"""Matryoshka and quantization: the variants in which an index may keep vectors, trained along with the whole ones.

Truncated vectors are Matryoshka representation learning (Kusupati et al. 2022, https://arxiv.org/abs/2205.13147).
Rounding has no slope to learn from, so gradients pass it unchanged (the straight-through estimator; Bengio et al. 2013,
https://arxiv.org/abs/1308.3432).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from likewise.config import TrainConfig

Variant = Callable[[Tensor], Tensor]

_STEPS = 127
_TINY = 1e-12


def build_variants(config: TrainConfig) -> list[Variant]:
    """Functions of unit vectors (n, dim) → (n, dim or less), again of unit length; the first returns them unchanged.

    Every length of `config.matryoshka` is a variant. With `config.quantization`, whole and truncated vectors are also
    rounded. A row of NaN stays one.
    """
    whole: list[Variant] = [torch.positive, *(partial(truncate, dim=dim) for dim in config.matryoshka)]
    if config.quantization is None:
        return whole
    quantize = {"int8": quantize_int8, "binary": quantize_binary}[config.quantization]
    return [*whole, *(partial(_straight_through, variant=variant, quantize=quantize) for variant in whole)]


def truncate(vectors: Tensor, *, dim: int) -> Tensor:
    """The first numbers of each vector, at unit length: (n, width) → (n, dim)."""
    return functional.normalize(vectors[:, :dim], dim=-1)


def quantize_int8(vectors: Tensor) -> Tensor:
    """Whole numbers from −127 to 127; the largest number of each vector becomes one of these."""
    return (vectors * (_STEPS / vectors.abs().amax(dim=-1, keepdim=True).clamp(min=_TINY))).round()


def quantize_binary(vectors: Tensor) -> Tensor:
    """1 for what is above 0 and else −1, which all engines agree on."""
    return torch.where(vectors > 0, 1.0, -1.0).to(vectors).where(~vectors.isnan(), vectors)


def _straight_through(vectors: Tensor, *, variant: Variant, quantize: Variant) -> Tensor:
    vectors = variant(vectors)
    with torch.no_grad():
        lost = functional.normalize(quantize(vectors), dim=-1) - vectors
    return vectors + lost
