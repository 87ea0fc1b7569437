"""Identity: which rows show the same item, as integer codes; equal codes are equal values, −1 is no value."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from likewise.catalog.catalog import Catalog
from likewise.catalog.text import normalize_text
from likewise.errors import UserError

Codes = NDArray[np.int64]

_COLUMN = "column:"


def number_values(values: Sequence[Hashable | None]) -> Codes:
    """Number the distinct values in order of appearance; None becomes −1."""
    numbers: dict[Hashable, int] = {}
    return np.array([-1 if value is None else numbers.setdefault(value, len(numbers)) for value in values], np.int64)


@dataclass(frozen=True)
class Identity:
    """Codes of all rows of a catalogue, each (rows,) int64.

    Attributes:
        title, description: equal normalised texts.
        picture: equal first pictures, by the hash of their bytes.
        named: equal values of the column that the user named.
        component: connected through an equal picture, an equal pair of title and description, or an equal named value.
    """

    title: Codes
    description: Codes
    picture: Codes
    named: Codes
    component: Codes

    @property
    def thing(self) -> Codes:
        """What a row is, for queries that look for it: the named value, else the title; −1 for a row with neither."""
        title = np.where(self.title >= 0, self.title + self.named.max(initial=-1) + 1, -1)
        return np.where(self.named >= 0, self.named, title)

    @classmethod
    def read(cls, catalog: Catalog, identity: str = "auto", *, pictures: bool = True) -> "Identity":
        """Read the identities of a catalogue's rows.

        Args:
            catalog: the rows.
            identity: "auto", "column:NAME" for a column that, besides texts and pictures, says which rows are the same
                thing, or "none": no two rows are the same thing.
            pictures: look at the pictures as well, which resolves those of the catalogue.

        Raises:
            UserError: there is no such column.
        """
        if identity == "none":
            nothing = np.full(len(catalog), -1)
            return cls(nothing, nothing, nothing, nothing, np.arange(len(catalog)))
        if identity != "auto" and not identity.startswith(_COLUMN):
            raise UserError(f"identity is auto, none or column:NAME, not {identity!r}")
        column = identity.removeprefix(_COLUMN) if identity != "auto" else None
        titles = [normalize_text(text) for text in catalog.texts("title")]
        descriptions = [normalize_text(text) for text in catalog.texts("description")]
        hashes = [shown[0].key if shown else None for shown in catalog.pictures] if pictures else [None] * len(catalog)
        texts = [None if pair == (None, None) else pair for pair in zip(titles, descriptions, strict=True)]
        picture, named = number_values(hashes), number_values(_values(catalog, column))
        components = _components(number_values(texts), picture, named)
        return cls(number_values(titles), number_values(descriptions), picture, named, components)

    def select(self, rows: np.ndarray) -> "Identity":
        """The codes of some rows, in the order given."""
        return Identity(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def _values(catalog: Catalog, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * len(catalog)
    return [None if value is None else str(value) for value in catalog.column(column)]


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
