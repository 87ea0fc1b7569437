"""The nearest vectors come back, exactly where that is cheap, and nearly always where it is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.errors import UserError
from likewise.retrieval.former import FaissStore


def unit_vectors(count: int, dim: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 60), dim=st.integers(1, 24), k=st.integers(1, 80), seed=st.integers(0, 9))
def test_the_exact_store_equals_a_sort_of_all_cosines(count: int, dim: int, k: int, seed: int) -> None:
    vectors, query = unit_vectors(count, dim, seed), unit_vectors(1, dim, seed + 100)[0]
    scores, rows = FaissStore.build(vectors).search(query, k)
    cosines = vectors @ query
    assert len(scores) == len(rows) == min(k, count)
    np.testing.assert_allclose(scores, np.sort(cosines)[::-1][:k], atol=1e-5)
    np.testing.assert_allclose(cosines[rows], scores, atol=1e-5)
    assert len(set(rows.tolist())) == len(rows)


def test_scores_never_leave_the_range_of_a_cosine() -> None:
    vectors = unit_vectors(200, 3) * np.float32(1.000001)
    store = FaissStore.build(vectors)
    for vector in vectors[:50]:
        scores, _ = store.search(vector, 200)
        assert scores.max() <= 1.0
        assert scores.min() >= -1.0


@pytest.fixture(scope="module")
def graph() -> tuple[np.ndarray, FaissStore]:
    vectors = unit_vectors(4000, 48)
    return vectors, FaissStore.build(vectors, exact_below=1000)


def test_the_graph_finds_nearly_all_and_scores_exactly(graph: tuple[np.ndarray, FaissStore]) -> None:
    vectors, store = graph
    assert store.kind == "graph"
    assert FaissStore.build(vectors).kind == "exact"
    found = 0
    for query in unit_vectors(50, 48, seed=1):
        scores, rows = store.search(query, 10)
        np.testing.assert_allclose(scores, vectors[rows] @ query, atol=1e-5)
        assert (np.diff(scores) <= 1e-6).all()
        found += len(set(rows.tolist()) & set(np.argsort(-(vectors @ query))[:10].tolist()))
    assert found >= 0.97 * 500


def test_more_results_than_items_gives_all_items(graph: tuple[np.ndarray, FaissStore]) -> None:
    vectors, _ = graph
    store = FaissStore.build(vectors[:1200], exact_below=1000)
    _, rows = store.search(vectors[5], 5000)
    assert len(set(rows.tolist())) == len(rows) >= 1190  # a graph may miss a few far corners


@pytest.mark.parametrize("exact_below", [10, 100_000])
def test_a_written_store_answers_the_same_from_disk(tmp_path, exact_below: int) -> None:
    vectors = unit_vectors(600, 16)
    store = FaissStore.build(vectors, exact_below=exact_below)
    store.write(tmp_path / "vectors.faiss")
    opened = FaissStore.open(tmp_path / "vectors.faiss")
    assert (len(opened), opened.dim, opened.kind) == (600, 16, store.kind)
    for row in (0, 17, 599):
        np.testing.assert_allclose(opened.vector(row), vectors[row], atol=1e-6)
        np.testing.assert_array_equal(opened.search(vectors[row], 7)[1], store.search(vectors[row], 7)[1])


def test_an_empty_store_finds_nothing_and_survives_the_disk(tmp_path) -> None:
    FaissStore.build(np.empty((0, 8), dtype=np.float32)).write(tmp_path / "vectors.faiss")
    scores, rows = FaissStore.open(tmp_path / "vectors.faiss").search(unit_vectors(1, 8)[0], 10)
    assert len(scores) == len(rows) == 0


@pytest.mark.parametrize("content", [None, b"", b"not an index at all"])
def test_a_missing_or_damaged_file_is_one_sentence(tmp_path, content: bytes | None) -> None:
    path = tmp_path / "vectors.faiss"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="missing or damaged"):
        FaissStore.open(path)
