"""The forms in which an index may keep a vector: whole, cut short, in a byte or a bit for each number.

A form that the user asks for is trained and validated beside the whole vector. Cut short is Matryoshka representation
learning (Kusupati et al. 2022, https://arxiv.org/abs/2205.13147). Rounding has no slope to learn from, so gradients
pass it as if it were not there (the straight-through estimator; Bengio et al. 2013, https://arxiv.org/abs/1308.3432).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from likewise.config import TrainConfig

Form = Callable[[Tensor], Tensor]

_STEPS = 127
_TINY = 1e-12


def forms_of(config: TrainConfig) -> list[Form]:
    """Functions of unit vectors (n, dim) → (n, dim or less), again of unit length; the first leaves them as they are.

    Every length of `config.matryoshka` is a form of its own. With `config.quantization`, whole and cut vectors are seen
    rounded, too. A row of NaN stays one.
    """
    whole: list[Form] = [_as_they_are, *(partial(_cut, dim=dim) for dim in config.matryoshka)]
    if config.quantization is None:
        return whole
    rounded = {"int8": _in_bytes, "binary": _in_bits}[config.quantization]
    return [*whole, *(partial(_rounded, form=form, rounded=rounded) for form in whole)]


def _as_they_are(vectors: Tensor) -> Tensor:
    return vectors


def _cut(vectors: Tensor, *, dim: int) -> Tensor:
    return functional.normalize(vectors[:, :dim], dim=-1)


def _rounded(vectors: Tensor, *, form: Form, rounded: Form) -> Tensor:
    vectors = form(vectors)
    with torch.no_grad():
        lost = functional.normalize(rounded(vectors), dim=-1) - vectors
    return vectors + lost


def _in_bytes(vectors: Tensor) -> Tensor:
    """Whole numbers from −127 to 127, the largest number of each vector being one of these."""
    return (vectors * (_STEPS / vectors.abs().amax(dim=-1, keepdim=True).clamp(min=_TINY))).round()


def _in_bits(vectors: Tensor) -> Tensor:
    """1 for what is above 0 and else −1, which all engines agree on."""
    return torch.where(vectors > 0, 1.0, -1.0).to(vectors).where(~vectors.isnan(), vectors)
