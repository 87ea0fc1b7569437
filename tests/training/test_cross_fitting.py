"""Cross-fitting against fits that really leave the group out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.training import cross_fitting, kernel_ridge
from likewise.training.cross_fitting import CrossFit, cross_fit_kernel_ridge
from likewise.training.kernel_ridge import fit_kernel_ridge, solve_kernel_ridge

EXAMPLE_LIMITS = pytest.mark.parametrize("most", [4096, 60], ids=["exact", "nystrom"])


def draw_catalogue(rows=300, width=8, dim=3, seed=0, noise=0.3):
    """Rows in groups of 1 to 7; some inputs are twice in a group, some in two groups."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, width)).astype(np.float32)
    groups = np.repeat(np.arange(rows), random.integers(1, 8, rows))[:rows] * 10
    for _ in range(rows // 10):
        row = random.integers(1, rows)
        x[row] = x[row - 1]  # mostly of the same group
        x[random.integers(rows)] = x[random.integers(rows)]
    y = np.tanh(x @ random.normal(size=(width, dim))) + random.normal(size=(rows, dim), scale=noise)
    order = random.permutation(rows)
    return x[order], y.astype(np.float32)[order], groups[order]


def read(fitted, x):
    """The design of a map at these features in float64: [k(x, examples), 1]."""
    values = {name: value.double().numpy() for name, value in fitted.state_dict().items()}
    units = (x - values["centre"]) / values["scale"]
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return np.column_stack([np.exp(2 * (units @ values["examples"].T - 1)), np.ones(len(x))])


def refit(fitted, penalty, x, y):
    """Coefficients of the ridge regression on these rows alone, by least squares: the penalty is rows of its own."""
    x, place = np.unique(x, axis=0, return_inverse=True)
    y = np.stack([y[place.ravel() == row].mean(axis=0) for row in range(len(x))])
    examples = fitted.examples.double().numpy()
    eigenvalues, vectors = np.linalg.eigh(np.exp(2 * (examples @ examples.T - 1)))
    root = np.sqrt(penalty * np.maximum(eigenvalues, 0.0))[:, None] * vectors.T
    rows = np.concatenate([read(fitted, x), np.column_stack([root, np.zeros(len(root))])])
    return np.linalg.lstsq(rows, np.concatenate([y, np.zeros((len(root), y.shape[1]))]), rcond=1e-12)[0]


def differ(x, y, groups, probes, *, left_out=None, seed=0):
    """The largest difference between the cross-fit and real refits, at the group's own rows and at `probes`."""
    ridge = solve_kernel_ridge(x, y, seed=seed)
    fit, largest = CrossFit(ridge, y, groups), 0.0
    for group in np.unique(groups) if left_out is None else left_out:
        own = groups == group
        new = np.concatenate([x[own], probes])
        expected = read(ridge.fitted, new) @ refit(ridge.fitted, ridge.solution.penalty, x[~own], y[~own])
        said = predict(fit, new, np.full(len(new), group))
        largest = max(largest, np.abs(said - expected).max())
    return largest


def predict(fit, x, groups):
    return fit.predict(torch.from_numpy(np.asarray(x, np.float32)), torch.from_numpy(groups)).numpy()


@EXAMPLE_LIMITS
def test_it_says_what_a_fit_without_the_group_says(monkeypatch, most):
    monkeypatch.setattr(kernel_ridge, "_MOST_EXAMPLES", most)
    monkeypatch.setattr(cross_fitting, "_FIT_CHUNK", 50)
    x, y, groups = draw_catalogue()
    probes = draw_catalogue(20, seed=1)[0]
    in_sample = torch.abs(fit_kernel_ridge(x, y, seed=0)(torch.from_numpy(x)) - torch.from_numpy(y)).mean()
    _, fit = cross_fit_kernel_ridge(x, y, groups, seed=0)
    assert np.abs(predict(fit, x, groups) - y).mean() > 1.1 * in_sample
    assert differ(x, y, groups, probes) < 1e-4
