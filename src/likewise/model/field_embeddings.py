"""Field embeddings: every tower runs once over the items, then any subset of their fields can be fused."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.model.network import Network

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class FieldEmbeddings:
    """What the towers make of items.

    Attributes:
        fields: names of the fields, in the network's order.
        vectors: (items, fields, dim) float32 or float16, unit norm; NaN where an item lacks a field.
    """

    fields: tuple[str, ...]
    vectors: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def presence(self) -> NDArray[np.bool_]:
        """(items, fields) bool: which fields each item has."""
        present: NDArray[np.bool_] = ~np.isnan(self.vectors[..., 0])
        return present

    def field(self, name: str) -> NDArray[np.floating]:
        """(items, dim) one field's vectors; NaN where an item lacks it.

        Raises:
            ValueError: the field was not embedded.
        """
        vectors: NDArray[np.floating] = self.vectors[:, self.fields.index(name)]
        return vectors

    def has_any(self, fields: Sequence[str]) -> NDArray[np.bool_]:
        """(items,) bool: which items have at least one of some fields; unknown ones count as absent."""
        shown = np.isin(self.fields, list(fields))
        return np.asarray(self.presence[:, shown].any(axis=1))

    def fuse(self, network: Network, fields: Sequence[str] | None = None) -> Vectors:
        """(items, dim) float32 item embeddings, seen through some of the fields; NaN where an item has none of them.

        Args:
            network: its fusion, on its device.
            fields: a subset of `self.fields`; None: all.
        """
        shown = [field for field in self.fields if fields is None or field in fields]
        if len(shown) == 1:  # an item of one field is that field's vector
            return self.field(shown[0]).astype(np.float32)
        fused = np.full((len(self), network.dim), np.nan, np.float32)
        if not shown:
            return fused
        device = network.fusion.gates.device
        columns = [self.fields.index(field) for field in shown]
        for start in range(0, len(self), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            towers = torch.from_numpy(self.vectors[rows][:, columns].astype(np.float32, copy=False)).to(device)
            with torch.inference_mode():
                fused[rows] = network.fuse(towers, ~towers[..., 0].isnan(), shown).cpu().numpy()
        return fused


def embed_fields(
    network: Network,
    fields: tuple[str, ...],
    items: int,
    run_tower: Callable[[str], Iterable[tuple[Rows, Tensor]]],
) -> FieldEmbeddings:
    """Run the tower of each field over the items that have it, without gradients.

    Args:
        network: gives the width of the space.
        fields: in the network's order.
        items: how many there are.
        run_tower: yields, for a field, the positions of some items (n,) and their vectors (n, dim).
    """
    vectors = np.full((items, len(fields), network.dim), np.nan, np.float32)
    with torch.inference_mode():
        for column, field in enumerate(fields):
            for places, embedded in run_tower(field):
                vectors[places, column] = embedded.cpu().numpy()
    return FieldEmbeddings(fields, vectors)
