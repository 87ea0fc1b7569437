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

    def fuse_values(
        self,
        vectors: Sequence[Tensor],
        places: Tensor,
        fields: Sequence[int] | None = None,
        others: Tensor | None = None,
    ) -> Tensor:
        """Fuse as `forward` does, for items that share the values of their fields, without copying these for each item.

        Args:
            vectors: of each field, (values, dim) of unit length.
            places: (n, fields) int64 which of these values an item shows; negative: it lacks the field.
            fields: the numbers of the given fields, where the others are absent; None: all are given, in order.
            others: (n, dim) the sum of the vectors of the other present fields, each times the exponential of its
                logit; 0 where there are none. Their gates have to be 0.

        Returns:
            (n, dim) unit vectors. An item that has no field at all is NaN, and 0 where `others` are given.
        """
        given = range(len(vectors)) if fields is None else fields
        present = places >= 0
        starts = torch.tensor([0, *(len(each) for each in vectors[:-1])], device=places.device).cumsum(0)
        rows = torch.where(present, places + starts, 0)
        nobody = vectors[0].new_zeros(1, vectors[0].shape[1])  # there may be no values at all
        values = torch.cat([*vectors, nobody])
        weighed = zip(vectors, self.gates[list(given)], self.field_logits[list(given)], strict=True)
        of_values = [each @ gate + logit for each, gate, logit in weighed]
        logits = functional.embedding(rows, torch.cat([*of_values, nobody[0, :1]])[:, None]).squeeze(-1)
        if others is not None:
            weights = logits.exp() * present  # the length of the sum, as of a softmax's, does not matter
            return functional.normalize(self._sum(rows, values, weights) + others, dim=-1)
        weights = logits.masked_fill(~present, float("-inf")).softmax(dim=-1)
        summed = self._sum(rows, values, weights)
        alone = present.sum(dim=-1, keepdim=True) == 1
        return torch.where(alone, summed, functional.normalize(summed, dim=-1))

    @staticmethod
    def _sum(rows: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        """(n, dim) the weighted sum of the values (v, dim) at rows (n, k)."""
        return functional.embedding_bag(rows, values, per_sample_weights=weights, mode="sum")
