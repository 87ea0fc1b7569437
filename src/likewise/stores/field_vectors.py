"""The vectors of an item's fields, packed into one blob per item that every engine stores as bytes.

A blob begins with one bit per field of `Schema.field_vectors`, set if the item has that field, the first field in the
lowest bit. The vectors of the fields it has follow in their order, each (dim,) float16, little-endian.
"""

from collections.abc import Sequence

import numpy as np

from likewise.errors import UserError


def check_field_vectors(
    field_vectors: np.ndarray | None, count: int, fields: Sequence[str], dim: int
) -> np.ndarray | None:
    """Check the field vectors of an upsert.

    Args:
        field_vectors: (count, fields, dim), NaN in the rows of fields that an item lacks; None where the store keeps
            none.
        fields: the fields whose vectors the store keeps.

    Returns:
        The same in float16; None where the store keeps none.

    Raises:
        UserError: they are missing, were not asked for, have another shape, or are neither finite nor wholly NaN.
    """
    if not fields:
        if field_vectors is not None:
            raise UserError("the store keeps no field vectors: build it again with them, or omit `field_vectors`")
        return None
    if field_vectors is None:
        raise UserError(f"the store keeps the vectors of {', '.join(fields)}: give `field_vectors`, NaN where blank")
    given, expected = np.asarray(field_vectors), (count, len(fields), dim)
    if given.shape != expected:
        raise UserError(f"field vectors of the shape {expected} are needed (items, fields, dim), not {given.shape}")
    with np.errstate(over="ignore"):  # answered for below
        halves = given.astype("<f2", copy=False)
    absent = np.isnan(halves)
    if not (np.isfinite(halves) | absent).all() or (absent.any(axis=2) != absent.all(axis=2)).any():
        raise UserError("a field vector holds infinity, numbers too large for half precision, or NaN in some places")
    return halves


def pack_field_vectors(field_vectors: np.ndarray) -> list[bytes]:
    """One blob for each item.

    Args:
        field_vectors: (n, fields, dim) float16, NaN in the rows of fields that an item lacks.
    """
    present = ~np.isnan(field_vectors[:, :, 0])
    bits = np.packbits(present, axis=1, bitorder="little")
    return [
        flags.tobytes() + (vectors if every else vectors[mask]).tobytes()
        for flags, vectors, mask, every in zip(bits, field_vectors, present, present.all(axis=1), strict=True)
    ]


def unpack_field_vectors(blob: bytes, fields: Sequence[str], dim: int) -> dict[str, np.ndarray]:
    """The vectors of the fields that an item has, (dim,) float32 each.

    Raises:
        ValueError: the blob is not what was packed for these fields.
    """
    size = -(-len(fields) // 8)
    present = np.unpackbits(np.frombuffer(blob[:size], np.uint8), bitorder="little")[: len(fields)]
    names = [name for name, there in zip(fields, present, strict=True) if there]
    vectors = np.frombuffer(blob, "<f2", offset=size).reshape(len(names), dim).astype(np.float32)
    return dict(zip(names, vectors, strict=True))
