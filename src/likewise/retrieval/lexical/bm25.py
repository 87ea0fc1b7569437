"""BM25 over postings of which some items have been replaced since.

Scores are those of Lucene's variant (Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond",
2009; Kamphuis et al., "Which BM25 do you mean?", 2020). Word counts and lengths are those of the items that are there,
so an index that was written in many steps scores exactly as one that was written at once.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from likewise.checksums import IndexManifest
from likewise.parsing import read_json
from likewise.retrieval.lexical.postings import Postings, hash_ids, hash_text, load_array, save_array
from likewise.retrieval.lexical.recent import RecentItems
from likewise.retrieval.lexical.tokenizing import lexical_tokens, whole_codes

_K1, _B = 1.2, 0.75
_NOTES = "words.json"


@dataclass(frozen=True)
class Stamp:
    """Which content of the store a lexical index belongs to.

    Attributes:
        build: of the store; a new one for every store that is filled afresh.
        written: microseconds, when the newest item was written.
        count: of the items.
    """

    build: str = ""
    written: int = 0
    count: int = 0


@dataclass(frozen=True)
class Segment:
    """Postings, of which some items were deleted since.

    Attributes:
        alive: (n,) bool, the items that were not.
    """

    name: str
    postings: Postings | RecentItems
    alive: np.ndarray

    @cached_property
    def whole(self) -> bool:
        """Whether no item was deleted."""
        return self.count == len(self.alive)

    @cached_property
    def count(self) -> int:
        """The number of items that were not deleted."""
        return int(np.count_nonzero(self.alive))

    @cached_property
    def dead(self) -> np.ndarray:
        """The items that were deleted, ascending."""
        return np.flatnonzero(~self.alive)

    def count_alive(self, rows: np.ndarray) -> int:
        """How many of some items, ascending, were not deleted."""
        if self.whole or not len(rows):
            return len(rows)
        if len(self.dead) > len(rows):
            return int(np.count_nonzero(self.alive[rows]))
        places = np.minimum(np.searchsorted(rows, self.dead), len(rows) - 1)
        return len(rows) - int(np.count_nonzero(rows[places] == self.dead))

    @cached_property
    def words(self) -> int:
        """The number of words of the items that were not deleted."""
        return int(self.postings.lengths.sum(where=self.alive, dtype=np.int64))

    def without(self, ids: Sequence[str]) -> "Segment":
        """The segment after some items were deleted, too; unknown ids are ignored."""
        rows = self.postings.find_rows(ids)
        rows = rows[rows >= 0]
        rows = rows[self.alive[rows]]
        if not len(rows):
            return self
        alive = self.alive.copy()
        alive[rows] = False
        return Segment(self.name, self.postings, alive)


class BM25Index:
    """Items by their words; immutable."""

    def __init__(self, parts: Sequence[Segment] = (), stamp: Stamp = Stamp()) -> None:
        self.parts = tuple(parts)
        self.stamp = stamp
        self.count = sum(part.count for part in self.parts)
        length = sum(part.words for part in self.parts)
        self._average = length / self.count if length else 1.0

    @classmethod
    def open(cls, folder: Path) -> "BM25Index":
        """Open what `write` wrote.

        Raises:
            OSError, EOFError, ValueError, KeyError, TypeError: a file is missing or damaged.
        """
        IndexManifest(folder).verify()
        notes = read_json(folder / _NOTES)
        parts = []
        for name in notes["parts"]:
            postings = Postings.open(folder, name)
            alive = np.ones(len(postings), bool)
            alive[load_array(folder / f"{name}.dead.npy")] = False
            parts.append(Segment(name, postings, alive))
        return cls(parts, Stamp(**notes["stamp"]))

    def write_notes(self, folder: Path) -> None:
        """Write everything but the postings, which are there already."""
        for part in self.parts:
            save_array(folder / f"{part.name}.dead.npy", np.flatnonzero(~part.alive))
        notes = {"stamp": asdict(self.stamp), "parts": [part.name for part in self.parts]}
        (folder / _NOTES).write_text(json.dumps(notes) + "\n", encoding="utf-8")

    def match(self, texts: Iterable[tuple[str, float]]) -> "LexicalMatches":
        """Score every item for some texts.

        Args:
            texts: each with its weight; that of words that should not be there is negative.
        """
        weights: dict[str, float] = {}
        wholes: set[str] = set()
        for text, weight in texts:
            wholes |= whole_codes(text)
            for token in lexical_tokens(text):
                weights[token] = weights.get(token, 0.0) + weight
        scores = [np.zeros(len(part.postings), np.float32) for part in self.parts]
        information = [np.zeros(len(part.postings), np.float32) for part in self.parts]
        total = 0.0
        for token, weight in weights.items():
            total += self._add(hash_text(token), weight, scores, information, optional=token in wholes)
        for part, values in zip(self.parts, scores, strict=True):
            if not part.whole:
                values[part.dead] = 0.0
        return LexicalMatches(self.parts, scores, information, total)

    def _add(
        self, token: int, weight: float, scores: list[np.ndarray], information: list[np.ndarray], *, optional: bool
    ) -> float:
        """Add one word's share to the scores, and its weighted inverse document frequency to `information`.

        Returns:
            That frequency; 0 for an optional word that stands nowhere.
        """
        found = [part.postings.find_postings(token) for part in self.parts]
        frequency = sum(part.count_alive(rows) for part, (rows, _) in zip(self.parts, found, strict=True))
        if optional and not frequency:
            return 0.0
        tells = weight * float(np.log(1.0 + (self.count - frequency + 0.5) / (frequency + 0.5)))
        wanted = max(tells, 0.0)
        for place, (part, (rows, counts)) in enumerate(zip(self.parts, found, strict=True)):
            if len(rows):
                often = counts.astype(np.float32)
                length = part.postings.lengths[rows].astype(np.float32) / np.float32(self._average)
                scores[place][rows] += tells * often / (often + _K1 * (1.0 - _B + _B * length))
                information[place][rows] += wanted
        return wanted


class LexicalMatches:
    """How well every item matches a query's words."""

    def __init__(
        self, parts: Sequence[Segment], scores: list[np.ndarray], information: list[np.ndarray], total: float
    ) -> None:
        self._parts = parts
        self._scores = scores
        self._information = information
        self._total = total
        self._located: tuple[Sequence[str], list[np.ndarray]] = ((), [np.empty(0, np.int64) for _ in parts])

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
        if self._located[0] != ids:  # scores and coverage are asked for the same ones
            hashes = hash_ids(ids)
            self._located = ids, [part.postings.find_rows(ids, hashes) for part in self._parts]
        for part, of_part, rows in zip(self._parts, values, self._located[1], strict=True):
            known = np.flatnonzero(rows >= 0)
            alive = known[part.alive[rows[known]]]
            found[alive] = of_part[rows[alive]]
        return found
