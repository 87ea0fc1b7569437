"""Fusion: the towers of the fields that an item has become one item embedding."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaskedFusion(nn.Module):
    """A gated mean over present fields.

    Every field has a learned weight and a gate that reads its vector; absent fields weigh nothing. All weights start
    equal, so the untrained item is the mean of its fields, and an item with one field is that field's vector, always.
    """

    def __init__(self, fields: int, dim: int) -> None:
        super().__init__()
        self.field_logits = nn.Parameter(torch.zeros(fields))
        self.gates = nn.Parameter(torch.zeros(fields, dim))

    @contextmanager
    def with_field_logits(self, logits: Tensor) -> Iterator[None]:
        """Weigh fields by the exponentials of these logits (fields,) inside the block."""
        own = self.field_logits.detach().clone()
        with torch.no_grad():
            self.field_logits.copy_(logits)
        try:
            yield
        finally:
            with torch.no_grad():
                self.field_logits.copy_(own)

    def forward(self, towers: Tensor, present: Tensor, fields: Sequence[int] | None = None) -> Tensor:
        """Fuse.

        Args:
            towers: (n, fields, dim) unit vectors; the values of absent fields are ignored, NaN included.
            present: (n, fields) bool.
            fields: the numbers of the given fields, where the others are absent; None: all are given, in order.

        Returns:
            (n, dim) unit vectors; NaN for an item that has no field at all.
        """
        given = slice(None) if fields is None else list(fields)
        towers = torch.where(present[..., None], towers, 0.0)
        logits = self.field_logits[given] + (towers * self.gates[given]).sum(dim=-1)
        weights = logits.masked_fill(~present, float("-inf")).softmax(dim=-1)
        # an item without any field becomes NaN here, which is its answer
        fused = functional.normalize((weights[..., None] * towers).sum(dim=1), dim=-1)
        alone = present.sum(dim=-1, keepdim=True) == 1
        return torch.where(alone, towers.sum(dim=1), fused)

    def fuse_some(self, fields: list[int], towers: Tensor, present: Tensor, others: Tensor) -> Tensor:
        """Fuse as `forward` does, for items whose other fields are summed up already.

        Args:
            fields: the numbers of k fields.
            towers: (n, k, dim) unit vectors.
            present: (n, k) bool.
            others: (n, dim) the sum of the vectors of the other present fields, each times the exponential of its
                logit; 0 where there are none. Their gates have to be 0.

        Returns:
            (n, dim) unit vectors; 0 for an item that has no field at all.
        """
        logits = self.field_logits[fields] + (towers * self.gates[fields]).sum(dim=-1)
        weights = logits.exp() * present  # the length of the sum, as of a softmax's, does not matter
        return functional.normalize((weights[..., None] * towers).sum(dim=1) + others, dim=-1)
