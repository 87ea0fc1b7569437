"""Kernel ridge regression: the closed-form map that the towers begin at, better than a linear one on few examples.

With a Gaussian kernel on unit vectors. The penalty is the one with the least generalised cross-validation error (Golub,
Heath and Wahba, 1979). Beyond `_MOST_EXAMPLES`, a random part of the rows are the examples and all rows decide about
their weights (Nyström's approximation; Williams and Seeger, 2001).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from likewise.evaluation.baselines import best_penalty
from likewise.model.kernel import KernelMap
from likewise.seeds import Stream, random_stream

Vectors = NDArray[np.float32]
Doubles = NDArray[np.float64]

_MOST_EXAMPLES = 4096
_LEAST_SCALE = 1e-6
_CHUNK = 2048


def fit_kernel_ridge(x: Vectors, y: Vectors, *, seed: int) -> KernelMap:
    """A map without a base from `x` to `y`.

    Args:
        x: (n, width) finite features; equal rows count as one, which means the average of their targets.
        y: (n, dim) targets.
        seed: which rows are examples, where not all can be.

    Raises:
        ValueError: fewer than two distinct rows.
    """
    x, targets = _distinct(x, y)
    if len(x) < 2:
        raise ValueError("a map needs at least two distinct inputs")
    centre, scale = x.mean(axis=0), x.std(axis=0) + _LEAST_SCALE
    units = (x - centre) / scale
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), _LEAST_SCALE)
    chosen = np.arange(len(units))
    if len(units) > _MOST_EXAMPLES:
        chosen = np.sort(random_stream(seed, Stream.KERNEL_EXAMPLES).choice(chosen, _MOST_EXAMPLES, replace=False))
    weights, bias, penalty = _exact(units[chosen], targets[chosen])
    if len(chosen) < len(units):
        weights, bias = _by_all_rows(units, targets, units[chosen], penalty)
    fitted = KernelMap(x.shape[1], y.shape[1], len(chosen))
    values = {"centre": centre, "scale": scale, "examples": units[chosen], "weight": weights.T, "bias": bias}
    fitted.load_state_dict({name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()})
    return fitted


def _exact(examples: Vectors, targets: Doubles) -> tuple[Doubles, Doubles, float]:
    """Weights (n, dim), bias (dim,) and penalty where the examples are all of the rows."""
    kernel = _kernel(examples, examples)
    by_example, mean = kernel.mean(axis=0), targets.mean(axis=0)
    eigenvalues, vectors = np.linalg.eigh(kernel - by_example - by_example[:, None] + kernel.mean())
    eigenvalues = np.maximum(eigenvalues, 0.0)
    rotated = vectors.T @ (targets - mean)
    explained = eigenvalues * (rotated**2).sum(axis=1)
    penalty = best_penalty(eigenvalues, explained, float((rotated**2).sum()), len(examples))
    weights = vectors @ (rotated / (eigenvalues + penalty)[:, None])
    return weights, mean - by_example @ weights, penalty


def _by_all_rows(units: Vectors, targets: Doubles, examples: Vectors, penalty: float) -> tuple[Doubles, Doubles]:
    """Weights (examples, dim) and bias (dim,) by which all rows are met best."""
    parts = [slice(start, start + _CHUNK) for start in range(0, len(units), _CHUNK)]
    by_example = np.sum([_kernel(units[part], examples).sum(axis=0) for part in parts], axis=0) / len(units)
    mean = targets.mean(axis=0)
    gram = penalty * _kernel(examples, examples)
    cross = np.zeros((len(examples), targets.shape[1]))
    for part in parts:
        centred = _kernel(units[part], examples) - by_example
        gram += centred.T @ centred
        cross += centred.T @ (targets[part] - mean)
    gram.flat[:: len(gram) + 1] += 1e-9 * gram.trace() / len(gram)  # examples may be almost equal
    weights = np.linalg.solve(gram, cross).astype(np.float64, copy=False)
    return weights, mean - by_example @ weights


def _kernel(one: Vectors, other: Vectors) -> Doubles:
    kernel: Doubles = np.exp(2 * (one @ other.T - 1).astype(np.float64))
    return kernel


def _distinct(x: Vectors, y: Vectors) -> tuple[Vectors, Doubles]:
    _, first, place = np.unique(x, axis=0, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), y.shape[1]))
    np.add.at(sums, place.ravel(), y)
    return x[first], sums / np.bincount(place.ravel())[:, None]
