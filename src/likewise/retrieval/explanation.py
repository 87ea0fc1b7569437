"""Why an item is a hit: the share of each of its fields, of the query's words and of the boost in its score.

The share of a field is its Shapley value (Shapley, "A value for n-person games", 1953): what the field adds to the
score, averaged over all orders in which the item's fields could be put together. An item seen through some of its
fields is what the model's fusion makes of their vectors, so the values are exact, over all subsets; without any field
the score is 0. In a hybrid search the values are those of the cosine, scaled to what the vectors give to the score. The
shares of fields, words and boost add up to the score.
"""

from collections.abc import Sequence
from itertools import combinations
from math import factorial
from typing import Protocol, runtime_checkable

import numpy as np

from likewise.errors import UserError
from likewise.retrieval.candidates import HybridCandidates, Source
from likewise.retrieval.items import Explanation
from likewise.retrieval.query import Query
from likewise.stores.base import Record, Store

MOST_FIELDS = 10  # of a model: each one more doubles the subsets
_NUMBERS_AT_ONCE = 4_000_000  # of field vectors, 16 MB


@runtime_checkable
class FusionModel(Protocol):
    """The part of a model that makes an item of some of its fields."""

    def fuse_fields(self, vectors: np.ndarray, fields: Sequence[str]) -> np.ndarray:
        """(n, fields, dim) float32, NaN for absent fields → (n, dim) float32 of unit norm, NaN without any field."""


def explain_hits(
    query: Query, vector: np.ndarray, model: object, store: Store, source: Source, found: Sequence[tuple[str, float]]
) -> dict[str, Explanation]:
    """Explain some hits of a query, by id; those that were deleted this very moment are left out.

    Args:
        vector: (1, dim) of the query.
        model: of the index.
        source: that found the hits.
        found: ids and scores of the hits.

    Raises:
        UserError: the index keeps no field vectors, the model does not fuse fields, or has too many of them.
    """
    fields = store.schema.field_vectors
    if not fields:
        raise UserError("this index keeps no field vectors to explain with: build it again without --no-field-vectors")
    if not isinstance(model, FusionModel):
        raise UserError("this model makes no item of single fields, so its hits cannot be explained")
    if len(fields) > MOST_FIELDS:
        raise UserError(f"hits are explained for up to {MOST_FIELDS} fields; this model has {len(fields)}")
    records = [record for record in store.fetch([id for id, _ in found], field_vectors=True) if record is not None]
    if not records:
        return {}
    scores = dict(found)
    boosts = np.zeros(len(records), np.float32)
    if query.boost is not None:
        boosts = query.boost.values([record.fields for record in records])
    ids = [record.id for record in records]
    worths = _compute_cosines(records, vector, model, fields)
    present = np.array([[name in (record.field_vectors or {}) for name in fields] for record in records])
    by_fields = np.array([scores[id] for id in ids], np.float64) - boosts
    terms: dict[str, np.ndarray] = {}
    if isinstance(source, HybridCandidates):
        by_words, terms = source.explain(ids)
        shares = scale_shares(compute_shapley_values(worths), by_fields - by_words, present)
    else:
        shares = compute_shapley_values(_put_whole(worths, present, by_fields))
    return {
        id: Explanation(
            {name: float(shares[row, place]) for place, name in enumerate(fields) if present[row, place]},
            {word: float(values[row]) for word, values in terms.items() if values[row]} if query.hybrid else None,
            float(boosts[row]) if query.boost is not None else None,
        )
        for row, id in enumerate(ids)
    }


def compute_shapley_values(worths: np.ndarray) -> np.ndarray:
    """The Shapley values of the members of some games.

    Args:
        worths: (n, 2 ** members), what each subset of the members is worth; the bits of a place say who is in it.

    Returns:
        (n, members), which add up to the worth of all members less that of none.
    """
    members = worths.shape[1].bit_length() - 1
    values = np.zeros((len(worths), members))
    for member in range(members):
        others = [other for other in range(members) if other != member]
        for size in range(members):
            weight = factorial(size) * factorial(members - size - 1) / factorial(members)
            for chosen in combinations(others, size):
                subset = sum(1 << other for other in chosen)
                values[:, member] += weight * (worths[:, subset | 1 << member] - worths[:, subset])
    return values


def scale_shares(shares: np.ndarray, totals: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Shares that add up to other totals; where none is negative, in the same proportions.

    A hybrid score stretches the few cosines of what is near to [0, 1]. Where shares of both signs nearly cancel out,
    proportions would make them many times as large as the score; so the sum of their sizes is what is scaled, and what
    is then missing from the total is added in proportion to the sizes. No share is larger than twice its total.

    Args:
        shares: (n, members), 0 for members that are not present.
        totals: (n,)
        present: (n, members) bool.

    Returns:
        (n, members) float64; rows without any member present are 0.
    """
    sizes = np.abs(shares) * present
    sizes = np.where(sizes.sum(axis=1, keepdims=True) > 0, sizes, present.astype(np.float64))
    weights = np.divide(sizes, sizes.sum(axis=1, keepdims=True), out=np.zeros(sizes.shape), where=sizes > 0)
    signed = np.where(shares < 0, -weights, weights)
    missing = 1.0 - signed.sum(axis=1, keepdims=True)
    return totals[:, None] * (signed + missing * weights)


def _compute_cosines(
    records: Sequence[Record], vector: np.ndarray, model: FusionModel, fields: Sequence[str]
) -> np.ndarray:
    """(n, 2 ** fields) float64: the cosine of the query with each item seen through each subset of the fields.

    Of a subset, only the fields count that an item has; where that is none, it is 0.
    """
    dim = vector.shape[1]
    whole = np.full((len(records), len(fields), dim), np.nan, np.float32)
    for row, record in enumerate(records):
        for name, of_field in (record.field_vectors or {}).items():
            whole[row, fields.index(name)] = of_field
    members = (np.arange(2 ** len(fields))[:, None] >> np.arange(len(fields))) & 1 == 1
    shown = (members[None] & ~np.isnan(whole[:, None, :, 0])).any(axis=2)
    rows, subsets = np.nonzero(shown)
    cosines = np.zeros(shown.shape)
    at_once = max(1, _NUMBERS_AT_ONCE // (len(fields) * dim))
    for first in range(0, len(rows), at_once):
        portion = rows[first : first + at_once], subsets[first : first + at_once]
        seen = np.where(members[portion[1]][:, :, None], whole[portion[0]], np.float32(np.nan))
        cosines[portion] = model.fuse_fields(seen, fields) @ vector[0]
    return cosines


def _put_whole(worths: np.ndarray, present: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The worths with the score itself for every subset that has all of an item's fields.

    The item's own vector is kept in another precision than those of its fields, and an index that was cut to fewer
    dimensions knows its fields only so far. An item without any field vector keeps 0 everywhere.
    """
    members = (np.arange(worths.shape[1])[:, None] >> np.arange(present.shape[1])) & 1 == 1
    for row, has in enumerate(present):
        if has.any():
            worths[row, members[:, has].all(axis=1)] = scores[row]
            worths[row, ~members[:, has].any(axis=1)] = 0.0
    return worths
