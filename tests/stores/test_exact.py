"""An exact search in blocks finds what one matrix product finds."""

import numpy as np
import pytest

from likewise.stores.faiss import exact


@pytest.mark.parametrize("queries", [1, 3, 9])
@pytest.mark.parametrize("k", [1, 10, 70, 300])
@pytest.mark.parametrize("part", [None, 0.3])
def test_blocks_together_find_the_nearest(monkeypatch, queries, k, part):
    monkeypatch.setattr(exact, "_BLOCK", 64)
    random = np.random.default_rng(0)
    matrix = random.standard_normal((500, 8)).astype(np.float32)
    asked = random.standard_normal((queries, 8)).astype(np.float32)
    rows = None if part is None else np.flatnonzero(random.random(500) < part)
    looked_at = np.arange(500) if rows is None else rows
    scores, found = exact.find_nearest(matrix, asked, k, rows)
    products = asked @ matrix[looked_at].T
    best = np.argsort(-products, axis=1)[:, :k]
    assert np.array_equal(found, looked_at[best])
    assert np.allclose(scores, np.take_along_axis(products, best, axis=1), atol=1e-5)


def test_equal_rows_all_count(monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK", 4)
    matrix = np.ones((12, 2), np.float32)
    scores, found = exact.find_nearest(matrix, np.ones((2, 2), np.float32), 6)
    assert (scores == 2).all()
    assert all(len(set(line)) == 6 for line in found.tolist())
