"""Cross-fitting in closed form: what kernel ridge says of a row when it was fitted without the row's group.

A fit knows its own rows by heart. What trains on top of it has to see answers as it gives them for new rows, or finds
nothing to learn. The fit is linear in its targets, so leaving out a group is the same as moving the targets of the
group's inputs to where the fit without them predicts them (leave-one-out by the influence matrix; Allen, 1974;
Golub, Heath and Wahba, 1979), and that is known without fitting again.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from likewise.model.heads import KernelMap
from likewise.training.kernel_ridge import Doubles, KernelRidge, Rows, Vectors, solve_kernel_ridge, sum_by_place

_FIT_CHUNK = 2048
_FEW_GROUPS = 16
_PREDICT_CHUNK = 64  # fewer rows: fewer products between rows and inputs of other groups


def cross_fit_kernel_ridge(
    x: Vectors, y: Vectors, groups: Rows, *, seed: int, codes: Rows | None = None
) -> tuple[KernelMap, "CrossFit"]:
    """Fit a map as `fit_kernel_ridge` does, together with its predictions when a group of rows is left out.

    One factorisation serves both.

    Args:
        x: (n, width) finite features.
        y: (n, dim) targets. For a head with a base they are what the kernel adds to the base.
        groups: (n,) int64 codes; rows with the same code are left out together.
        seed: which rows are examples, where not all can be.
        codes: (n,) rows with the same code are equal; None: not known.

    Raises:
        ValueError: fewer than two distinct rows, or another number of groups than of rows.
    """
    if len(groups) != len(x):
        raise ValueError(f"{len(x)} rows but {len(groups)} groups")
    ridge = solve_kernel_ridge(x, y, seed=seed, codes=codes)
    return ridge.fitted, CrossFit(ridge, y, groups)


class CrossFit:
    """Predictions of a kernel ridge regression fitted without one group of its rows, at any features.

    Examples, their statistics and the penalty stay those of the whole fit; only what the rows of the group say is left
    out. Where other groups have rows with the same input, their mean target remains. A fit that is left with one input
    predicts its target everywhere, and one that is left with none predicts 0.

    It is a copy of the fit and stands still while the map trains on. It takes the memory of a float32 matrix
    (n, m + 1) for n distinct inputs and m examples, at most 20,000 × 4,097 in training (328 MB). While it is built, a
    block of it is held in float64, of 2,048 rows or those of the largest group. For a group of more inputs than the
    targets have dimensions, and where groups are few, such as folds, the weights without it are kept as well.
    """

    def __init__(self, ridge: KernelRidge, y: Vectors, groups: Rows) -> None:
        """Of a solved regression with these targets (rows, dim) and groups (rows,)."""
        shares, solution = _share_inputs(ridge, y, groups), ridge.solution
        self._codes, self._bounds = shares.codes, shares.bounds
        self._map = copy.deepcopy(ridge.fitted)
        sensitivities = np.empty((len(ridge.targets), len(solution.weights) + 1), np.float32)
        moves = np.empty(shares.shifts.shape, np.float32)
        for groups_of_block in _split_groups(shares.bounds):
            block = slice(groups_of_block[0], groups_of_block[-1])
            inputs = shares.inputs[block]
            design, by_target = solution.linearise(inputs)
            sensitivities[inputs] = by_target
            residuals = ridge.targets[inputs] - design[:, :-1] @ solution.weights - solution.bias
            for start, end in pairwise(groups_of_block):
                share, part = slice(start, end), slice(start - block.start, end - block.start)
                emptied, shifts = shares.emptied[share], shares.shifts[share]
                if emptied.sum() == len(ridge.targets):  # nothing is left to fit
                    moves[share] = -ridge.targets[inputs[part]]
                else:
                    moves[share] = _move_targets(design[part], by_target[part], residuals[part], shifts, emptied)
        self._inputs = torch.from_numpy(shares.inputs)
        self._sensitivities, self._moves = torch.from_numpy(sensitivities), torch.from_numpy(moves)
        large = np.flatnonzero((np.diff(shares.bounds) > len(solution.bias)) | (len(shares.bounds) - 1 <= _FEW_GROUPS))
        self._changes = {int(group): self._change_weights(int(group)) for group in large}

    def _change_weights(self, group: int) -> Tensor:
        """(m + 1, dim) how weights and bias change without a group."""
        pairs = slice(int(self._bounds[group]), int(self._bounds[group + 1]))
        return self._sensitivities[self._inputs[pairs]].T @ self._moves[pairs]

    def to(self, device: torch.device | str) -> Self:
        """Move it to the device of the features."""
        self._map.to(device)
        self._inputs, self._moves = self._inputs.to(device), self._moves.to(device)
        self._sensitivities = self._sensitivities.to(device)
        self._changes = {group: change.to(device) for group, change in self._changes.items()}
        return self

    @torch.no_grad()
    def predict(self, features: Tensor, groups: Tensor) -> Tensor:
        """What the kernel map (without a head's base) says of features when the rows of a group are left out.

        Args:
            features: (batch, width) float32 on the device of this object; of any input, not only of those fitted.
            groups: (batch,) int64 codes, best on the CPU; a code that no row of the fit has leaves nothing out.

        Returns:
            (batch, dim) float32 without a gradient.
        """
        similarities = self._map.similarities(features)
        predicted = functional.linear(similarities, self._map.weight, self._map.bias)
        design = functional.pad(similarities, (0, 1), value=1.0)
        found = self._find_groups(groups.cpu().numpy())
        for group, change in self._changes.items():
            of_group = np.flatnonzero(found == group)
            predicted[of_group] += design[of_group] @ change
        known = np.flatnonzero((found >= 0) & ~np.isin(found, list(self._changes)))
        by_group = known[np.argsort(found[known], kind="stable")]
        for start in range(0, len(by_group), _PREDICT_CHUNK):
            chunk = by_group[start : start + _PREDICT_CHUNK]
            left_out = np.unique(found[chunk])
            pairs = [np.arange(self._bounds[group], self._bounds[group + 1]) for group in left_out]
            own = found[chunk][:, None] == np.repeat(left_out, [len(part) for part in pairs])
            arrays = (chunk, np.concatenate(pairs), own)
            rows, moved, mask = (torch.from_numpy(array).to(features.device) for array in arrays)
            influence = design[rows] @ self._sensitivities[self._inputs[moved]].T
            predicted[rows] += (influence * mask) @ self._moves[moved]
        return predicted

    def _find_groups(self, codes: Rows) -> Rows:
        """Where each code is in the fit; -1: nowhere."""
        found = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return np.where(self._codes[found] == codes, found, -1)


@dataclass(frozen=True)
class _Shares:
    """Every pair of a group and an input that its rows have, in the order of the groups.

    Attributes:
        codes: (groups,) distinct, in order.
        bounds: (groups + 1,) where the pairs of a group begin and end.
        inputs: (pairs,) distinct inputs.
        emptied: (pairs,) whether no other group has a row with the input.
        shifts: (pairs, dim) how the input's mean target changes without the group; 0 where it is emptied.
    """

    codes: Rows
    bounds: Rows
    inputs: Rows
    emptied: NDArray[np.bool_]
    shifts: Doubles


def _share_inputs(ridge: KernelRidge, y: Vectors, groups: Rows) -> _Shares:
    count = len(ridge.targets)
    codes, group = np.unique(groups, return_inverse=True)
    pairs, pair = np.unique(group * count + ridge.places, return_inverse=True)
    group, inputs = np.divmod(pairs, count)
    sums = sum_by_place(y, pair)
    own, total = np.bincount(pair), np.bincount(ridge.places)[inputs]
    emptied = own == total
    mean, left = ridge.targets[inputs], np.maximum(total - own, 1)
    # (total · mean - sums) / left - mean, where total = own + left
    shifts = np.where(emptied[:, None], 0.0, (own[:, None] * mean - sums) / left[:, None])
    return _Shares(codes, np.searchsorted(group, np.arange(len(codes) + 1)), inputs, emptied, shifts)


def _split_groups(bounds: Rows) -> Iterator[Rows]:
    """The bounds of whole groups with at most `_FIT_CHUNK` pairs together, or of one larger group."""
    first = 0
    while first < len(bounds) - 1:
        last = max(int(np.searchsorted(bounds, bounds[first] + _FIT_CHUNK, side="right")) - 1, first + 1)
        yield bounds[first : last + 1]
        first = last


def _move_targets(
    design: Doubles, by_target: Doubles, residuals: Doubles, shifts: Doubles, emptied: NDArray[np.bool_]
) -> Doubles:
    """How targets (inputs, dim) move when a group is left out.

    Those of emptied inputs move to where the fit without them is, so that they pull at nothing: with the influence
    matrix H = design @ by_target', r the residuals and d the shifts of the other inputs, (I - H) moves = H d - r.
    """
    moves = shifts.copy()
    design, answers = design[emptied], by_target[emptied]
    wanted = np.linalg.multi_dot([design, by_target[~emptied].T, shifts[~emptied]]) - residuals[emptied]
    if len(design) <= design.shape[1]:
        moves[emptied] = np.linalg.solve(np.eye(len(design)) - design @ answers.T, wanted)
    else:  # the same, by the smaller matrix
        smaller = np.eye(design.shape[1]) - answers.T @ design
        moves[emptied] = wanted + design @ np.linalg.solve(smaller, answers.T @ wanted)
    return moves
