"""What makes two rows the same thing, as integer codes: equal codes mean equal, −1 that there is nothing to compare."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from likewise.catalog.catalog import Catalog
from likewise.catalog.same_text import normalised

Codes = NDArray[np.int64]


def codes(values: Sequence[Hashable | None]) -> Codes:
    """Number the distinct values in order of appearance; None becomes −1."""
    numbers: dict[Hashable, int] = {}
    return np.array([-1 if value is None else numbers.setdefault(value, len(numbers)) for value in values], np.int64)


@dataclass(frozen=True)
class Identity:
    """Codes of all rows of a catalogue, each (rows,) int64.

    Attributes:
        title, description: equal normalised texts.
        picture: equal first pictures, by the hash of their bytes.
        component: connected through an equal picture or an equal pair of title and description.
    """

    title: Codes
    description: Codes
    picture: Codes
    component: Codes

    @classmethod
    def of(cls, catalog: Catalog) -> "Identity":
        """Read the identities of a catalogue's rows (this resolves its pictures)."""
        titles = [normalised(text) for text in catalog.texts("title")]
        descriptions = [normalised(text) for text in catalog.texts("description")]
        pictures = [shown[0].key if shown else None for shown in catalog.pictures]
        texts = [None if pair == (None, None) else pair for pair in zip(titles, descriptions, strict=True)]
        picture = codes(pictures)
        return cls(codes(titles), codes(descriptions), picture, _components(codes(texts), picture))


def _components(*edges: Codes) -> Codes:
    """Rows joined by an equal code of any kind share a component."""
    rows = len(edges[0])
    sources, targets, offset = [], [], rows
    for code in edges:
        known = np.flatnonzero(code >= 0)
        sources.append(known)
        targets.append(code[known] + offset)
        offset += int(code.max(initial=-1)) + 1
    source, target = np.concatenate(sources), np.concatenate(targets)
    graph = coo_matrix((np.ones(len(source), np.int8), (source, target)), shape=(offset, offset))
    labels = connected_components(graph, directed=False)[1][:rows]
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)
