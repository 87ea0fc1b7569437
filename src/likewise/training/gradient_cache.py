"""Gradients of a loss over a large batch in the memory of a small one (Gao et al. 2021, https://arxiv.org/abs/2101.06983).

A contrastive loss needs all vectors of a batch at once, but the towers need not hold all activations for that. They
encode part by part without keeping any; the loss gives the gradient of every vector; then each part is encoded again,
with the same crops and the same dropout, and its vectors' gradients are sent back through the tower. That costs one
more forward pass. Gradients are those of the whole batch, to the last rounding.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from likewise.training.batches import TowerInput


def backward_in_parts(
    inputs: Sequence[TowerInput],
    size: int,
    encode: Callable[[TowerInput], Tensor],
    compute_loss: Callable[[Mapping[str, Tensor]], Tensor],
) -> Tensor:
    """Add the gradients of `compute_loss` to those of all parameters that `encode` and `compute_loss` use.

    Args:
        inputs: one for each tower.
        size: values of an input whose activations are in memory at a time.
        encode: an input, or a part of it, to vectors (values, dim); the same each time.
        compute_loss: the loss of the vectors of all towers.

    Returns:
        () the loss.
    """
    parts = [list(each.parts(size)) for each in inputs]
    with torch.no_grad():
        vectors = {
            each.tower: torch.cat([encode(part) for part in own]) if own else encode(each)
            for each, own in zip(inputs, parts, strict=True)
        }
    for tower in vectors.values():
        tower.requires_grad_(True)
    loss = compute_loss(vectors)
    if not loss.requires_grad:
        return loss
    loss.backward()
    for each, own in zip(inputs, parts, strict=True):
        gradient = vectors[each.tower].grad
        if gradient is None:
            continue
        for part in own:
            again = encode(part)
            if again.requires_grad:
                again.backward(gradient[part.start : part.start + len(part.values)])
    return loss
