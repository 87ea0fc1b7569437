"""Rows as the peers read them: a title to ask with, a description and a picture to answer with."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from likewise.catalog.catalog import Catalog
from likewise.catalog.text import normalize_text


@dataclass(frozen=True)
class Examples:
    """Rows that have a title: (n,) each; None where a row has no description or no picture."""

    titles: list[str]
    descriptions: list[str | None]
    pictures: list[str | None]

    @classmethod
    def of(cls, catalog: Catalog) -> Self:
        """The rows of a catalogue that a title query can learn from."""
        rows = [row for row in columns_of(catalog) if row[0] is not None and (row[1] is not None or row[2] is not None)]
        titles, descriptions, pictures = (list(column) for column in zip(*rows, strict=True))
        return cls([str(title) for title in titles], descriptions, pictures)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
        """One epoch of batches of at most `size` rows, no title twice in a batch: it would be its own negative.

        Rows that do not fit into a batch wait for the next one; batches shrink when few titles are left.
        """
        keys = [normalize_text(title) for title in self.titles]
        waiting = rng.permutation(len(keys)).tolist()
        while len(waiting) > 1:
            taken: dict[str | None, int] = {}
            rest = []
            for row in waiting:
                if len(taken) < size and keys[row] not in taken:
                    taken[keys[row]] = row
                else:
                    rest.append(row)
            if len(taken) < 2:  # one title alone has nothing to be told apart from
                return
            yield list(taken.values())
            waiting = rest


def columns_of(catalog: Catalog) -> list[tuple[str | None, str | None, str | None]]:
    """Title, description and the path of the first picture of every row."""
    pictures = [str(shown[0].path) if shown else None for shown in catalog.pictures]
    return list(zip(catalog.texts("title"), catalog.texts("description"), pictures, strict=True))
