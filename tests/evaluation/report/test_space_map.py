"""The map keeps what is alike together, whatever draws it, and says what drew it."""

import numpy as np
import pytest
from conftest import require_library

from likewise.evaluation.report import space_map
from likewise.evaluation.report.space_map import draw_map


def two_clusters(rows):
    """(rows, 8) unit vectors in two far groups, the even rows in the one, the odd in the other."""
    random = np.random.default_rng(0)
    centres = np.eye(8)[np.arange(rows) % 2]
    vectors = centres + 0.05 * random.normal(size=(rows, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def separation(points):
    even, odd = points[::2], points[1::2]
    return np.linalg.norm(even.mean(0) - odd.mean(0)) / (even.std() + odd.std()) * 2


@pytest.mark.parametrize("method", ["UMAP", "PCA"])
def test_groups_stay_apart(monkeypatch, method):
    if method == "UMAP":
        require_library("umap")
    else:
        monkeypatch.setattr(space_map, "_umap_is_installed", lambda: False)
    vectors = two_clusters(60)
    drawn = draw_map({"texts": vectors, "pictures": vectors[::-1].copy()})
    assert drawn.method == method
    assert (drawn.note is None) == (method == "UMAP")
    assert method == "UMAP" or "likewise[map]" in drawn.note
    assert separation(drawn.points["texts"]) > 0.9
    assert drawn.points["pictures"].shape == (60, 2)


def test_absent_fields_are_left_out_and_few_items_need_no_umap():
    texts, pictures = two_clusters(12), two_clusters(12)
    pictures[3:6] = np.nan
    drawn = draw_map({"texts": texts, "pictures": pictures})
    assert drawn.method == "PCA"
    assert "too few" in drawn.note
    assert {name: len(points) for name, points in drawn.points.items()} == {"texts": 12, "pictures": 9}
    pictures[:] = np.nan
    assert draw_map({"texts": texts, "pictures": pictures}) is None


def test_a_large_catalogue_is_drawn_from(monkeypatch):
    monkeypatch.setattr(space_map, "_umap_is_installed", lambda: False)
    vectors = two_clusters(1000)
    drawn = draw_map({"texts": vectors, "pictures": vectors})
    assert len(drawn.points["texts"]) == space_map.MOST_ITEMS
