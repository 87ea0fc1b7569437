"""Kernel ridge regression against its formulas."""

import numpy as np
import pytest
import torch

from likewise.evaluation.baselines import fit_ridge
from likewise.training import kernel_ridge
from likewise.training.kernel_ridge import fit_kernel_ridge, solve_kernel_ridge


def mapped(fitted, x):
    with torch.inference_mode():
        return fitted(torch.from_numpy(x)).numpy()


def curved(rows, seed=0):
    """Inputs on which targets depend, but not along a straight line."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 5)).astype(np.float32)
    y = np.stack([np.abs(x[:, 0]), x[:, 1] * x[:, 2], x[:, 3]], axis=1).astype(np.float32)
    return x, y


def test_it_solves_the_penalised_problem():
    """Where |y - f|² + penalty · w'Kw is least, the residuals are the weights times the penalty and sum to 0."""
    x, y = curved(60)
    order = np.unique(x, axis=0, return_index=True)[1]
    x, y = x[order], y[order]
    fitted = fit_kernel_ridge(x, y, seed=0)
    residuals, weights = y - mapped(fitted, x), fitted.weight.detach().numpy().T
    penalty = (residuals * weights).sum() / (weights**2).sum()
    assert penalty > 0
    assert residuals == pytest.approx(penalty * weights, abs=1e-4)
    assert residuals.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-3)


def test_it_finds_what_no_straight_line_shows():
    x, y = curved(400)
    new_x, new_y = curved(200, seed=1)
    curve = np.square(mapped(fit_kernel_ridge(x, y, seed=0), new_x) - new_y).mean()
    line = np.square(fit_ridge(x, y)(new_x) - new_y).mean()
    assert curve < 0.5 * line


def test_copies_of_a_row_count_once():
    x, y = curved(50)
    twice_x, twice_y = np.concatenate([x, x[:20]]), np.concatenate([y + 0.5, y[:20] - 0.5])
    mean_y = y + np.where(np.arange(50) < 20, 0.0, 0.5)[:, None].astype(np.float32)
    new, _ = curved(10, seed=2)
    assert mapped(fit_kernel_ridge(twice_x, twice_y, seed=0), new) == pytest.approx(
        mapped(fit_kernel_ridge(x, mean_y, seed=0), new), abs=1e-4
    )


def test_beyond_the_most_examples_all_rows_still_count(monkeypatch):
    x, y = curved(600)
    y += np.random.default_rng(3).normal(size=y.shape, scale=0.5).astype(np.float32)
    new_x, new_y = curved(200, seed=1)

    def error(rows, most):
        monkeypatch.setattr(kernel_ridge, "_MOST_EXAMPLES", most)
        monkeypatch.setattr(kernel_ridge, "_KERNEL_CHUNK", 130)
        fitted = fit_kernel_ridge(x[:rows], y[:rows], seed=0)
        assert len(fitted.examples) == min(rows, most)
        return np.square(mapped(fitted, new_x) - new_y).mean()

    assert error(600, 150) < 0.9 * error(150, 150)
    assert error(600, 150) < 1.5 * error(600, 600)


def test_all_rows_as_examples_give_the_exact_solution_either_way():
    x, y = curved(80)
    units, y = x / np.linalg.norm(x, axis=1, keepdims=True), y.astype(np.float64)
    exact = kernel_ridge._solve_exactly(units, y)
    by_all = kernel_ridge._solve_with_examples(units, y, units, exact.penalty)
    kernel = kernel_ridge._gaussian_kernel(units, units)
    assert kernel @ by_all.weights + by_all.bias == pytest.approx(kernel @ exact.weights + exact.bias, abs=1e-4)


def test_one_input_is_not_enough():
    with pytest.raises(ValueError, match="two distinct"):
        fit_kernel_ridge(np.ones((5, 3), np.float32), np.ones((5, 2), np.float32), seed=0)


def test_rows_that_are_known_to_be_equal_need_no_comparison():
    draws = np.random.default_rng(3)
    distinct = draws.standard_normal((9, 5)).astype(np.float32)
    distinct[8] = distinct[0]  # two codes of one input
    codes = draws.integers(0, 9, 60)
    x, y = distinct[codes], draws.standard_normal((60, 4)).astype(np.float32)
    compared, known = (solve_kernel_ridge(x, y, seed=0, codes=given) for given in (None, codes * 7))
    assert (compared.places == known.places).all() and len(compared.targets) == 8
    for name, value in compared.fitted.state_dict().items():
        assert torch.equal(known.fitted.state_dict()[name], value)


def grouped(groups, rows, seed=0):
    """Several noisy views of each thing, which all have the target of the thing."""
    random = np.random.default_rng(seed)
    things = random.normal(size=(groups, 12)).astype(np.float32)
    codes = np.repeat(np.arange(groups), rows)
    x = (things[codes] + random.normal(size=(len(codes), 12), scale=0.05)).astype(np.float32)
    y = (things[:, :3] + random.normal(size=(groups, 3), scale=1.0)).astype(np.float32)[codes]
    return x, y, codes


def test_a_penalty_that_is_chosen_for_groups_serves_new_groups():
    """Leaving out single rows finds next to no penalty, as the others of the group have the same target."""
    x, y, codes = grouped(60, 5)
    random = np.random.default_rng(9)
    new_x = random.normal(size=(400, 12)).astype(np.float32)
    new_y = new_x[:, :3]  # the mean of what such a thing is called
    errors = {}
    for name, groups in {"rows": None, "groups": codes * 3 + 1}.items():
        kernel, line = fit_kernel_ridge(x, y, seed=0, groups=groups), fit_ridge(x, y, groups=groups)
        errors[name] = [np.square(mapped(kernel, new_x) - new_y).mean(), np.square(line(new_x) - new_y).mean()]
    assert errors["groups"][0] < 0.8 * errors["rows"][0]
    assert errors["groups"][1] < errors["rows"][1]


def test_groups_of_one_row_and_inputs_of_several_groups_change_nothing():
    x, y = curved(40)
    plain = fit_kernel_ridge(x, y, seed=0)
    assert torch.equal(fit_kernel_ridge(x, y, seed=0, groups=np.arange(40) * 7).weight, plain.weight)
    twice = np.concatenate([x, x])
    apart, together = np.arange(80), np.tile(np.arange(40), 2)
    same = fit_kernel_ridge(twice, np.concatenate([y, y]), seed=0)
    for groups in (apart, together):
        assert torch.equal(fit_kernel_ridge(twice, np.concatenate([y, y]), seed=0, groups=groups).weight, same.weight)


def test_beyond_the_most_examples_groups_choose_the_penalty_too(monkeypatch):
    x, y, codes = grouped(60, 5)
    whole = solve_kernel_ridge(x, y, seed=0, groups=codes).solution.penalty
    monkeypatch.setattr(kernel_ridge, "_MOST_EXAMPLES", 200)
    part = solve_kernel_ridge(x, y, seed=0, groups=codes).solution.penalty
    rows = solve_kernel_ridge(x, y, seed=0).solution.penalty
    assert rows < part / 3 and whole / 10 < part < whole * 10
