"""Kernel ridge regression in closed form, exact or with Nyström's approximation."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.evaluation.baselines import best_penalty, best_penalty_by_groups, choose_groups
from likewise.model.heads import KernelMap
from likewise.seeds import Stream, draw_sorted, random_stream

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
Doubles = NDArray[np.float64]

_MOST_EXAMPLES = 4096
_LEAST_SCALE = 1e-6
_KERNEL_CHUNK = 2048


@dataclass(frozen=True)
class ExactSolution:
    """Kernel ridge where all n rows are examples: the least |y - Kw - b|² + penalty · w'Kw."""

    kernel: Doubles  # (n, n)
    eigenvalues: Doubles  # (n,) of the centred kernel
    eigenvectors: Doubles  # (n, n)
    penalty: float
    weights: Doubles  # (n, dim)
    bias: Doubles  # (dim,)

    def linearise(self, rows: Rows) -> tuple[Doubles, Doubles]:
        """What the fit reads at these rows, and how it answers to their targets.

        Returns:
            The design [k(x, examples), 1] and the derivative of (weights, bias) by the row's target; both
            (rows, n + 1).
        """
        centred = self.eigenvectors[rows] - self.eigenvectors.mean(axis=0)
        by_target = (centred / (self.eigenvalues + self.penalty)) @ self.eigenvectors.T
        by_target -= by_target.mean(axis=1, keepdims=True)
        return _with_ones(self.kernel[rows]), _with_bias(by_target, self.kernel.mean(axis=0), len(self.kernel))


@dataclass(frozen=True)
class NystromSolution:
    """Kernel ridge with fewer examples than rows: all n rows decide about the weights of m examples."""

    units: Vectors  # (n, width)
    examples: Vectors  # (m, width)
    kernel_mean: Doubles  # (m,) over the rows
    factors: tuple[Tensor, Tensor]  # LU of the normal equations of the centred problem
    penalty: float
    weights: Doubles  # (m, dim)
    bias: Doubles  # (dim,)

    def linearise(self, rows: Rows) -> tuple[Doubles, Doubles]:
        """As `ExactSolution.linearise`; both (rows, m + 1)."""
        kernel = _gaussian_kernel(self.units[rows], self.examples)
        by_target = _solve_factored(self.factors, (kernel - self.kernel_mean).T).T
        return _with_ones(kernel), _with_bias(by_target, self.kernel_mean, len(self.units))


@dataclass(frozen=True)
class KernelRidge:
    """A solved kernel ridge regression over the n distinct inputs of its rows.

    Attributes:
        fitted: the map from features to targets.
        places: (rows,) the distinct input of each row.
        targets: (n, dim) the mean target of each distinct input.
        solution: the fit to them, in float64.
    """

    fitted: KernelMap
    places: Rows
    targets: Doubles
    solution: ExactSolution | NystromSolution


def fit_kernel_ridge(
    x: Vectors, y: Vectors, *, seed: int, codes: Rows | None = None, groups: Rows | None = None
) -> KernelMap:
    """Fit a map without a base from `x` to `y`, with a Gaussian kernel on unit vectors.

    Beyond `_MOST_EXAMPLES`, a random part of the rows are the examples and all rows decide about their weights
    (Nyström's approximation; Williams and Seeger, 2001). The penalty is the one with the least generalised
    cross-validation error (Golub, Heath and Wahba, 1979), or where rows come in groups, the best for groups that
    are left out as a whole (`best_penalty_by_groups`).

    Args:
        x: (n, width) finite features; equal rows count as one, which means the average of their targets.
        y: (n, dim) targets.
        seed: which rows are examples, where not all can be.
        codes: (n,) rows with the same code are equal, which saves comparing them; None: not known.
        groups: (n,) codes of rows that say the same; None: every row is one of its own.

    Raises:
        ValueError: fewer than two distinct rows.
    """
    return solve_kernel_ridge(x, y, seed=seed, codes=codes, groups=groups).fitted


def solve_kernel_ridge(
    x: Vectors, y: Vectors, *, seed: int, codes: Rows | None = None, groups: Rows | None = None
) -> KernelRidge:
    """The fit of `fit_kernel_ridge` together with its solution, for the same arguments."""
    x, targets, places = _average_duplicates(x, y, codes)
    if len(x) < 2:
        raise ValueError("a map needs at least two distinct inputs")
    centre, scale = x.mean(axis=0), x.std(axis=0) + _LEAST_SCALE
    units = (x - centre) / scale
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), _LEAST_SCALE)
    chosen = draw_sorted(np.arange(len(units)), _MOST_EXAMPLES, random_stream(seed, Stream.KERNEL_EXAMPLES))
    solution: ExactSolution | NystromSolution = _solve_exactly(
        units[chosen], targets[chosen], _group_inputs(groups, places, chosen)
    )
    if len(chosen) < len(units):
        solution = _solve_with_examples(units, targets, units[chosen], solution.penalty)
    fitted = KernelMap(x.shape[1], y.shape[1], len(chosen))
    values = {"centre": centre, "scale": scale, "examples": units[chosen]}
    values |= {"weight": solution.weights.T, "bias": solution.bias}
    fitted.load_state_dict({name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()})
    return KernelRidge(fitted, places, targets, solution)


def _group_inputs(groups: Rows | None, places: Rows, chosen: Rows) -> Rows | None:
    """(chosen,) the groups of distinct inputs; None where an input is of several."""
    if groups is None:
        return None
    of_input = np.empty(places.max() + 1, groups.dtype)
    of_input[places] = groups
    return of_input[chosen] if (of_input[places] == groups).all() else None


def _solve_exactly(examples: Vectors, targets: Doubles, groups: Rows | None = None) -> ExactSolution:
    """The examples are all of the rows."""
    kernel = _gaussian_kernel(examples, examples)
    by_example, mean = kernel.mean(axis=0), targets.mean(axis=0)
    eigenvalues, vectors = np.linalg.eigh(kernel - by_example - by_example[:, None] + kernel.mean())
    eigenvalues = np.maximum(eigenvalues, 0.0)
    rotated = vectors.T @ (targets - mean)
    explained = eigenvalues * (rotated**2).sum(axis=1)
    measured = choose_groups(groups)
    if groups is not None and len(measured):
        roots = np.sqrt(eigenvalues)
        design, left = vectors[measured] * roots, targets[measured] - mean
        by_target = rotated * roots[:, None]
        penalty = best_penalty_by_groups(design, eigenvalues, by_target, left, groups[measured], len(examples))
    else:
        penalty = best_penalty(eigenvalues, explained, float((rotated**2).sum()), len(examples))
    weights = vectors @ (rotated / (eigenvalues + penalty)[:, None])
    return ExactSolution(kernel, eigenvalues, vectors, penalty, weights, mean - by_example @ weights)


def _solve_with_examples(units: Vectors, targets: Doubles, examples: Vectors, penalty: float) -> NystromSolution:
    """Weights and bias that fit all rows best."""
    parts = [slice(start, start + _KERNEL_CHUNK) for start in range(0, len(units), _KERNEL_CHUNK)]
    by_example = np.sum([_gaussian_kernel(units[part], examples).sum(axis=0) for part in parts], axis=0) / len(units)
    mean = targets.mean(axis=0)
    gram = penalty * _gaussian_kernel(examples, examples)
    cross = np.zeros((len(examples), targets.shape[1]))
    for part in parts:
        centred = _gaussian_kernel(units[part], examples) - by_example
        gram += centred.T @ centred
        cross += centred.T @ (targets[part] - mean)
    gram.flat[:: len(gram) + 1] += 1e-9 * gram.trace() / len(gram)  # examples may be almost equal
    factors = torch.linalg.lu_factor(torch.from_numpy(gram))
    weights = _solve_factored(factors, cross)
    return NystromSolution(units, examples, by_example, factors, penalty, weights, mean - by_example @ weights)


def _solve_factored(factors: tuple[Tensor, Tensor], right: Doubles) -> Doubles:
    solved: Doubles = torch.linalg.lu_solve(*factors, torch.from_numpy(right)).numpy()
    return solved


def _with_ones(kernel: Doubles) -> Doubles:
    return np.column_stack([kernel, np.ones(len(kernel))])


def _with_bias(by_target: Doubles, kernel_mean: Doubles, rows: int) -> Doubles:
    """The bias makes up for the mean of the targets, less that of what the weights add."""
    return np.column_stack([by_target, 1 / rows - by_target @ kernel_mean])


def _gaussian_kernel(one: Vectors, other: Vectors) -> Doubles:
    kernel: Doubles = np.exp(2 * (one @ other.T - 1).astype(np.float64))
    return kernel


def _average_duplicates(x: Vectors, y: Vectors, codes: Rows | None) -> tuple[Vectors, Doubles, Rows]:
    _, candidates, by_code = np.unique(
        np.arange(len(x)) if codes is None else codes, return_index=True, return_inverse=True
    )
    _, first, places = np.unique(x[candidates], axis=0, return_index=True, return_inverse=True)
    first, places = candidates[first], places.ravel()[by_code]
    return x[first], sum_by_place(y, places) / np.bincount(places)[:, None], places


def sum_by_place(values: Vectors, places: Rows) -> Doubles:
    """(n, dim) sums of the rows of `values` that have the same place.

    Args:
        values: (rows, dim).
        places: (rows,) from 0 to n - 1, each of them at least once.
    """
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(places[order[-1]] + 1))
    sums: Doubles = np.add.reduceat(values[order], starts, axis=0, dtype=np.float64)
    return sums
