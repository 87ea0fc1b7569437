"""What MongoDB holds for an item, and what is sent to it to search: filters, pipelines, the definition of the index.

A document, so that both of its halves can filter, mongod in `$match` and mongot in `$vectorSearch`:

_id             the digest of the id, since mongot takes no key of more than 32,766 bytes
id              and the other columns of `stored_columns` where they are filled: c0, c1, c1n, …
c0f             for each column whether it is filled: `$vectorSearch` knows no blank cells in all versions
c0s             for each text its first characters: mongot cuts longer ones off and compares what is left
fields          as in `stored_columns`
vector          float32, as a BSON vector
field_vectors   see field_vectors.py, if the store keeps them

`$vectorSearch` filters are a part of MongoDB's query language, so one translation serves `$match` as well; only texts
are compared by their first characters in one and by all of them in the other. Operators used are $eq, $ne, $gt, $gte,
$lt, $lte, $in, $nin, $and and $or, which are all that the first versions of `$vectorSearch` knew.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from likewise.catalog.filters import And, Compare, Condition, IsNull, Not, OneOf, Or, Value
from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema

Filter = dict[str, Any]

KEY, VECTOR = "_id", "vector"
SHORT = 1_000  # characters; a text of at least as many compares with shorter ones as its first so many do

_BSON_VECTOR = 9  # the subtype
_FLOAT32 = b"\x27\x00"  # the type of its elements, and that no bits of the last one are left over

INDEX = "vectors"
MARK, MARK_VECTOR = "mark", "mark_vector"  # of the document that tells how far the index has come
MOST_CANDIDATES = 10_000  # that mongot takes

_LEAST_CANDIDATES = 200
_CANDIDATES_FOR_A_HIT = 20  # as MongoDB's manual recommends
_MOST_COMPARISONS = 200  # in a filter for mongot: each is some of the 1,024 clauses that Lucene takes
_OPERATORS = {"==": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}


def short(column: str) -> str:
    """The name of a text's first characters."""
    return f"{column}s"


def filled(column: str) -> str:
    """The name of what tells whether a column is filled."""
    return f"{column}f"


def item_key(id: str) -> Any:
    """What an item is found by."""
    from bson import Binary

    return Binary(hashlib.sha256(id.encode("utf-8", errors="surrogatepass")).digest())


def bson_vector(vector: np.ndarray) -> Any:
    """(dim,) numbers as BSON holds float32."""
    from bson import Binary

    return Binary(_FLOAT32 + np.asarray(vector, dtype="<f4").tobytes(), _BSON_VECTOR)


def read_vectors(vectors: Sequence[bytes], dim: int) -> np.ndarray:
    """(n, dim) float32, from what `bson_vector` made."""
    joined = b"".join(vector[len(_FLOAT32) :] for vector in vectors)
    return np.frombuffer(joined, "<f4").astype(np.float32).reshape(-1, dim)


def build_documents(stored: pl.DataFrame, unit: np.ndarray, schema: Schema) -> Iterator[dict[str, Any]]:
    """One for each item of what `prepare_items` gives."""
    types = schema.stored_types
    numbers = [pl.col(name) + 0.0 for name, kind in types.items() if kind == pl.Float64]  # mongot tells -0.0 from 0.0
    for row, vector in zip(stored.with_columns(numbers).iter_rows(named=True), unit, strict=True):
        document: dict[str, Any] = {KEY: item_key(row[ID])}
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


def index_definition(schema: Schema) -> dict[str, Any]:
    """Of the index of type vectorSearch that answers `nearest_pipeline` and `mark_pipeline`."""
    types = schema.stored_types
    compared = [name for name in types if name not in _only_blank_or_not(schema)]
    paths = [short(name) if types[name] == pl.String else name for name in compared]
    paths += [*map(filled, types), MARK]
    return {
        "fields": [
            {"type": "vector", "path": VECTOR, "numDimensions": schema.dim, "similarity": "dotProduct"},
            {"type": "vector", "path": MARK_VECTOR, "numDimensions": 1, "similarity": "dotProduct"},
            *({"type": "filter", "path": path} for path in paths),
        ]
    }


def match_filter(condition: Condition | None) -> Filter:
    """The items that meet a condition in its normal form, for mongod."""
    if condition is None:
        return {filled(ID): {"$eq": True}}
    return _filter(condition, lambda column: column)


def index_filter(condition: Condition | None, schema: Schema) -> Filter | None:
    """The same for mongot; None where it cannot tell: long texts, and more comparisons than Lucene takes."""
    if condition is None:
        return {}
    if not _within_reach(condition):
        return None
    texts = {name for name, kind in schema.stored_types.items() if kind == pl.String}
    return _filter(condition, lambda column: short(column) if column in texts else column)


def nearest_pipeline(query: np.ndarray, k: int, limit: Filter, *, exact: bool) -> list[dict[str, Any]]:
    """The pipeline that gives the ids and scores of the items nearest to a query.

    Args:
        query: (dim,) unit vector.
        limit: what `index_filter` gives.
        exact: compare with all items; otherwise k is at most MOST_CANDIDATES.
    """
    search: dict[str, Any] = {"index": INDEX, "path": VECTOR, "queryVector": query.tolist(), "limit": k}
    if exact:
        search["exact"] = True
    else:
        search["numCandidates"] = min(MOST_CANDIDATES, max(_LEAST_CANDIDATES, _CANDIDATES_FOR_A_HIT * k))
    if limit:
        search["filter"] = limit
    return [{"$vectorSearch": search}, {"$project": {"_id": 0, ID: 1, "score": {"$meta": "vectorSearchScore"}}}]


def cosine(score: float) -> float:
    """What MongoDB's score from 0 to 1 means."""
    return 2.0 * score - 1.0


def mark_pipeline(mark: int) -> list[dict[str, Any]]:
    """The pipeline that finds something once the index has come as far as a mark."""
    search = {
        "index": INDEX,
        "path": MARK_VECTOR,
        "queryVector": [1.0],
        "limit": 1,
        "exact": True,
        "filter": {MARK: {"$gte": mark}},
    }
    return [{"$vectorSearch": search}, {"$project": {MARK: 1}}]


def _only_blank_or_not(schema: Schema) -> set[str]:
    """Columns that cannot be compared with anything."""
    return {column.stored for column in schema.columns if column.kind in ("list", "other")}


def _filter(condition: Condition, path: Callable[[str], str]) -> Filter:
    match condition:
        case And(parts):
            return {"$and": [_filter(part, path) for part in parts]}
        case Or(parts):
            return {"$or": [_filter(part, path) for part in parts]}
        case IsNull(column):
            return {filled(column): {"$eq": False}}
        case Not(IsNull(column)):
            return {filled(column): {"$eq": True}}
        case Not(OneOf(column, values)):
            return _and_filled(column, {path(column): {"$nin": [_number(value) for value in values]}})
        case OneOf(column, values):
            return {path(column): {"$in": [_number(value) for value in values]}}
        case Compare(column, "!=", value):
            return _and_filled(column, {path(column): {"$ne": _number(value)}})
        case Compare(column, operator, value):
            return {path(column): {_OPERATORS[operator]: _number(value)}}
        case _:
            raise AssertionError(f"no normal form: {condition}")


def _and_filled(column: str, leaf: Filter) -> Filter:
    return {"$and": [{filled(column): {"$eq": True}}, leaf]}


def _number(value: Value) -> Value:
    return value + 0.0 if isinstance(value, float) else value  # so that -0.0 is 0.0


def _within_reach(condition: Condition) -> bool:
    values = list(_values(condition))
    return len(values) <= _MOST_COMPARISONS and not any(isinstance(v, str) and len(v) >= SHORT for v in values)


def _values(condition: Condition) -> Iterator[Value]:
    """All that cells are compared with."""
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _values(part)
        case Not(part):
            yield from _values(part)
        case OneOf(_, values):
            yield from values
        case Compare(_, _, value):
            yield value
        case IsNull():
            yield True
