"""Hits that differ from each other: an order that pays for variety, and near-duplicates left out."""

from collections.abc import Iterator

import numpy as np


def rerank_by_mmr(scores: np.ndarray, vectors: np.ndarray, before: np.ndarray, diversity: float) -> Iterator[int]:
    """Put candidates in an order in which each is a good answer and unlike those before it.

    Maximal marginal relevance (Carbonell and Goldstein, 1998): the next one is always that with the greatest
    (1 - diversity) · score - diversity · cosine with the most similar one before it.

    Args:
        scores: (n,) how well each answers.
        vectors: (n, dim), unit norm.
        before: (m, dim), unit norm, what has been shown already.

    Yields:
        n positions, each once.
    """
    similarity = (vectors @ before.T).max(axis=1) if len(before) else np.zeros(len(vectors), np.float32)
    nothing_yet = not len(before)
    left = np.ones(len(scores), bool)
    for _ in range(len(scores)):
        worth = (1.0 - diversity) * scores - (0.0 if nothing_yet else diversity) * similarity
        place = int(np.argmax(np.where(left, worth, -np.inf)))
        yield place
        left[place] = False
        like_it = vectors @ vectors[place]
        similarity = like_it if nothing_yet else np.maximum(similarity, like_it)
        nothing_yet = False


class NearDuplicateFilter:
    """Vectors of which no two are nearly the same.

    Args:
        duplicate_threshold: the cosine from which on they are.
        known: (m, dim), unit norm, what is there from the beginning.
    """

    def __init__(self, duplicate_threshold: float, known: np.ndarray) -> None:
        self._same_from = duplicate_threshold - 1e-6  # rounding
        self._known = known
        self._count = len(known)

    def admits(self, vector: np.ndarray) -> bool:
        """Whether a vector is like none of those before it; then it is one of them from now on."""
        known = self._known[: self._count]
        if self._count and float((known @ vector).max()) >= self._same_from:
            return False
        if self._count == len(self._known):
            self._known = np.empty((max(16, 2 * self._count), len(vector)), np.float32)
            self._known[: self._count] = known
        self._known[self._count] = vector
        self._count += 1
        return True
