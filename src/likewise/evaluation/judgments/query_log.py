"""Query logs: queries that people have asked and the rows that answered them, from a column or a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.identity import Codes
from likewise.errors import UserError
from likewise.evaluation.judgments.qrels import JudgedQueries, read_queries

Rows = NDArray[np.int64]
Weights = NDArray[np.float64]


@dataclass(frozen=True)
class QueryLog:
    """Which queries each row answers, and how well: the entries of row r are those from starts[r] to starts[r + 1].

    Attributes:
        starts: (rows + 1,)
        text: (entries,) text indices.
        weight: (entries,) more than 0.
    """

    starts: Rows
    text: Codes
    weight: Weights

    @classmethod
    def from_entries(cls, rows: int, row: Rows, text: Codes, weight: Weights) -> "QueryLog":
        """From entries in any order, of which those without weight answer nothing."""
        answers = weight > 0
        row, text, weight = row[answers], text[answers], weight[answers]
        order = np.lexsort((text, row))
        starts = np.searchsorted(row[order], np.arange(rows + 1))
        return cls(starts, text[order], weight[order])

    @classmethod
    def from_column(cls, text: Codes) -> "QueryLog":
        """A query for every row, −1 for none."""
        row = np.flatnonzero(text >= 0)
        return cls.from_entries(len(text), row, text[row], np.ones(len(row)))

    def __len__(self) -> int:
        return len(self.text)

    @property
    def graded(self) -> bool:
        """Whether some answers are better than others."""
        return bool(len(self.weight)) and bool((self.weight != self.weight[0]).any())

    @property
    def row(self) -> Rows:
        """(entries,) the row of each entry."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    @property
    def most_queries(self) -> int:
        """The most queries that any row answers."""
        return int(np.diff(self.starts).max(initial=0))


def read_query_log(path: Path, ids: Sequence[str]) -> JudgedQueries:
    """A log of queries, the ids of their answers and how relevant these are, in any layout that `evaluate` reads.

    Queries with a picture are left out, as training learns from texts; a note counts them.

    Raises:
        UserError: it cannot be read, or all queries have pictures.
    """
    log = read_queries(path, ids)
    texts = [place for place, image in enumerate(log.images) if image is None]
    if not texts:
        raise UserError(f"{path} has pictures as queries: training needs texts, in a column query")
    left_out = len(log) - len(texts)
    if not left_out:
        return log
    return JudgedQueries(
        texts=[log.texts[place] for place in texts],
        images=[None] * len(texts),
        relevant=[log.relevant[place] for place in texts],
        gains=log.gains and [log.gains[place] for place in texts],
        notes=[*log.notes, f"{left_out:,} queries have a picture and are left out: training learns from texts"],
    )
