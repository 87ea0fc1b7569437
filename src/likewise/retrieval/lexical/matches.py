"""How well the items of a lexical index match the words of a query."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np

from likewise.retrieval.lexical.postings import hash_ids
from likewise.retrieval.lexical.segment import Segment

# A word of the query, and for each segment items in which it counts, ascending, and their scores.
TermScores = tuple[str, list[tuple[np.ndarray, np.ndarray]]]


class LexicalMatches:
    """How well every item matches a query's words."""

    def __init__(
        self,
        parts: Sequence[Segment],
        scores: list[np.ndarray],
        information: list[np.ndarray],
        total: float,
        score_terms: Callable[[Sequence[np.ndarray]], Iterator[TermScores]] = lambda only: iter(()),
    ) -> None:
        self._parts = parts
        self._score_terms = score_terms
        self._scores = scores
        self._information = information
        self._total = total
        nothing = np.empty(0, np.int64)
        self._located: tuple[Sequence[str], list[tuple[np.ndarray, np.ndarray]]] = (
            (),
            [(nothing, nothing)] * len(parts),
        )

    @cached_property
    def _found(self) -> list[np.ndarray]:
        return [np.flatnonzero(values > 0) for values in self._scores]

    @property
    def all_scores(self) -> np.ndarray:
        """(items,) float32: every item's score, in the order in which they were added; 0 where it does not match."""
        return np.maximum(np.concatenate([np.empty(0, np.float32), *self._scores]), 0.0)

    @property
    def count(self) -> int:
        """How many items match at all."""
        return sum(map(len, self._found))

    def best(self, count: int) -> tuple[list[str], np.ndarray]:
        """The ids of the `count` items that match best, and their scores, descending; fewer where fewer match."""
        scores = np.concatenate(
            [np.empty(0, np.float32), *(v[r] for v, r in zip(self._scores, self._found, strict=True))]
        )
        if count < len(scores):
            # All that tie with the last come along, so that which of them are kept does not depend on chance.
            least = np.partition(scores, len(scores) - count)[len(scores) - count]
            places = np.flatnonzero(scores >= least)
        else:
            places = np.arange(len(scores))
        places = places[np.argsort(-scores[places], kind="stable")][:count]
        ids: list[str] = [""] * len(places)
        first = 0
        for part, rows in zip(self._parts, self._found, strict=True):
            mine = np.flatnonzero((places >= first) & (places < first + len(rows)))
            names = part.postings.gather_ids(rows[places[mine] - first])
            for place, name in zip(mine.tolist(), names, strict=True):
                ids[place] = name
            first += len(rows)
        return ids, scores[places]

    def scores(self, ids: Sequence[str]) -> np.ndarray:
        """(len(ids),) float32, the scores of some items; 0 for those that do not match or are unknown."""
        return np.maximum(self._gather(self._scores, ids), 0.0)

    def coverage(self, ids: Sequence[str]) -> np.ndarray:
        """(len(ids),) float32 in [0, 1], how much of what the query's words tell stands in some items."""
        return self._gather(self._information, ids) / (self._total or 1.0)

    def scores_by_term(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """(len(ids),) float32 for each word of the query that counts in one of some items: its share of their scores.

        The shares add up to the scores; those of words that should not be there are negative.
        """
        located = self._locate(ids)
        only = [np.unique(rows[places]) for rows, places in located]
        shares: dict[str, np.ndarray] = {}
        for word, found in self._score_terms(only):
            share = np.zeros(len(ids), np.float32)
            for (rows, places), (matching, scores) in zip(located, found, strict=True):
                if len(matching):
                    near = np.minimum(np.searchsorted(matching, rows[places]), len(matching) - 1)
                    share[places] = np.where(matching[near] == rows[places], scores[near], 0.0)
            if share.any():
                shares[word] = shares.get(word, 0.0) + share
        return shares

    def full_match_score(self, ids: Sequence[str]) -> float:
        """The score that the best match of some items would have if all of the query's words stood in it; 0: none does.

        A yardstick that depends neither on how long items are nor on whether the words are anywhere at all.
        """
        scores = self.scores(ids)
        if not scores.any():
            return 0.0
        best = int(scores.argmax())
        return float(scores[best] / self.coverage([ids[best]])[0])

    def _gather(self, values: list[np.ndarray], ids: Sequence[str]) -> np.ndarray:
        found = np.zeros(len(ids), np.float32)
        for of_part, (rows, places) in zip(values, self._locate(ids), strict=True):
            found[places] = of_part[rows[places]]
        return found

    def _locate(self, ids: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each segment its item of each id, -1 for none, and the places of those that are there and not deleted."""
        if self._located[0] != ids:  # scores and coverage are asked for the same ones
            hashes = hash_ids(ids)
            located = []
            for part in self._parts:
                rows = part.postings.find_rows(ids, hashes)
                known = np.flatnonzero(rows >= 0)
                located.append((rows, known[part.alive[rows[known]]]))
            self._located = ids, located
        return self._located[1]
