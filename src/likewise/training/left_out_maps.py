"""Linear starts while encoders train, as they answer for a row whose fold they have not seen.

Ridge regression, too, knows some of its own rows by heart: what trains above it would see answers that are better than
those for new items. Encoders that train move their features and the map with them, so no answer can be known beforehand
as it is above frozen features (`LeftOutTowers`). What stands still is how the map differs where it was fitted without a
fold; in training that is added to the map as it is by then, for the rows of that fold.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from likewise.catalog.identity import Codes
from likewise.model.heads import PictureMap
from likewise.training.initialization import RegressionData, fit_picture_map

_FEWEST_ROWS = 2  # that a map can be fitted to


@dataclass(frozen=True)
class LeftOutMaps:
    """How the linear map of pictures changes where it is fitted without one fold of the rows.

    Attributes:
        folds: (all rows,) codes.
        changes: what is added for the rows of a fold, by its code; a fold without one changes nothing.
        dim: of the answers.
    """

    folds: Codes
    changes: Mapping[int, PictureMap]
    dim: int

    @classmethod
    def fit(cls, fitted: PictureMap, pairs: RegressionData, folds: Codes) -> Self:
        """Fit the map again for each fold, on the other folds' rows.

        Args:
            fitted: of all rows of `pairs`.
            pairs: what it was fitted to.
            folds: (all rows,) codes.
        """
        changes: dict[int, PictureMap] = {}
        for fold in np.unique(folds[pairs.rows]):
            others = np.flatnonzero(folds[pairs.rows] != fold)
            if len(others) >= _FEWEST_ROWS:
                part = RegressionData(pairs.inputs[others], pairs.targets[others], pairs.rows[others], pairs.adds)
                changes[int(fold)] = _subtract(fit_picture_map(part), fitted).requires_grad_(False)
        return cls(folds, changes, fitted.out_features)

    def to(self, device: torch.device | str) -> Self:
        """Move it to the device of the features."""
        for change in self.changes.values():
            change.to(device)
        return self

    def shift(self, rows: Codes) -> Callable[[Tensor], Tensor]:
        """What to add to the map's answers for pictures of these rows.

        Args:
            rows: (n,) of the catalogue.

        Returns:
            A function (n, width) → (n, dim) of what the map reads; gradients reach its argument.
        """
        folds = self.folds[rows]

        def answer(summary: Tensor) -> Tensor:
            shifts = summary.new_zeros(len(summary), self.dim)
            for fold in np.intersect1d(folds, list(self.changes)):
                places = torch.from_numpy(np.flatnonzero(folds == fold)).to(summary.device)
                shifts = shifts.index_copy(0, places, self.changes[int(fold)](summary[places]))
            return shifts

        return answer


def _subtract(one: PictureMap, other: PictureMap) -> PictureMap:
    """The map whose answers are the difference of theirs."""
    weight, bias = (
        a.detach().cpu() - b.detach().cpu() for a, b in ((one.weight, other.weight), (one.bias, other.bias))
    )
    return PictureMap.from_weights(weight, bias)
