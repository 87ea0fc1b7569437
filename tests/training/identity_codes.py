"""Identities made by hand, for tests that need no catalogue."""

from collections.abc import Sequence

import numpy as np

from likewise.catalog.identity import Codes, Identity, _components


def identity_of(
    title: Sequence[int],
    picture: Sequence[int] | None = None,
    description: Sequence[int] | None = None,
    named: Sequence[int] | None = None,
) -> Identity:
    """Identity codes; −1 is nothing. Rows are connected by an equal picture or name, or equal title and description."""
    titles = np.array(title, np.int64)
    pictures = np.full(len(titles), -1) if picture is None else np.array(picture, np.int64)
    descriptions = np.full(len(titles), -1) if description is None else np.array(description, np.int64)
    names = np.full(len(titles), -1) if named is None else np.array(named, np.int64)
    component = _components(texts_of(titles, descriptions), pictures, names)
    return Identity(titles, descriptions, pictures, names, component)


def texts_of(titles: Codes, descriptions: Codes) -> Codes:
    """One code for each pair of title and description, −1 where there is neither."""
    pairs = titles * 10_000 + descriptions
    numbered: Codes = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
    return np.where((titles < 0) & (descriptions < 0), -1, numbered)
