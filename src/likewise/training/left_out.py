"""Towers that start at kernel ridge, as they answer for a row whose group the closed form has not seen.

A closed form knows its own rows by heart. What trains above it sees its cross-fitted answers instead, which are as good
as those for new items, so there is something to learn.
"""

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from likewise.catalog.identity import Codes
from likewise.model.heads import KernelMap, VectorHead
from likewise.model.network import Network
from likewise.training.batches import ItemViews, TrainingSet, count_numbers, pair_with_rows, split_pairs
from likewise.training.cross_fitting import CrossFit
from likewise.training.features import Features, read_field

Rows = NDArray[np.int64]

_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class StartFit:
    """Kernel ridge for one field, with its predictions when a group of rows is left out.

    Attributes:
        kernel: of the fit, without a base.
        left_out: of the same fit.
        middle: (dim,) what enters the tower in any case.
        share: how much of what both say beyond it enters the tower, from 0 to 1.
    """

    kernel: KernelMap
    left_out: CrossFit
    middle: Tensor
    share: float = 1.0

    def weigh(self, share: float) -> "StartFit":
        """The same with another share."""
        return dataclasses.replace(self, share=share)

    def build_map(self) -> KernelMap:
        """A copy of the kernel, weighted with its share."""
        return scale_kernel(self.kernel, self.share, self.middle).requires_grad_(False)

    def predict(self, features: Tensor, groups: Tensor) -> Tensor:
        """(n, dim) what `left_out` says, weighted with the share as `build_map` is."""
        left_out = self.left_out.predict(features, groups)
        return torch.lerp(self.middle.to(left_out), left_out, self.share)


def scale_kernel(kernel: KernelMap, share: float, middle: Tensor) -> KernelMap:
    """A copy of a kernel, of which a share of how it differs from the middle (dim,) is left."""
    scaled = copy.deepcopy(kernel)
    with torch.no_grad():
        scaled.weight.mul_(share)
        scaled.bias.copy_(torch.lerp(middle, scaled.bias, share))
    return scaled


class LeftOutTowers:
    """The towers of the fields that start at kernel ridge, for training.

    Pictures and further fields, of which a row has one value, do not train above their start, so each is embedded
    once, and the further fields of an item are summed up without their towers. Descriptions are answered for as they
    are asked.

    Args:
        network: its heads hold the maps of `fits` (`StartFit.build_map`).
        features: of texts and pictures.
        data: the rows that train.
        fits: by field, with their shares.
        groups: (all rows,) codes of the groups that are left out together, as the fits know them.
    """

    def __init__(
        self, network: Network, features: Features, data: TrainingSet, fits: Mapping[str, StartFit], groups: Codes
    ) -> None:
        self._network = network
        self._features = features
        self._fits = fits
        self._groups = groups
        self._numbers = count_numbers(data.texts)
        self._place = np.full(len(groups), -1)
        if "image" in fits:
            pictured = data.rows[data.has_field("image", data.rows)]
            self._place[pictured] = np.arange(len(pictured))
            self._pictures = self._map_pictures(pictured)
        self._places, self._vectors = self._embed_further(data)

    @property
    def fields(self) -> tuple[str, ...]:
        """Those that start at kernel ridge."""
        return tuple(self._fits)

    @property
    def further_fields(self) -> tuple[str, ...]:
        """Those whose vectors `sum_further` knows."""
        return tuple(self._places)

    @property
    def per_row_fields(self) -> tuple[str, ...]:
        """Those that `embed` answers for row by row: all with a start but the picture and further fields."""
        return tuple(field for field in self._fits if field != "image" and field not in self._places)

    def embed(self, field: str, values: Rows) -> Tensor:
        """(n, dim) unit vectors; gradients reach the residuals alone.

        Args:
            field: one of `fields`, but no further field.
            values: (n,) rows, whose pictures are seen, or `pair_with_rows` of rows and what they show: rows that share
                a text have groups of their own.
        """
        if field == "image":
            return self._embed_pictures(torch.from_numpy(self._place[values]).to(self._pictures.device))
        return self._embed(field, *split_pairs(values, self._numbers))

    def sum_further(self, items: ItemViews) -> Tensor:
        """(n, dim) the weighted sum of the further fields that items show, for `MaskedFusion.fuse_values`."""
        device, logits = self._vectors.device, self._network.fusion.field_logits.detach()
        weights = logits[[self._network.fields.index(field) for field in self._places]].exp()
        shown = np.stack([items.further[field] >= 0 for field in self._places], axis=1)
        places = np.stack([known[items.row] for known in self._places.values()], axis=1)
        return functional.embedding_bag(
            torch.from_numpy(np.where(shown, places, 0)).to(device),
            self._vectors,
            per_sample_weights=torch.from_numpy(shown).to(device) * weights,
            mode="sum",
        )

    def _embed(self, field: str, rows: Rows, shown: Rows) -> Tensor:
        fit, head = self._fits[field], cast(VectorHead, self._network.head(field))
        features = read_field(self._features, self._network, field, shown)
        mapped = fit.predict(features, torch.from_numpy(self._groups[rows]))
        base = cast(KernelMap, head.base).base
        return cast(Tensor, head(features, mapped=mapped if base is None else base(features) + mapped))

    @torch.no_grad()
    def _embed_further(self, data: TrainingSet) -> tuple[dict[str, Rows], Tensor]:
        """By further field, (all rows,) the place of each training row that has it, −1 of others; and (places, dim).

        Rows with the same value in the same group are one place.
        """
        found: dict[str, Rows] = {}
        vectors = [torch.empty(0, self._network.dim, device=self._network.fusion.gates.device)]
        for field in data.texts.further:
            rows = data.rows[data.has_field(field, data.rows)]
            codes = data.texts.field(field)[rows]
            pairs = pair_with_rows(self._groups[rows], codes, self._numbers)
            _, first, place = np.unique(pairs, return_index=True, return_inverse=True)
            places = np.full(len(self._groups), -1)
            places[rows] = sum(map(len, vectors)) + place
            found[field] = places
            for start in range(0, len(first), _ROWS_AT_ONCE):
                part = first[start : start + _ROWS_AT_ONCE]
                vectors.append(self._embed_values(field, rows[part], codes[part]))
        return found, torch.cat(vectors)

    def _embed_values(self, field: str, rows: Rows, shown: Codes) -> Tensor:
        if field in self._fits:
            return self._embed(field, rows, shown)
        return self._network.tower(field, read_field(self._features, self._network, field, shown))

    def _embed_pictures(self, places: Tensor) -> Tensor:
        """(n, dim) of pictures, averaged with their mirror images where the network reads both."""
        shown = functional.normalize(self._pictures[:, places] + self._network.picture_head.offset, dim=-1)
        return shown[0] if len(shown) == 1 else functional.normalize(shown.sum(dim=0), dim=-1)

    @torch.no_grad()
    def _map_pictures(self, rows: Rows) -> Tensor:
        """(sides, rows, dim) what stands still in the tower of pictures, and of mirror images where it reads both."""
        fit, head = self._fits["image"], self._network.picture_head
        sides = (False, True) if self._network.hflip_tta else (False,)
        mapped = torch.empty(len(sides), len(rows), self._network.dim, device=self._network.fusion.gates.device)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            codes = torch.from_numpy(self._groups[part])
            for side, mirrored in enumerate(sides):
                shown = self._features.pictures(part, np.full(len(part), mirrored))
                left_out = fit.predict(head.summary(shown), codes)
                mapped[side, start : start + len(part)] = head.zero_shot_vectors(shown) + left_out
        return mapped
