"""A part of a lexical index: postings that never change, and which of their items have been deleted since."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from likewise.retrieval.lexical.postings import Postings
from likewise.retrieval.lexical.recent import RecentItems


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
