"""What MongoDB holds for an item, so that both of its halves can filter: mongod in `$match`, mongot in `$vectorSearch`.

_id      the digest of the id, since mongot takes no key of more than 32,766 bytes
id       and the other columns of `stored_columns` where they are filled: c0, c1, c1n, …
c0f      for each column whether it is filled: `$vectorSearch` knows no blank cells in all versions
c0s      for each text its first characters: mongot cuts longer ones off and compares what is left
fields   as in `stored_columns`
vector   float32, as a BSON vector
field_vectors   see field_vectors.py, if the store keeps them
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema

KEY, VECTOR = "_id", "vector"
SHORT = 1_000  # characters; a text of at least as many compares with shorter ones as its first so many do

_BSON_VECTOR = 9  # the subtype
_FLOAT32 = b"\x27\x00"  # the type of its elements, and that no bits of the last one are left over


def short(column: str) -> str:
    """The name of a text's first characters."""
    return f"{column}s"


def filled(column: str) -> str:
    """The name of what tells whether a column is filled."""
    return f"{column}f"


def key_of(id: str) -> Any:
    """What an item is found by."""
    from bson import Binary

    return Binary(hashlib.sha256(id.encode("utf-8", errors="surrogatepass")).digest())


def bson_vector(vector: np.ndarray) -> Any:
    """(dim,) numbers as BSON holds float32."""
    from bson import Binary

    return Binary(_FLOAT32 + np.asarray(vector, dtype="<f4").tobytes(), _BSON_VECTOR)


def numbers_of(vectors: Sequence[bytes], dim: int) -> np.ndarray:
    """(n, dim) float32, from what `bson_vector` made."""
    joined = b"".join(vector[len(_FLOAT32) :] for vector in vectors)
    return np.frombuffer(joined, "<f4").astype(np.float32).reshape(-1, dim)


def documents(stored: pl.DataFrame, unit: np.ndarray, schema: Schema) -> Iterator[dict[str, Any]]:
    """One for each item of what `prepared_items` gives."""
    types = schema.stored_types
    numbers = [pl.col(name) + 0.0 for name, kind in types.items() if kind == pl.Float64]  # mongot tells -0.0 from 0.0
    for row, vector in zip(stored.with_columns(numbers).iter_rows(named=True), unit, strict=True):
        document: dict[str, Any] = {KEY: key_of(row[ID])}
        for name, kind in types.items():
            cell = row[name]
            document[filled(name)] = cell is not None
            if cell is not None:
                document[name] = cell
                if kind == pl.String:
                    document[short(name)] = cell[:SHORT]
        if FIELD_VECTORS in row:
            document[FIELD_VECTORS] = row[FIELD_VECTORS]
        yield document | {FIELDS: row[FIELDS], VECTOR: bson_vector(vector)}
