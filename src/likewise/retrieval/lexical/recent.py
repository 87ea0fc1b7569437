"""Items that were written a moment ago, by their words: a table in memory to which items are only ever added.

Adding one takes microseconds, unlike `postings.Postings`, which are sorted as a whole. A reader holds a view of the
first rows, which stays as it is however many come behind them.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import numpy as np

from likewise.retrieval.lexical.postings import MOST_COUNTED, hash_text
from likewise.retrieval.lexical.vocabulary import choose_codes, find_similar, is_code, is_word


class RecentTable:
    """Items in the order in which they were written; one thread may add while others read through views.

    Attributes:
        ids: of the rows; an item that was written twice has two.
        words: of each row, as often as they stand there.
        written: when each row was, in microseconds.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.words: list[Sequence[str]] = []
        self.written: list[int] = []
        self._lengths = np.zeros(64, np.int32)
        self._rows: dict[int, list[tuple[int, int]]] = {}  # word → (row, how often), rows ascending
        self._places: dict[str, list[int]] = {}  # id → its rows, ascending
        self._known: dict[str, str] = {}  # each word once, however many rows have it
        self._vocabulary = RecentVocabulary()

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, id: str, words: Sequence[str], written: int) -> None:
        """Add a row; those of the same id before it have to be marked as deleted."""
        row = len(self.ids)
        if row == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.zeros(row, np.int32)])
        self._lengths[row] = len(words)
        for word, count in Counter(words).items():
            self._rows.setdefault(hash_text(word), []).append((row, min(count, MOST_COUNTED)))
            if word not in self._known:
                self._known[word] = word
                self._vocabulary.add(word)
        self._places.setdefault(id, []).append(row)
        self.words.append([self._known[word] for word in words])
        self.written.append(written)
        self.ids.append(id)

    def view(self) -> "RecentItems":
        """The rows that are there now."""
        return RecentItems(len(self.ids), self._lengths, self.ids, self._rows, self._places, self._vocabulary)


class RecentItems:
    """The first rows of a `RecentTable`, with the methods of `Postings` that a search needs; see there."""

    def __init__(
        self,
        count: int,
        lengths: np.ndarray,
        ids: list[str],
        rows: dict[int, list[tuple[int, int]]],
        places: dict[str, list[int]],
        vocabulary: "RecentVocabulary",
    ) -> None:
        self.lengths = lengths[:count]
        self._count = count
        self._ids, self._rows, self._places = ids, rows, places
        self._vocabulary = vocabulary

    def __len__(self) -> int:
        return self._count

    def gather_ids(self, rows: np.ndarray) -> list[str]:
        """The ids of some rows."""
        return [self._ids[row] for row in rows.tolist()]

    def find_postings(self, token: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows in which a word stands, and how often; both (m,)."""
        found = self._rows.get(token, [])
        found = found[: bisect_left(found, (self._count, 0))]
        pairs = np.array(found, np.int32).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1].astype(np.uint8)

    def find_rows(self, ids: Sequence[str], hashes: np.ndarray | None = None) -> np.ndarray:
        """(len(ids),) int64, the newest row of each id; -1 where there is none; nothing needs their hashes."""
        return np.array([self._find_row(id) for id in ids], np.int64)

    def _find_row(self, id: str) -> int:
        rows = self._places.get(id, ())
        place = bisect_left(rows, self._count)
        return rows[place - 1] if place else -1

    def find_similar(self, misspelt: str, edits: int) -> list[str]:
        """The words of which something is a misspelling by at most so many edits; some may be of later rows."""
        return self._vocabulary.find_similar(misspelt, edits)

    def find_codes(self, part: str, most: int) -> list[str]:
        """Up to `most` codes that have a part, the likeliest; some may be of later rows."""
        return self._vocabulary.find_codes(part, most)


class RecentVocabulary:
    """A few thousand words and codes, to which others are only ever added; all of them are looked at each time."""

    def __init__(self) -> None:
        self._words: list[tuple[str, int]] = []
        self._codes: list[str] = []

    def add(self, token: str) -> None:
        """Add a new token, if it is a word or a code."""
        if is_word(token):
            self._words.append((token, _mark_letters(token)))
        elif is_code(token):
            self._codes.append(token)

    def find_similar(self, misspelt: str, edits: int) -> list[str]:
        """The words of which something is a misspelling by at most so many edits."""
        mine, least, most = _mark_letters(misspelt), len(misspelt) - edits, len(misspelt) + edits
        candidates = [
            word
            for word, marks in self._words
            if least <= len(word) <= most and (marks ^ mine).bit_count() <= 2 * edits  # an edit changes two marks
        ]
        return find_similar(misspelt, candidates, edits)

    def find_codes(self, part: str, most: int) -> list[str]:
        """Up to `most` codes that have a part; see `choose_codes`."""
        return choose_codes(part, [code for code in self._codes if part in code], most)


def _mark_letters(word: str) -> int:
    """A bit for each letter of a word, without their order."""
    marks = 0
    for letter in word:
        marks |= 1 << (ord(letter) & 63)
    return marks
