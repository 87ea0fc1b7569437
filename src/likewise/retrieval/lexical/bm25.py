"""BM25 over postings of which some items have been replaced since.

Scores are those of Lucene's variant (Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond",
2009; Kamphuis et al., "Which BM25 do you mean?", 2020). Word counts and lengths are those of the items that are there,
so an index that was written in many steps scores exactly as one that was written at once.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from likewise.checksums import IndexManifest
from likewise.parsing import read_json
from likewise.retrieval.lexical.arrays import load_array, save_array
from likewise.retrieval.lexical.matches import LexicalMatches, TermScores
from likewise.retrieval.lexical.postings import Postings, hash_text
from likewise.retrieval.lexical.query_terms import QueryTerm, parse_terms
from likewise.retrieval.lexical.segment import Segment
from likewise.retrieval.lexical.synonyms import NO_SYNONYMS, Phrase, Synonyms
from likewise.retrieval.lexical.vocabulary import MOST_EDITS, choose_codes, is_code, is_word

_K1, _B = 1.2, 0.75
_CODE_BEGINS, _CODE_HAS = 0.5, 0.3  # what a part of a code counts, compared with the whole code
_MOST_CODES = 100  # that one part may find
_MOST_LOOKED_UP = 1_000  # codes of a segment of which these are chosen
_LEAST_LETTERS = {1: 3, 2: 6}  # of a misspelt word that is so many edits away
_NOTES = "words.json"

_Found = tuple[np.ndarray, np.ndarray]  # the items of a segment, ascending, and how often a word stands in each
_NOWHERE: _Found = (np.empty(0, np.int32), np.empty(0, np.uint8))


@dataclass(frozen=True)
class _Scored:
    """Items in which a word counts so much, and for each segment which they are, ascending, and their scores."""

    weight: float
    found: list[tuple[np.ndarray, np.ndarray]]


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

    def match(self, texts: Iterable[tuple[str, float]], synonyms: Synonyms = NO_SYNONYMS) -> LexicalMatches:
        """Score every item for some texts.

        Args:
            texts: each with its weight; that of words that should not be there is negative.
            synonyms: what else finds an item in place of a text's words.
        """
        terms = parse_terms(texts, synonyms)
        scores = [np.zeros(len(part.postings), np.float32) for part in self.parts]
        information = [np.zeros(len(part.postings), np.float32) for part in self.parts]
        total = 0.0
        for scored in self._score_terms(terms):
            total += scored.wanted
            for group in scored.groups:
                for place, (rows, share) in enumerate(group.found):
                    if len(rows):
                        scores[place][rows] += share
                        information[place][rows] += max(group.weight, 0.0)
        for part, values in zip(self.parts, scores, strict=True):
            if not part.whole:
                values[part.dead] = 0.0
        return LexicalMatches(self.parts, scores, information, total, partial(self._explain, terms))

    def count_items(self, token: str) -> int:
        """In how many items a word stands."""
        return self._count_alive(self._find(token))

    def suggest(self, word: str) -> str | None:
        """The word of the items of which another word is most likely a misspelling; None: there is none.

        Those that are fewer edits away come first, then those of more items.

        Args:
            word: one that no item has, as a token.
        """
        if not is_word(word):
            return None
        for edits in range(1, MOST_EDITS + 1 if len(word) >= _LEAST_LETTERS[MOST_EDITS] else 2):
            found = {similar for part in self.parts for similar in part.postings.find_similar(word, edits)}
            counts = {similar: self.count_items(similar) for similar in found}
            best = min(counts, key=lambda similar: (-counts[similar], similar), default=None)
            if best is not None and counts[best]:
                return best
        return None

    def _explain(self, terms: Sequence[QueryTerm], only: Sequence[np.ndarray]) -> Iterator[TermScores]:
        for scored in self._score_terms(terms, only):
            for group in scored.groups:
                yield scored.token, group.found

    def _score_terms(
        self, terms: Sequence[QueryTerm], only: Sequence[np.ndarray] | None = None
    ) -> Iterator["_ScoredTerm"]:
        """The words of a query with the items in which they count; whole codes come before their parts.

        Args:
            only: the items of each segment that are scored, ascending; None: all.
        """
        found: set[str] = set()  # parts of codes that were found as a whole
        for term in terms:
            scored = self._score(term, only, is_part=term.token in found)
            if scored is not None:
                found |= term.parts
                yield scored

    def _score(self, term: QueryTerm, only: Sequence[np.ndarray] | None, *, is_part: bool) -> "_ScoredTerm | None":
        """One word's share of the scores; None for one that stands nowhere and for which others will do.

        Args:
            is_part: of a code that was found: other codes that have this part are not looked for.
        """
        found = self._find(term.token)
        for phrase in term.alternatives:
            found = [_join(one, other) for one, other in zip(found, self._find_phrase(phrase), strict=True)]
        frequency = self._count_alive(found)
        is_sought = term.weight > 0 and not is_part and is_code(term.token)
        of_codes = self._find_codes_with(term.token, found) if is_sought else {}
        if (is_part or term.parts) and not frequency and not of_codes:
            return None
        wide = frequency + sum(map(self._count_alive, of_codes.values()))
        tells = term.weight * self._inform(frequency or wide)
        groups = [(tells, found)] if frequency else []
        groups += [(share * term.weight * self._inform(wide), items) for share, items in of_codes.items()]
        wanted = tells if frequency or not groups else groups[0][0]
        scored = [self._score_rows(weight, items, only) for weight, items in groups]
        return _ScoredTerm(term.token, max(wanted, 0.0), scored)

    def _score_rows(self, weight: float, found: Sequence[_Found], only: Sequence[np.ndarray] | None) -> "_Scored":
        """The scores of some items for a word that counts so much in them."""
        scored = []
        for place, (part, (rows, counts)) in enumerate(zip(self.parts, found, strict=True)):
            if only is not None and len(rows):
                places = np.searchsorted(rows, only[place])
                places = places[places < len(rows)]
                places = places[np.isin(rows[places], only[place])]
                rows, counts = rows[places], counts[places]
            often = counts.astype(np.float32)
            length = part.postings.lengths[rows].astype(np.float32) / np.float32(self._average)
            scored.append((rows, weight * often / (often + _K1 * (1.0 - _B + _B * length))))
        return _Scored(weight, scored)

    def _inform(self, frequency: int) -> float:
        """The inverse document frequency of a word that stands in so many items."""
        return float(np.log(1.0 + (self.count - frequency + 0.5) / (frequency + 0.5)))

    def _find(self, token: str) -> list[_Found]:
        hash = hash_text(token)
        return [part.postings.find_postings(hash) for part in self.parts]

    def _count_alive(self, found: Sequence[_Found]) -> int:
        return sum(part.count_alive(rows) for part, (rows, _) in zip(self.parts, found, strict=True))

    def _find_phrase(self, phrase: Phrase) -> list[_Found]:
        """The items in which all words of a phrase stand, wherever."""
        first, *others = map(self._find, phrase)
        for other in others:
            first = [_intersect(one, two) for one, two in zip(first, other, strict=True)]
        return first

    def _find_codes_with(self, part: str, exact: Sequence[_Found]) -> dict[float, list[_Found]]:
        """The items with a code of which something is a part, by what that counts; each once, and none of `exact`.

        A code that begins with it counts more than one that has it anywhere else; both less than the code itself.
        """
        codes = {code for segment in self.parts for code in segment.postings.find_codes(part, _MOST_LOOKED_UP)}
        located: dict[str, list[_Found]] = {}
        for code in choose_codes(part, codes - {part}, len(codes)):
            items = self._find(code)
            if self._count_alive(items):  # of deleted items alone, it would take the place of another
                located[code] = items
            if len(located) == _MOST_CODES:
                break
        known, found = list(exact), {}
        for share, begins in ((_CODE_BEGINS, True), (_CODE_HAS, False)):
            lists = [items for code, items in located.items() if code.startswith(part) is begins]
            places = []
            for place, (rows, _) in enumerate(known):
                every = np.concatenate([_NOWHERE[0], *(of_parts[place][0] for of_parts in lists)])
                new = np.setdiff1d(every, rows)
                places.append((new, np.ones(len(new), np.uint8)))
                known[place] = (np.union1d(rows, new), _NOWHERE[1])
            if self._count_alive(places):
                found[share] = places
        return found


@dataclass(frozen=True)
class _ScoredTerm:
    """A word of a query.

    Attributes:
        wanted: its weighted inverse document frequency, which an item has that matches it.
        groups: the items in which it counts, each in one group.
    """

    token: str
    wanted: float
    groups: list[_Scored]


def _join(one: _Found, other: _Found) -> _Found:
    """The items of both, ascending; where both have an item, the higher count."""
    rows = np.union1d(one[0], other[0])
    counts = np.zeros(len(rows), np.uint8)
    for known, often in (one, other):
        places = np.searchsorted(rows, known)
        counts[places] = np.maximum(counts[places], often)
    return rows, counts


def _intersect(one: _Found, other: _Found) -> _Found:
    """The items that both have; the lower count."""
    rows, mine, others = np.intersect1d(one[0], other[0], assume_unique=True, return_indices=True)
    return rows, np.minimum(one[1][mine], other[1][others])
