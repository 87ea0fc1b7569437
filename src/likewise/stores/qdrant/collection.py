"""Items in a Qdrant server: `qdrant://host:6333`.

A store is an alias, `?collection=NAME`, of the collection in use (see collection_swap.py). A collection's
metadata hold the schema. A point's id is a UUID made of the item's. Its payload holds that id under "item", the item's
JSON under "fields", the vectors of its fields under "field_vectors" in base64, and what conditions compare (see
filters.py).
"""

import base64
import json
import operator
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition, Operator
from likewise.errors import UserError
from likewise.files import FormatError
from likewise.stores.base import SearchResult
from likewise.stores.collection_store import CollectionStore, StoredItem, open_collection_store
from likewise.stores.collection_swap import replace_collection, upsert_in_parts
from likewise.stores.current_collection import PATIENCE
from likewise.stores.damage import explain_damaged_store
from likewise.stores.qdrant.connection import Connection, connect
from likewise.stores.results import rank_hits
from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema
from likewise.stores.uri import Credentials, Location

if TYPE_CHECKING:
    from qdrant_client import models

_SCHEMA, _ITEM = "likewise", "item"
_CANDIDATES = 128  # of the graph for a query, at least
_HITS_AT_ONCE = 200_000
_QUERIES_AT_ONCE = 256
_IDS_AT_ONCE = 1_000
_ROWS_AT_ONCE = 500
_BYTES_AT_ONCE = 4_000_000  # a server takes 32 MB, and JSON makes five bytes of one
_NAMESPACE = uuid.UUID("5b0b5c4e-6d0c-5c1e-9a53-0f5f2a9b7c11")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def open_store(location: Location, credentials: Credentials) -> CollectionStore:
    """See base.py."""
    connection = connect(location, credentials)
    return open_collection_store(connection, lambda name: _open(connection, name))


def replace_store(
    location: Location, schema: Schema, credentials: Credentials
) -> AbstractContextManager[CollectionStore]:
    """See base.py."""
    connection = connect(location, credentials)
    return replace_collection(connection, lambda name: _create(connection, name, schema))


@dataclass(frozen=True)
class QdrantCollection:
    """A collection; several processes may read and write it at a time."""

    connection: Connection
    name: str
    schema: Schema

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray) -> None:
        def write(some: pl.DataFrame, their_vectors: np.ndarray) -> None:
            self._client.upsert(self.name, _points(some, their_vectors), wait=True)

        upsert_in_parts(self.connection.explain_errors, items, vectors, _BYTES_AT_ONCE, write)

    def delete(self, ids: list[str]) -> int:
        deleted = 0
        for chunk in _chunks(ids):
            there = [point.id for point in self._client.retrieve(self.name, chunk, with_payload=False)]
            if there:
                self._client.delete(self.name, there, wait=True)
            deleted += len(there)
        return deleted

    def search(self, queries: np.ndarray, k: int, condition: Condition | None, *, exact: bool) -> list[SearchResult]:
        from qdrant_client import models

        limit = self._filter(condition)
        how = models.SearchParams(exact=True) if exact else models.SearchParams(hnsw_ef=max(_CANDIDATES, 2 * k))
        results: list[SearchResult] = []
        at_once = 1 if exact else min(max(1, _HITS_AT_ONCE // k), _QUERIES_AT_ONCE)
        for start in range(0, len(queries), at_once):
            requests = [
                models.QueryRequest(query=query, filter=limit, limit=k, params=how, with_payload=[_ITEM])
                for query in queries[start : start + at_once].tolist()
            ]
            for answer in self._client.query_batch_points(self.name, requests):
                ids, scores = [_id(point) for point in answer.points], [point.score for point in answer.points]
                results.append(rank_hits(ids, scores, k))
        return results

    def fetch(self, ids: list[str], *, vectors: bool, field_vectors: bool) -> Iterator[StoredItem]:
        payload = [_ITEM, FIELDS] + [FIELD_VECTORS] * field_vectors
        for chunk in _chunks(ids):
            points = self._client.retrieve(self.name, chunk, with_payload=payload, with_vectors=vectors)
            yield from map(_stored_item, points)

    def count(self, condition: Condition | None) -> int:
        return int(self._client.count(self.name, count_filter=self._filter(condition), exact=True).count)

    def walk(self, size: int, *, vectors: bool) -> Iterator[list[StoredItem]]:
        for points in self._walk(None, min(size, _ROWS_AT_ONCE), vectors=vectors):
            yield list(map(_stored_item, points))

    def optimise(self) -> None:
        """A server does it by itself; this waits for it."""
        while self._client.get_collection(self.name).status == "yellow":
            time.sleep(PATIENCE)

    @property
    def _client(self) -> Any:
        return self.connection.client

    def _filter(self, condition: Condition | None) -> "models.Filter | None":
        from likewise.stores.qdrant.filters import qdrant_filter

        return None if condition is None else qdrant_filter(condition, self._find_ties)

    def _walk(self, limit: "models.Filter | None", rows: int, *, vectors: bool = False) -> Iterator[list[Any]]:
        """All points that meet a filter, some at a time, with their ids and fields."""
        start = None
        while True:
            points, start = self._client.scroll(
                self.name, limit, limit=rows, offset=start, with_payload=[_ITEM, FIELDS], with_vectors=vectors
            )
            if points:
                yield points
            if start is None:
                return

    def _find_ties(self, column: str, limit: "models.Filter", operator: Operator, text: str) -> list[str]:
        """See filters.py."""
        name = next(known.name for known in self.schema.columns if known.stored == column)
        return [
            str(point.id)
            for points in self._walk(limit, _ROWS_AT_ONCE)
            for point in points
            if _COMPARE[operator](json.loads(point.payload[FIELDS])[name], text)
        ]


def _stored_item(point: Any) -> StoredItem:
    blob = base64.b64decode(point.payload[FIELD_VECTORS]) if FIELD_VECTORS in point.payload else None
    return StoredItem(_id(point), point.payload[FIELDS], point.vector, blob)


def _id(point: Any) -> str:
    return str(point.payload[_ITEM])


def _point_id(id: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, id))


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield [_point_id(id) for id in ids[start : start + _IDS_AT_ONCE]]


def _points(stored: pl.DataFrame, unit: np.ndarray) -> list["models.PointStruct"]:
    """Items as Qdrant takes them."""
    from qdrant_client import models

    from likewise.stores.qdrant.filters import payload_for

    points = []
    for row, vector in zip(stored.iter_rows(named=True), unit.tolist(), strict=True):
        payload: dict[str, Any] = {_ITEM: row[ID], FIELDS: row.pop(FIELDS)}
        if FIELD_VECTORS in row:
            payload[FIELD_VECTORS] = base64.b64encode(row.pop(FIELD_VECTORS)).decode()
        for column, value in row.items():
            if value is not None:
                payload |= payload_for(column, value)
        points.append(models.PointStruct(id=_point_id(row[ID]), vector=vector, payload=payload))
    return points


def _create(connection: Connection, name: str, schema: Schema) -> QdrantCollection:
    """A new, empty collection."""
    from qdrant_client import models

    from likewise.stores.qdrant.filters import indexed_fields

    client = connection.client
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=schema.dim, distance=models.Distance.DOT),
        on_disk_payload=True,
        metadata={_SCHEMA: schema.to_json()},
    )
    for column, kind in schema.stored_types.items():
        for field, type_of_index in indexed_fields(column, kind).items():
            client.create_payload_index(name, field, field_schema=type_of_index, wait=True)
    return _open(connection, name)


def _open(connection: Connection, name: str) -> QdrantCollection:
    about = connection.client.get_collection(name).config.metadata
    try:
        schema = Schema.from_json(about[_SCHEMA])
    except FormatError as error:
        raise explain_damaged_store(connection.location, error) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{connection.location} was not made by likewise, or by a Qdrant before 1.16, which forgets what it is told"
        ) from None
    return QdrantCollection(connection, name, schema)
