"""What comes into a store, checked and prepared alike for every engine."""

import numpy as np
import polars as pl

from likewise.catalog.columns import check_ids
from likewise.errors import UserError
from likewise.stores.field_vectors import check_field_vectors, pack_field_vectors
from likewise.stores.schema import FIELD_VECTORS, ID, Schema, stored_columns


def prepare_items(
    items: pl.DataFrame, vectors: np.ndarray, schema: Schema, field_vectors: np.ndarray | None = None
) -> tuple[pl.DataFrame, np.ndarray]:
    """What an engine writes for an upsert.

    Args:
        items: n rows, "id" and any columns of the schema.
        vectors: (n, dim).
        field_vectors: (n, fields, dim); None where the schema names no fields.

    Returns:
        A table as `stored_columns` gives it, and (its rows, dim) unit vectors. If the schema names fields, the table
        ends with "field_vectors" (Binary), as field_vectors.py packs them.

    Raises:
        UserError: columns, cells or ids that do not fit the schema, an id that comes twice, or vectors that do not fit
            the items.
    """
    unit = normalise_vectors(vectors, schema.dim)
    if len(unit) != len(items):
        raise UserError(f"{len(items):,} items need as many vectors, not {len(unit):,}")
    halves = check_field_vectors(field_vectors, len(items), schema.field_vectors, schema.dim)
    stored = stored_columns(items, schema)
    if halves is not None:
        stored = stored.with_columns(pl.Series(FIELD_VECTORS, pack_field_vectors(halves), pl.Binary))
    check_ids(stored[ID])
    return stored, unit


def normalise_vectors(vectors: np.ndarray, dim: int) -> np.ndarray:
    """Normalise vectors, without changing those given.

    Returns:
        (n, dim) float32, contiguous, unit norm; a zero vector stays zero, and is like nothing.

    Raises:
        UserError: the shape is not (n, dim), or a value is not finite.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise UserError(f"the store takes vectors in {dim} dimensions, of the shape (n, {dim}), not {vectors.shape}")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    with np.errstate(over="ignore"):  # answered for below
        squares = np.vecdot(vectors, vectors)
    if np.abs(squares - 1.0).max(initial=0.0) < 2e-6:  # false where one is not a number
        return vectors
    if not np.isfinite(squares).all():
        raise UserError("a vector holds NaN, infinity or numbers too large to have a length")
    return vectors / np.maximum(np.sqrt(squares), np.finfo(np.float32).tiny)[:, None]


def check_k(k: int) -> int:
    """The number of hits.

    Raises:
        UserError: it is less than 1.
    """
    if k < 1:
        raise UserError(f"k must be at least 1, not {k}")
    return int(k)
