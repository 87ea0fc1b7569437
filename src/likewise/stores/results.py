"""What comes out of a store, made alike for every engine."""

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from likewise.stores.base import Found, Record


def found(ids: Sequence[str] | np.ndarray, scores: Sequence[float] | np.ndarray, k: int) -> Found:
    """One query's hits, best first.

    Args:
        ids: in any order.
        scores: (len(ids),), their inner products with the query, which rounding may have moved past 1.
        k: how many to keep.
    """
    cosines = np.clip(np.asarray(scores, dtype=np.float32), -1.0, 1.0)
    order = np.argsort(-cosines, kind="stable")[:k]
    return Found([ids[row] for row in order], cosines[order])


def nothing(queries: int) -> list[Found]:
    """The results of queries where no item can be a hit."""
    return [Found([], np.empty(0, np.float32)) for _ in range(queries)]


def record(
    id: str,
    fields: str,
    vector: np.ndarray | Sequence[float] | None = None,
    field_vectors: dict[str, np.ndarray] | None = None,
) -> Record:
    """An item from what `stored_columns` wrote for it."""
    unit = None if vector is None else np.asarray(vector, dtype=np.float32)
    return Record(id, json.loads(fields), unit, field_vectors)


def in_order(ids: Iterable[str], records: Mapping[str, Record]) -> list[Record | None]:
    """The records of ids; None where there is none."""
    return [records.get(id) for id in ids]
