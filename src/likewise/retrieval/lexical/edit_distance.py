"""Edit distance between one word and many: insertions, deletions, substitutions and swaps of two neighbours.

It is the optimal string alignment distance: Damerau–Levenshtein in which no part of a word is edited twice.
"""

from collections.abc import Sequence

import numpy as np


def build_letters(words: Sequence[str], width: int) -> np.ndarray:
    """(len(words), width) uint32: the code points of each word's first letters, 0 behind its end."""
    return np.array(words, f"<U{width}").view(np.uint32).reshape(len(words), width)


def compute_distances(word: str, others: Sequence[str], limit: int) -> np.ndarray:
    """(len(others),) int64, the distance of a word to each of the others; `limit` + 1 where it is larger than `limit`.

    Cells that lie further than `limit` from the diagonal cannot be part of a distance up to `limit`, so they are
    left out (Ukkonen, "Algorithms for approximate string matching", 1985).
    """
    if not others:
        return np.empty(0, np.int64)
    lengths = np.array([len(other) for other in others])
    width = min(int(lengths.max()), len(word) + limit)
    letters = build_letters([other[:width] for other in others], max(width, 1))
    far = np.full(len(others), limit + 1)
    before_last: dict[int, np.ndarray] = {}
    last = {column: np.minimum(column, far) for column in range(min(limit, width) + 1)}
    results = np.where(lengths == 0, last[0] + len(word), limit + 1)
    for row, letter in enumerate(map(ord, word), start=1):
        now: dict[int, np.ndarray] = {}
        for column in range(max(0, row - limit), min(width, row + limit) + 1):
            if column == 0:
                now[0] = np.minimum(row, far)
                continue
            differs = letters[:, column - 1] != letter
            cell = last.get(column - 1, far) + differs
            cell = np.minimum(cell, np.minimum(last.get(column, far), now.get(column - 1, far)) + 1)
            if row > 1 and column > 1:
                swapped = (letters[:, column - 2] == letter) & (letters[:, column - 1] == ord(word[row - 2]))
                cell = np.where(swapped, np.minimum(cell, before_last.get(column - 2, far) + 1), cell)
            now[column] = cell
        before_last, last = last, now
    for column, cell in last.items():
        results = np.where(lengths == column, cell, results)
    return np.minimum(results, limit + 1)
