"""Variety has its price, near-duplicates have none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.retrieval.diversity import NearDuplicateFilter, rerank_by_mmr

NONE = np.empty((0, 4), np.float32)


def vectors_of(count: int, seed: int, dim: int = 4) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def plainly(scores: np.ndarray, vectors: np.ndarray, before: np.ndarray, diversity: float) -> list[int]:
    """The definition, word for word."""
    chosen: list[int] = []
    while len(chosen) < len(scores):
        shown = [*before, *vectors[chosen]]

        def worth(place: int, shown: list = shown) -> float:
            likeness = max((float(other @ vectors[place]) for other in shown), default=0.0)
            return (1 - diversity) * float(scores[place]) - diversity * likeness

        chosen.append(max((place for place in range(len(scores)) if place not in chosen), key=worth))
    return chosen


@settings(deadline=None)
@given(count=st.integers(0, 15), shown=st.integers(0, 4), diversity=st.floats(0, 0.99), seed=st.integers(0, 500))
def test_every_choice_is_the_best_by_the_definition(count: int, shown: int, diversity: float, seed: int) -> None:
    vectors, before = vectors_of(count, seed), vectors_of(shown, seed + 1)
    scores = np.random.default_rng(seed).random(count).astype(np.float32)
    order = list(rerank_by_mmr(scores, vectors, before, diversity))
    assert sorted(order) == list(range(count))
    expected = plainly(scores, vectors, before, diversity)
    if order != expected:  # only where rounding decides
        np.testing.assert_allclose(scores[order], scores[expected], atol=0.02)


def test_without_diversity_scores_decide() -> None:
    scores = np.array([0.1, 0.9, 0.5], np.float32)
    assert list(rerank_by_mmr(scores, vectors_of(3, 0), NONE, 0.0)) == [1, 2, 0]


def test_a_twin_waits_behind_something_else() -> None:
    vectors = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    scores = np.array([0.9, 0.89, 0.6], np.float32)
    assert list(rerank_by_mmr(scores, vectors, NONE, 0.05)) == [0, 1, 2]
    assert list(rerank_by_mmr(scores, vectors, NONE, 0.5)) == [0, 2, 1]
    assert list(rerank_by_mmr(scores, vectors, vectors[:1], 0.5)) == [2, 0, 1]


@given(count=st.integers(0, 30), duplicate_threshold=st.floats(0.1, 1.0), seed=st.integers(0, 200))
def test_of_distinct_vectors_no_two_are_nearly_the_same_and_nothing_else_is_left_out(
    count, duplicate_threshold, seed
) -> None:
    vectors = vectors_of(count, seed)
    distinct = NearDuplicateFilter(duplicate_threshold, NONE)
    kept: list[int] = []
    for row, vector in enumerate(vectors):
        nearest = max((float(vector @ vectors[other]) for other in kept), default=-1.0)
        admitted = distinct.admits(vector)
        if abs(nearest - duplicate_threshold) > 1e-5:
            assert admitted == (nearest < duplicate_threshold)
        if admitted:
            kept.append(row)


def test_equal_vectors_are_the_same_in_spite_of_rounding() -> None:
    vector = vectors_of(1, 3)[0]
    distinct = NearDuplicateFilter(1.0, vector[None])
    assert not distinct.admits(vector)
    assert distinct.admits(-vector)


@pytest.mark.parametrize("diversity", [0.3, 0.7])
def test_more_diversity_gives_less_alike_beginnings(diversity: float) -> None:
    vectors = vectors_of(60, 5)
    scores = vectors @ vectors_of(1, 6)[0]

    def alike(order: list[int]) -> float:
        first = vectors[order[:8]]
        return float((first @ first.T)[np.triu_indices(8, 1)].mean())

    plain = list(rerank_by_mmr(scores, vectors, NONE, 0.0))
    assert alike(list(rerank_by_mmr(scores, vectors, NONE, diversity))) < alike(plain)
