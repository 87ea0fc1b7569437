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


def refit(ridge, penalty_rows, x, y):
    """Coefficients of the ridge regression on these rows alone, by least squares: the penalty is rows of its own."""
    x, place = np.unique(x, axis=0, return_inverse=True)
    y = np.stack([y[place.ravel() == row].mean(axis=0) for row in range(len(x))])
    orthogonal, triangle = torch.linalg.qr(torch.from_numpy(np.concatenate([read(ridge.fitted, x), penalty_rows])))
    rotated = orthogonal[: len(x)].T @ torch.from_numpy(y).double()
    return torch.linalg.solve_triangular(triangle, rotated, upper=True).numpy()


def find_penalty_rows(ridge):
    """Rows whose squared products with the coefficients are the penalty; the bias goes free."""
    examples = ridge.fitted.examples.double().numpy()
    eigenvalues, vectors = np.linalg.eigh(np.exp(2 * (examples @ examples.T - 1)))
    scale = np.sqrt(ridge.solution.penalty * np.maximum(eigenvalues, 0.0) + find_jitter(ridge))
    return np.pad(scale[:, None] * vectors.T, ((0, 0), (0, 1)))


def find_jitter(ridge):
    """What Nyström's approximation adds to the penalty so that examples may be almost equal."""
    if len(ridge.solution.weights) == len(ridge.targets):
        return 0.0
    kernel = ridge.solution.linearise(np.arange(len(ridge.targets)))[0][:, :-1]
    return 1e-9 * (ridge.solution.penalty + kernel.var(axis=0).sum() * len(kernel) / kernel.shape[1])


def differ(x, y, groups, probes, *, left_out=None, seed=0):
    """The largest difference between the cross-fit and real refits, at the group's own rows and at `probes`."""
    ridge = solve_kernel_ridge(x, y, seed=seed)
    fit, penalty_rows, largest = CrossFit(ridge, y, groups), find_penalty_rows(ridge), 0.0
    for group in np.unique(groups) if left_out is None else left_out:
        own = groups == group
        new = np.concatenate([x[own], probes])
        expected = read(ridge.fitted, new) @ refit(ridge, penalty_rows, x[~own], y[~own])
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


@EXAMPLE_LIMITS
def test_half_of_the_rows_can_be_one_group(monkeypatch, most):
    monkeypatch.setattr(kernel_ridge, "_MOST_EXAMPLES", most)
    x, y, groups = draw_catalogue()
    groups[::2] = -7
    assert differ(x, y, groups, draw_catalogue(20, seed=1)[0], left_out=[-7, groups[1]]) < 1e-4


@EXAMPLE_LIMITS
def test_an_unknown_group_leaves_nothing_out(monkeypatch, most):
    monkeypatch.setattr(kernel_ridge, "_MOST_EXAMPLES", most)
    x, y, groups = draw_catalogue()
    fitted, fit = cross_fit_kernel_ridge(x, y, groups, seed=0)
    assert torch.equal(fitted.weight, fit_kernel_ridge(x, y, seed=0).weight)
    plain = fitted(torch.from_numpy(x)).detach().numpy()
    for unknown in (-1, 5, groups.max() + 1):
        assert predict(fit, x, np.full(len(x), unknown)) == pytest.approx(plain, abs=1e-6)
    some = np.where(np.arange(len(x)) % 3 == 0, -1, groups)
    mixed, left_out = predict(fit, x, some), predict(fit, x, groups)
    assert mixed == pytest.approx(np.where(some[:, None] == -1, plain, left_out), abs=1e-5)
    assert np.abs(left_out - plain).max() > 0.1


def test_single_rows_have_the_leave_one_out_residual_of_the_influence_matrix():
    x, y, _ = draw_catalogue()
    x += np.random.default_rng(4).normal(size=x.shape, scale=0.01).astype(np.float32)  # no copies
    ridge = solve_kernel_ridge(x, y, seed=0)
    design = read(ridge.fitted, x[np.argsort(ridge.places)])
    system = np.concatenate([design, np.ones((1, 301))])
    system[:300, :300] += ridge.solution.penalty * np.eye(300)
    system[300, 300] = 0
    influence = (design @ np.linalg.inv(system))[ridge.places][:, ridge.places]
    expected = y - (y - influence @ y) / (1 - influence.diagonal())[:, None]
    assert predict(CrossFit(ridge, y, np.arange(300)), x, np.arange(300)) == pytest.approx(expected, abs=1e-4)


def test_a_copy_in_another_group_still_counts():
    """Without one of two rows with the same input the other one's target is what is known of it."""
    x, y, _ = draw_catalogue(60, noise=0.01)
    x[1], y[1], groups = x[0], y[0] + 4, np.arange(60)
    apart = cross_fit_kernel_ridge(x, y, groups, seed=0)[1]
    assert (predict(apart, x[:1], groups[:1]) - predict(apart, x[:1], groups[1:2])).min() > 1
    groups[1] = groups[0]
    together = cross_fit_kernel_ridge(x, y, groups, seed=0)[1]
    assert np.abs(predict(together, x[:1], groups[:1]) - y[0]).max() < 2


@EXAMPLE_LIMITS
def test_what_is_left_can_be_one_input_or_none(monkeypatch, most):
    monkeypatch.setattr(kernel_ridge, "_MOST_EXAMPLES", most)
    x, y, _ = draw_catalogue(100)
    last = (x == x[-1]).all(axis=1)
    fit = cross_fit_kernel_ridge(x, y, np.where(last, 1, 0), seed=0)[1]
    new = draw_catalogue(20, seed=1)[0]
    assert predict(fit, new, np.zeros(20, int)) == pytest.approx(np.tile(y[last].mean(axis=0), (20, 1)), abs=1e-3)
    alone = cross_fit_kernel_ridge(x, y, np.zeros(100, int), seed=0)[1]
    assert np.abs(predict(alone, new, np.zeros(20, int))).max() < 1e-3


@EXAMPLE_LIMITS
def test_inputs_that_are_nearly_equal_give_finite_answers(monkeypatch, most):
    monkeypatch.setattr(kernel_ridge, "_MOST_EXAMPLES", most)
    x, y, groups = draw_catalogue(200, width=3)
    x[100:] = np.nextafter(x[:100], np.float32(9))
    fit = cross_fit_kernel_ridge(x, y, groups, seed=0)[1]
    said = predict(fit, x, groups)
    assert np.isfinite(said).all()
    assert np.abs(said).max() < 20


@EXAMPLE_LIMITS
def test_it_stands_still_and_passes_no_gradient(monkeypatch, most):
    monkeypatch.setattr(kernel_ridge, "_MOST_EXAMPLES", most)
    x, y, groups = draw_catalogue(100)
    fitted, fit = cross_fit_kernel_ridge(x, y, groups, seed=0)
    before = predict(fit, x, groups)
    with torch.no_grad():
        fitted.weight.zero_()
    features = torch.from_numpy(x).requires_grad_()
    said = fit.predict(features, torch.from_numpy(groups))
    assert not said.requires_grad
    assert np.array_equal(said.numpy(), before)


def test_it_moves_to_the_device_of_the_features():
    x, y, groups = draw_catalogue(50)
    fit = cross_fit_kernel_ridge(x, y, groups, seed=0)[1].to("meta")
    assert fit.predict(torch.from_numpy(x).to("meta"), torch.from_numpy(groups)).device.type == "meta"


def test_rows_and_groups_have_to_match():
    x, y, groups = draw_catalogue(50)
    with pytest.raises(ValueError, match="50 rows but 49 groups"):
        cross_fit_kernel_ridge(x, y, groups[1:], seed=0)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(6, 40),
    width=st.integers(3, 6),
    most=st.integers(3, 50),
    groups=st.integers(2, 12),
    seed=st.integers(0, 10_000),
)
def test_any_small_catalogue_agrees_with_refits(rows, width, most, groups, seed):
    random = np.random.default_rng(seed)
    x, y, _ = draw_catalogue(rows, width=width, seed=seed, noise=1.0)
    codes = random.integers(0, groups, rows)
    codes[:2] = 0, 1
    probes = random.normal(size=(5, width)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_ridge, "_MOST_EXAMPLES", most)
        patch.setattr(cross_fitting, "_FIT_CHUNK", 7)
        rounding = differ(x, y, codes, np.concatenate([x, probes]), left_out=[-1])  # nothing is left out
        assert differ(x, y, codes, probes) < min(3e-4 + 10 * rounding, 1e-2)


def test_a_catalogue_of_pictures_takes_seconds():
    """1,500 rows with as many features as a picture has; the answers are those of a real refit."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(1500, 40))
    x = (hidden @ random.normal(size=(40, 2560)) + random.normal(size=(1500, 2560))).astype(np.float32)
    y = (hidden @ random.normal(size=(40, 16)) / 6 + random.normal(size=(1500, 16)) / 4).astype(np.float32)
    groups = np.arange(1500) // 3
    ridge = solve_kernel_ridge(x, y, seed=0)
    fit = CrossFit(ridge, y, groups)
    own = groups == 7
    first = np.argsort(ridge.places)
    left = ~own[first]
    system = read(ridge.fitted, x[first][left])[:, [*left, True]]
    system = np.concatenate([system, np.ones((1, system.shape[1]))])
    system[:-1, :-1] += ridge.solution.penalty * np.eye(left.sum())
    system[-1, -1] = 0
    coefficients = np.linalg.solve(system, np.pad(ridge.targets[left], ((0, 1), (0, 0))))
    expected = read(ridge.fitted, x[own])[:, [*left, True]] @ coefficients
    assert np.abs(expected - ridge.fitted(torch.from_numpy(x[own])).detach().numpy()).max() > 0.01
    assert predict(fit, x[own], groups[own]) == pytest.approx(expected, abs=1e-4)
    assert np.abs(expected - ridge.fitted(torch.from_numpy(x[own])).detach().numpy()).max() > 0.01
