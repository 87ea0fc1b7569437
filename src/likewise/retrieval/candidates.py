"""The best items for a query, as many as one asks for: by vectors alone, or by vectors and words."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from likewise.catalog.filters import And, Condition, OneOf
from likewise.retrieval.hybrid import Hybrid, ScoreScale, compute_parts
from likewise.retrieval.lexical.matches import LexicalMatches
from likewise.stores.base import Store

_FEW = 4_000  # items that meet a filter: all of them are scored by their words
_ASKED_AT_ONCE = 1_000  # ids in one filter
_ROUNDING = 1e-5  # of scores in float32


@dataclass(frozen=True)
class Candidate:
    """An item, and how well it answers."""

    id: str
    score: float


# How many, and which condition they have to meet → that many, best first; fewer only where there are no more.
Source = Callable[[int, Condition | None], list[Candidate]]


def vector_candidates(store: Store, vector: np.ndarray) -> Source:
    """The items nearest to a (1, dim) vector; their scores are cosines."""

    def best(count: int, condition: Condition | None) -> list[Candidate]:
        (found,) = store.search(vector, count, condition)
        return _in_order(found.ids, found.scores)

    return best


class HybridCandidates:
    """The items nearest to a vector and those that match best by their words; each gets both scores, made into one."""

    def __init__(self, store: Store, vector: np.ndarray, matches: LexicalMatches, fusion: Hybrid) -> None:
        self._store = store
        self._vector = vector
        self._matches = matches
        self._fusion = fusion
        self._scale: ScoreScale | None = None
        self.nearest: Candidate | None = None  # the item with the greatest cosine, once anything was found
        self._words: dict[str, float] = {}  # id → what the words give to its score

    def __call__(self, count: int, condition: Condition | None) -> list[Candidate]:
        """A `Source`."""
        (near,) = self._store.search(self._vector, count, condition)
        cosines = dict(zip(near.ids, near.scores.tolist(), strict=True)) | self._matching(count, condition)
        ids = list(cosines)
        if self._scale is None:  # what is near and what is far stays the same when more are asked for
            low, high = (near.scores[-1], near.scores[0]) if near.ids else (0.0, 0.0)
            self.nearest = Candidate(near.ids[0], float(high)) if near.ids else None
            self._scale = ScoreScale(float(low), float(high), self._matches.full_match_score(ids))
        by_vectors, by_words = compute_parts(
            np.array(list(cosines.values())), self._matches.scores(ids), self._fusion, self._scale
        )
        self._words |= zip(ids, by_words.tolist(), strict=True)
        return _in_order(ids, (by_vectors + by_words).astype(np.float32))[:count]

    def find_threshold(self, cosine: float) -> float:
        """The score of an item in which none of the words stands, and which has this cosine, with no upper limit to it.

        But never more than what all of the words give alone to the item that matches them best: where all of them stand
        there, it is an answer, whatever its vector says.
        """
        most = self._fusion.words - _ROUNDING
        if self._scale is None:
            return most
        span = self._scale.greatest - self._scale.least
        share = (cosine - self._scale.least) / span if span > 0 else math.inf if cosine > self._scale.greatest else 1.0
        return min(max((1.0 - self._fusion.words) * share, 0.0), most)

    def explain(self, ids: Sequence[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What the words give to the scores of some candidates that have been found.

        Returns:
            (n,) float64 what all words give; of this, (n,) for each word.
        """
        by_words = np.array([self._words.get(id, 0.0) for id in ids], np.float64)
        shares = self._matches.scores_by_term(ids)
        total = np.sum(list(shares.values()), axis=0) if shares else np.zeros(len(ids))
        factor = np.divide(by_words, total, out=np.zeros(len(ids)), where=total > 0)
        return by_words, {word: share * factor for word, share in shares.items()}

    def _matching(self, count: int, condition: Condition | None) -> dict[str, float]:
        """The cosines of the `count` items that match best by their words and meet the condition."""
        if condition is not None and self._store.count(condition) <= _FEW:
            (every,) = self._store.search(self._vector, _FEW, condition)
            scores = self._matches.scores(every.ids)
            best = [place for place in np.argsort(-scores, kind="stable")[:count].tolist() if scores[place] > 0]
            return {every.ids[place]: float(every.scores[place]) for place in best}
        cosines: dict[str, float] = {}
        looked_at = 0
        while len(cosines) < count and looked_at < self._matches.count:
            missing = count - len(cosines) if condition is None else _ASKED_AT_ONCE
            ids = self._matches.best(looked_at + missing)[0][looked_at:]
            looked_at += len(ids)
            for id, cosine in self._cosines(ids, condition).items():
                if len(cosines) < count:
                    cosines[id] = cosine
        return cosines

    def _cosines(self, ids: list[str], condition: Condition | None) -> dict[str, float]:
        """Of those that are there and meet the condition, in the order given."""
        if condition is None:
            records = self._store.fetch(ids, vectors=True)
            there = [record for record in records if record is not None and record.vector is not None]
            return {record.id: float(record.vector @ self._vector[0]) for record in there}
        (found,) = self._store.search(self._vector, len(ids), every(condition, OneOf("id", tuple(ids))))
        known = dict(zip(found.ids, found.scores.tolist(), strict=True))
        return {id: known[id] for id in ids if id in known}


def _in_order(ids: Sequence[str], scores: np.ndarray) -> list[Candidate]:
    """Best first; of equals, the one whose id comes first."""
    candidates = [Candidate(id, score) for id, score in zip(ids, scores.tolist(), strict=True)]
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.id))


def every(*conditions: Condition | None) -> Condition | None:
    """The condition that all of these are met; None: there is nothing to meet."""
    parts: list[Condition] = []
    for condition in conditions:
        parts.extend(condition.parts if isinstance(condition, And) else [] if condition is None else [condition])
    return None if not parts else parts[0] if len(parts) == 1 else And(tuple(parts))


def without(candidates: Sequence[Candidate], ids: set[str]) -> list[Candidate]:
    """Those candidates that are none of some items."""
    return [candidate for candidate in candidates if candidate.id not in ids]
