"""Items in a Qdrant server: `qdrant://host:6333`.

A store is an alias, `?collection=NAME`, of the collection that holds its content (see contents.py). A collection's
metadata hold the schema. A point's id is a UUID made of the item's. Its payload holds that id under "item", the item's
JSON under "fields", the vectors of its fields under "field_vectors" in base64, and what conditions compare (see
filters.py).
"""

import base64
import operator
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition, Operator
from likewise.errors import UserError
from likewise.files import FormatError
from likewise.stores.base import Batch, Found, Record
from likewise.stores.conditions import normal_form
from likewise.stores.contents import parcels, replacing
from likewise.stores.damage import explain_damaged_store
from likewise.stores.field_vectors import unpack_field_vectors
from likewise.stores.following import PATIENCE, Following
from likewise.stores.inputs import checked_k, prepared_items, unit_vectors
from likewise.stores.qdrant.connection import Connection, connect
from likewise.stores.results import found, in_order, nothing, record
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


def open_store(location: Location, credentials: Credentials) -> "QdrantStore":
    """See base.py."""
    connection = connect(location, credentials)

    def name() -> str:
        used = connection.used_content()
        if used is None:
            raise UserError(f"there is no store at {location}: build it with `likewise index --store {location}`")
        return used

    store = QdrantStore(connection, Following(name, lambda name: _opened(connection, name)))
    try:
        _ = store.schema
    except BaseException:
        store.close()
        raise
    return store


@contextmanager
def replace_store(location: Location, schema: Schema, credentials: Credentials) -> Iterator["QdrantStore"]:
    """See base.py."""
    connection = connect(location, credentials)
    with replacing(connection) as name:
        with connection.speaking():
            content = _created(connection, name, schema)
        store = QdrantStore(connection, Following(lambda: name, lambda _: content))
        yield store
        store.optimise()


class QdrantStore:
    """A `Store`; several processes may read and write one on a server at a time."""

    def __init__(self, connection: Connection, following: Following["_Content"]) -> None:
        self._connection, self._following = connection, following

    @property
    def schema(self) -> Schema:
        with self._connection.speaking():
            return self._following.current().schema

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray, field_vectors: np.ndarray | None = None) -> None:
        with self._connection.speaking():
            content = self._following.current(asking=True)
            stored, unit = prepared_items(items, vectors, content.schema, field_vectors)
            written = 0
            for some, their_vectors in parcels(stored, unit, _BYTES_AT_ONCE):
                with self._connection.speaking(
                    after=f"{written:,} of {len(stored):,} items are written" * bool(written)
                ):
                    content.client.upsert(content.name, _points(some, their_vectors), wait=True)
                written += len(some)

    def delete(self, ids: Sequence[str]) -> int:
        deleted = 0
        with self._connection.speaking():
            content = self._following.current(asking=True)
            for chunk in _chunks(ids):
                there = [point.id for point in content.client.retrieve(content.name, chunk, with_payload=False)]
                if there:
                    content.client.delete(content.name, there, wait=True)
                deleted += len(there)
        return deleted

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> list[Found]:
        with self._connection.speaking():
            return self._following.read(lambda content: _search(content, vectors, checked_k(k), condition))

    def fetch(self, ids: Sequence[str], *, vectors: bool = False, field_vectors: bool = False) -> list[Record | None]:
        payload = [_ITEM, FIELDS] + [FIELD_VECTORS] * field_vectors

        def read(content: _Content) -> list[Record | None]:
            records: dict[str, Record] = {}
            for chunk in _chunks(ids):
                points = content.client.retrieve(content.name, chunk, with_payload=payload, with_vectors=vectors)
                for point in points:
                    towers = content.field_vectors(point.payload) if field_vectors else None
                    records[_id(point)] = record(_id(point), point.payload[FIELDS], point.vector, towers)
            return in_order(ids, records)

        with self._connection.speaking():
            return self._following.read(read)

    def count(self, condition: Condition | None = None) -> int:
        with self._connection.speaking():
            return self._following.read(lambda content: content.count(_filter(condition, content)))

    def iterate(self, batch: int = 10_000, *, vectors: bool = True) -> Iterator[Batch]:
        with self._connection.speaking():
            content = self._following.current()
            pages = content.walk(None, [_ITEM, FIELDS], min(batch, _ROWS_AT_ONCE), vectors=vectors)
        while True:
            with self._connection.speaking():
                points = next(pages, None)
            if points is None:
                return
            records = [record(_id(point), point.payload[FIELDS]) for point in points]
            ids, fields = [record.id for record in records], [record.fields for record in records]
            yield Batch(ids, fields, np.array([point.vector if vectors else () for point in points], dtype=np.float32))

    def optimise(self) -> None:
        """A server does it by itself; this waits for it."""
        with self._connection.speaking():
            content = self._following.current(asking=True)
            while content.client.get_collection(content.name).status == "yellow":
                time.sleep(PATIENCE)

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class _Content:
    """A collection."""

    connection: Connection
    name: str
    schema: Schema

    @property
    def client(self) -> Any:
        return self.connection.client

    def field_vectors(self, payload: dict[str, Any]) -> dict[str, np.ndarray]:
        """The vectors of an item's fields, if its payload was read with them."""
        if not self.schema.field_vectors:
            return {}
        blob = base64.b64decode(payload[FIELD_VECTORS])
        return unpack_field_vectors(blob, self.schema.field_vectors, self.schema.dim)

    def count(self, limit: "models.Filter | bool") -> int:
        if limit is False:
            return 0
        return int(self.client.count(self.name, count_filter=None if limit is True else limit, exact=True).count)

    def walk(
        self, limit: "models.Filter | None", payload: list[str], rows: int, *, vectors: bool = False
    ) -> Iterator[list[Any]]:
        """All points that meet a filter, some at a time."""
        start = None
        while True:
            points, start = self.client.scroll(
                self.name, limit, limit=rows, offset=start, with_payload=payload, with_vectors=vectors
            )
            if points:
                yield points
            if start is None:
                return

    def ties(self, column: str, limit: "models.Filter", operator: Operator, text: str) -> list[str]:
        """See filters.py."""
        name = next(known.name for known in self.schema.columns if known.stored == column)
        met: list[str] = []
        for points in self.walk(limit, [_ITEM, FIELDS], _ROWS_AT_ONCE):
            fields = [record(_id(point), point.payload[FIELDS]).fields for point in points]
            met += [
                str(point.id)
                for point, cells in zip(points, fields, strict=True)
                if _COMPARE[operator](cells[name], text)
            ]
        return met


def _search(content: _Content, vectors: np.ndarray, k: int, condition: Condition | None) -> list[Found]:
    queries = unit_vectors(vectors, content.schema.dim)
    limit = _filter(condition, content)
    if len(queries) == 0 or limit is False:
        return nothing(len(queries))
    results: list[Found] = []
    at_once = min(max(1, _HITS_AT_ONCE // k), _QUERIES_AT_ONCE)
    for start in range(0, len(queries), at_once):
        results += _hits(content, queries[start : start + at_once], k, limit, exact=False)
    missing = [number for number, result in enumerate(results) if len(result.ids) < k]
    if missing:
        wanted = min(k, content.count(limit))
        for number in missing:
            if len(results[number].ids) < wanted:  # the graph did not lead to them
                results[number] = _hits(content, queries[number : number + 1], k, limit, exact=True)[0]
    return results


def _hits(content: _Content, queries: np.ndarray, k: int, limit: "models.Filter | bool", exact: bool) -> list[Found]:
    from qdrant_client import models

    how = models.SearchParams(exact=True) if exact else models.SearchParams(hnsw_ef=max(_CANDIDATES, 2 * k))
    requests = [
        models.QueryRequest(
            query=query, filter=None if limit is True else limit, limit=k, params=how, with_payload=[_ITEM]
        )
        for query in queries.tolist()
    ]
    answers = content.client.query_batch_points(content.name, requests)
    return [
        found([_id(point) for point in answer.points], [point.score for point in answer.points], k)
        for answer in answers
    ]


def _filter(condition: Condition | None, content: _Content) -> "models.Filter | bool":
    from likewise.stores.qdrant.filters import qdrant_filter

    form = True if condition is None else normal_form(condition, content.schema)
    return form if isinstance(form, bool) else qdrant_filter(form, content.ties)


def _id(point: Any) -> str:
    return str(point.payload[_ITEM])


def _point_id(id: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, id))


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    points = [_point_id(id) for id in dict.fromkeys(ids)]
    for start in range(0, len(points), _IDS_AT_ONCE):
        yield points[start : start + _IDS_AT_ONCE]


def _points(stored: pl.DataFrame, unit: np.ndarray) -> list["models.PointStruct"]:
    """Items as Qdrant takes them."""
    from qdrant_client import models

    from likewise.stores.qdrant.filters import payload_of

    points = []
    for row, vector in zip(stored.iter_rows(named=True), unit.tolist(), strict=True):
        payload: dict[str, Any] = {_ITEM: row[ID], FIELDS: row.pop(FIELDS)}
        if FIELD_VECTORS in row:
            payload[FIELD_VECTORS] = base64.b64encode(row.pop(FIELD_VECTORS)).decode()
        for column, value in row.items():
            if value is not None:
                payload |= payload_of(column, value)
        points.append(models.PointStruct(id=_point_id(row[ID]), vector=vector, payload=payload))
    return points


def _created(connection: Connection, name: str, schema: Schema) -> _Content:
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
    return _opened(connection, name)


def _opened(connection: Connection, name: str) -> _Content:
    about = connection.client.get_collection(name).config.metadata
    try:
        schema = Schema.from_json(about[_SCHEMA])
    except FormatError as error:
        raise explain_damaged_store(connection.location, error) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{connection.location} was not made by likewise, or by a Qdrant before 1.16, which forgets what it is told"
        ) from None
    return _Content(connection, name, schema)
