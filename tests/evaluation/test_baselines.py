"""The baselines do what a careful person would have them do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.catalog.text import split_words
from likewise.evaluation import baselines
from likewise.evaluation.baselines import bm25_scores, fit_ridge
from likewise.evaluation.metrics import unit_rows


def all_scores(queries, texts):
    return bm25_scores(queries, texts)(slice(0, len(queries)))


def test_bm25_finds_the_text_with_the_rare_word():
    texts = ["red shoe for running", "red dress", "blue shoe", "red hat with a ribbon"]
    scores = all_scores(["ribbon red", "shoe", "tractor"], texts)
    assert scores.shape == (3, 4)
    assert scores.dtype == np.float32
    assert scores[0].argmax() == 3
    assert set(np.flatnonzero(scores[1])) == {0, 2}
    assert scores[1, 2] > scores[1, 0]  # the shorter text says it more plainly
    assert not scores[2].any()


def test_bm25_agrees_with_its_formula():
    texts = ["a b b", "a c", "d"]
    n, average, k1, b = 3, 2.0, 1.2, 0.75

    def term(tf, df, length):
        return np.log(1 + (n - df + 0.5) / (df + 0.5)) * tf / (tf + k1 * (1 - b + b * length / average))

    expected = [term(1, 2, 3) + term(2, 1, 3), term(1, 2, 2), 0.0]
    assert all_scores(["a b"], texts)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("queries", "texts"), [(["a"], []), (["a"], [None, " ", "!?"]), ([None, ""], ["a"]), ([], ["a"])]
)
def test_bm25_of_nothing_is_zero(queries, texts):
    scores = all_scores(queries, texts)
    assert scores.shape == (len(queries), len(texts))
    assert not scores.any()


def test_bm25_by_slices_gives_the_same_rows():
    scores = bm25_scores(["red", "blue", "red hat"], ["red hat", "blue", None])
    assert np.array_equal(scores(slice(1, 3)), scores(slice(0, 3))[1:])


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_found_by_itself(text):
    if split_words(text):
        assert all_scores([text], [text, None])[0, 0] > 0


def solved_by_least_squares(x, y, penalty):
    """The same problem with the penalty as extra rows, by numpy's solver."""
    centred_x, centred_y = x - x.mean(0), y - y.mean(0)
    rows = np.vstack([centred_x, np.sqrt(penalty) * np.eye(x.shape[1])])
    targets = np.vstack([centred_y, np.zeros((x.shape[1], y.shape[1]))])
    weights = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return lambda new: (new - x.mean(0)) @ weights + y.mean(0)


@pytest.mark.parametrize("shape", [(200, 20), (15, 40), (30, 30)])
@pytest.mark.parametrize("penalty", [0.01, 3.0, None])
def test_ridge_equals_least_squares_with_the_same_penalty(shape, penalty, monkeypatch):
    monkeypatch.setattr("likewise.evaluation.baselines._CHUNK_ROWS", 7)
    random = np.random.default_rng(0)
    x = random.normal(size=shape) + 5
    y = x[:, :3] * 2 + random.normal(size=(shape[0], 3)) + 100
    fitted = fit_ridge(x, y, penalty=penalty)
    assert fitted.penalty > 0
    new = random.normal(size=(10, shape[1])) + 5
    assert fitted(new) == pytest.approx(solved_by_least_squares(x, y, fitted.penalty)(new), rel=1e-4, abs=1e-3)


def test_the_chosen_penalty_is_near_the_best_on_new_rows():
    random = np.random.default_rng(0)
    truth = random.normal(size=(30, 4))
    x, new = random.normal(size=(2, 50, 30))
    y = x @ truth + 5 * random.normal(size=(50, 4))

    def error(fitted):
        return np.square(fitted(new) - new @ truth).mean()

    best = min(error(fit_ridge(x, y, penalty=p)) for p in np.logspace(-3, 5, 33))
    assert error(fit_ridge(x, y)) < 1.25 * best
    assert error(fit_ridge(x, y, penalty=1e-3)) > 1.4 * best  # so the bound above means something


def test_ridge_leaves_incomplete_rows_out_and_maps_absent_to_absent():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(50, 4)), random.normal(size=(50, 2))
    x_holes, y_holes = np.vstack([x, [[np.nan] * 4], x[:1]]), np.vstack([y, y[:1], [[np.nan] * 2]])
    assert fit_ridge(x_holes, y_holes).weights == pytest.approx(fit_ridge(x, y).weights)
    assert np.isnan(fit_ridge(x, y)(np.full((1, 4), np.nan))).all()
    with pytest.raises(ValueError, match="at least two pairs"):
        fit_ridge(np.full((3, 4), np.nan), y[:3])


def test_ridge_survives_constant_and_half_precision_features():
    constant = fit_ridge(np.ones((5, 3)), np.arange(10.0).reshape(5, 2))
    assert constant(np.ones((1, 3))) == pytest.approx(np.array([[4.0, 5.0]]))
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 5)).astype(np.float16)
    assert np.isfinite(fit_ridge(x, x[:, :2])(x)).all()


def test_the_penalty_of_groups_is_the_largest_of_those_that_serve_groups_best_which_no_fit_has_seen(monkeypatch):
    random = np.random.default_rng(4)
    codes = np.sort(random.integers(0, 30, 120))
    things = random.normal(size=(30, 6))
    x = (things[codes] + 0.3 * random.normal(size=(120, 6))).astype(np.float32)
    y = (0.5 * things[:, :4] + 0.4 * random.normal(size=(30, 4)))[codes].astype(np.float32)
    chosen = fit_ridge(x, y, groups=codes)
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    mean = y.mean(axis=0, dtype=np.float64)
    groups = np.unique(codes)
    wanted = unit_rows(np.stack([y[codes == group].mean(axis=0) for group in groups]) - mean)
    found = {}
    for penalty in np.linalg.eigvalsh(centred.T @ centred).mean() * np.logspace(-4, 3, 15):
        ranks = []
        for place, group in enumerate(groups):
            rest = codes != group
            left_out = fit_ridge(x[rest], y[rest], penalty=penalty)(x[~rest]) - mean
            scores = unit_rows(left_out) @ wanted.T
            ranks += list(1 + (scores > scores[:, [place]]).sum(axis=1))
        found[penalty] = np.mean(1 / np.array(ranks))
    best = [penalty for penalty in found if found[penalty] >= 0.99 * max(found.values())]
    assert chosen.penalty == pytest.approx(max(best), rel=1e-6)
    assert min(found) < chosen.penalty < max(found)
    assert fit_ridge(x, y, groups=np.zeros(120, int)).penalty == fit_ridge(x, y).penalty
    monkeypatch.setattr(baselines, "_LARGEST_GROUP", 2)  # larger ones do not count, and few are left
    assert fit_ridge(x, y, groups=codes).penalty == fit_ridge(x, y).penalty
