"""Items in Milvus: `milvus:///path/file.db` through Milvus Lite in this process, `milvus://host:19530/db` elsewhere.

A store is an alias, `?collection=NAME`, of the collection that holds its content (see contents.py). A collection's
property "likewise" holds the schema. Its primary key and its texts are keys (see filters.py); the field "fields"
holds an item's JSON, cut into strings of a length that Milvus takes; "field_vectors" holds those in base64.
"""

import base64
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.stores.base import Batch, Found, Record
from likewise.stores.conditions import normal_form
from likewise.stores.contents import parcels, replacing
from likewise.stores.damage import explain_damaged_store
from likewise.stores.field_vectors import unpack_field_vectors
from likewise.stores.following import PATIENCE, Following
from likewise.stores.inputs import checked_k, prepared_items, unit_vectors
from likewise.stores.milvus.connection import Connection, connect
from likewise.stores.milvus.filters import LONGEST_KEY, LONGEST_TEXT, expression, key_text, text_key
from likewise.stores.results import found, in_order, nothing, record
from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema
from likewise.stores.uri import Credentials, Location

_VECTOR, _SCHEMA = "vector", "likewise"
_GRAPH = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}}
_CANDIDATES = 128  # of the graph for a query, at least
_MOST_HITS = 16_384  # that a search may ask for, and so many queries
_HITS_AT_ONCE = 500_000
_IDS_AT_ONCE = 500
_ROWS_AT_ONCE = 1_000
_BYTES_AT_ONCE = 16_000_000  # a server takes 64 MB
_PART_OF_FIELDS = 16_000  # characters, each of up to four bytes, in a string of up to 65,535
_LONGEST_STRING = 65_535  # bytes
_MOST_PARTS = 4_096
_WAIT = 60.0  # seconds for an answer


def open_store(location: Location, credentials: Credentials) -> "MilvusStore":
    """See base.py."""
    connection = connect(location, credentials, create=False)

    def name() -> str:
        used = connection.used_content()
        if used is None:
            raise UserError(f"there is no store at {location}: build it with `likewise index --store {location}`")
        return used

    patience = 0 if connection.alone else PATIENCE
    store = MilvusStore(connection, Following(name, lambda name: _opened(connection, name), patience=patience))
    try:
        _ = store.schema
    except BaseException:
        store.close()
        raise
    return store


@contextmanager
def replace_store(location: Location, schema: Schema, credentials: Credentials) -> Iterator["MilvusStore"]:
    """See base.py."""
    connection = connect(location, credentials, create=True)
    with replacing(connection) as name:
        with connection.speaking():
            content = _created(connection, name, schema)
        store = MilvusStore(connection, Following(lambda: name, lambda _: content))
        yield store
        store.optimise()


class MilvusStore:
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
            _check_lengths(stored)
            written = 0
            for some, their_vectors in parcels(stored, unit, _BYTES_AT_ONCE):
                with self._connection.speaking(
                    after=f"{written:,} of {len(stored):,} items are written" * bool(written)
                ):
                    self._connection.client.upsert(content.name, _rows(some, their_vectors), timeout=_WAIT)
                written += len(some)

    def delete(self, ids: Sequence[str]) -> int:
        deleted = 0
        with self._connection.speaking():
            content = self._following.current(asking=True)
            for keys in _chunks(ids):
                # Milvus counts what it was asked to delete, whether it was there or not.
                there = [row[ID] for row in content.rows(keys, [ID], consistency_level="Strong")]
                if there:
                    content.client.delete(content.name, ids=there, timeout=_WAIT)
                deleted += len(there)
        return deleted

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> list[Found]:
        with self._connection.speaking():
            return self._following.read(lambda content: _search(content, vectors, checked_k(k), condition))

    def fetch(self, ids: Sequence[str], *, vectors: bool = False, field_vectors: bool = False) -> list[Record | None]:
        def read(content: _Content) -> list[Record | None]:
            columns = [ID, FIELDS] + [_VECTOR] * vectors
            columns += [FIELD_VECTORS] * (field_vectors and bool(content.schema.field_vectors))
            rows = [row for keys in _chunks(ids) for row in content.rows(keys, columns)]
            records = [
                record(
                    key_text(row[ID]),
                    "".join(row[FIELDS]),
                    row.get(_VECTOR),
                    content.field_vectors(row) if field_vectors else None,
                )
                for row in rows
            ]
            return in_order(ids, {record.id: record for record in records})

        with self._connection.speaking():
            return self._following.read(read)

    def count(self, condition: Condition | None = None) -> int:
        with self._connection.speaking():
            return self._following.read(lambda content: content.count(_filter(condition, content.schema)))

    def iterate(self, batch: int = 10_000, *, vectors: bool = True) -> Iterator[Batch]:
        with self._connection.speaking():
            content = self._following.current()
            columns = [ID, FIELDS] + [_VECTOR] * vectors
            pages = content.walk("", columns, min(batch, _ROWS_AT_ONCE))
        while True:
            with self._connection.speaking():
                rows = next(pages, None)
            if rows is None:
                return
            records = [record(key_text(row[ID]), "".join(row[FIELDS])) for row in rows]
            ids, fields = [record.id for record in records], [record.fields for record in records]
            yield Batch(ids, fields, np.array([row.get(_VECTOR, ()) for row in rows], dtype=np.float32))

    def optimise(self) -> None:
        with self._connection.speaking():
            content = self._following.current(asking=True)
            content.client.flush(content.name)
            while content.client.describe_index(content.name, _VECTOR)["state"] in ("Unissued", "InProgress"):
                time.sleep(PATIENCE)

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class _Content:
    """A collection."""

    client: Any
    name: str
    schema: Schema

    def rows(self, keys: Sequence[str], columns: list[str], consistency_level: str = "Session") -> list[dict[str, Any]]:
        """Those of some items that are there, by their keys."""
        return self.client.get(
            self.name, ids=list(keys), output_fields=columns, timeout=_WAIT, consistency_level=consistency_level
        )

    def field_vectors(self, row: dict[str, Any]) -> dict[str, np.ndarray]:
        """The vectors of a row's fields, if it was read with them."""
        if not self.schema.field_vectors:
            return {}
        blob = base64.b64decode("".join(row[FIELD_VECTORS]))
        return unpack_field_vectors(blob, self.schema.field_vectors, self.schema.dim)

    def count(self, limit: str | bool) -> int:
        if limit is False:
            return 0
        (row,) = self.client.query(
            self.name,
            filter="" if limit is True else limit,
            output_fields=["count(*)"],
            timeout=_WAIT,
            consistency_level="Session",
        )
        return int(row["count(*)"])

    def walk(self, limit: str, columns: list[str], rows: int) -> Iterator[list[dict[str, Any]]]:
        """All items that meet a filter, some at a time, as they are at this moment."""
        iterator = self.client.query_iterator(
            self.name, filter=limit or f'{ID} != ""', output_fields=columns, batch_size=rows, timeout=_WAIT
        )
        try:
            while page := iterator.next():
                yield page
        finally:
            iterator.close()


def _search(content: _Content, vectors: np.ndarray, k: int, condition: Condition | None) -> list[Found]:
    queries = unit_vectors(vectors, content.schema.dim)
    limit = _filter(condition, content.schema)
    if len(queries) == 0 or limit is False:
        return nothing(len(queries))
    limit = "" if limit is True else limit
    if k > _MOST_HITS:
        return _exact_hits(content, queries, k, limit)
    results: list[Found] = []
    at_once = min(max(1, _HITS_AT_ONCE // k), _MOST_HITS)
    for start in range(0, len(queries), at_once):
        results += _hits(content, queries[start : start + at_once], k, limit)
    missing = [number for number, result in enumerate(results) if len(result.ids) < k]
    if missing:
        wanted = min(k, content.count(limit or True))
        missing = [number for number in missing if len(results[number].ids) < wanted]
    if missing:  # the graph did not lead to them
        for number, result in zip(missing, _exact_hits(content, queries[missing], k, limit), strict=True):
            results[number] = result
    return results


def _hits(content: _Content, queries: np.ndarray, k: int, limit: str) -> list[Found]:
    found_by_query = content.client.search(
        content.name,
        data=list(queries),
        limit=k,
        filter=limit,
        output_fields=[ID],
        search_params={"metric_type": "IP", "params": {"ef": max(_CANDIDATES, 2 * k)}},
        timeout=_WAIT,
        consistency_level="Session",
    )
    return [found([key_text(hit[ID]) for hit in hits], [hit["distance"] for hit in hits], k) for hits in found_by_query]


def _exact_hits(content: _Content, queries: np.ndarray, k: int, limit: str) -> list[Found]:
    """Compare the queries with every item that meets a filter, here."""
    best = nothing(len(queries))
    for rows in content.walk(limit, [ID, _VECTOR], _ROWS_AT_ONCE):
        ids = [key_text(row[ID]) for row in rows]
        cosines = queries @ np.array([row[_VECTOR] for row in rows], dtype=np.float32).T
        best = [
            found(before.ids + ids, np.concatenate([before.scores, scores]), k)
            for before, scores in zip(best, cosines, strict=True)
        ]
    return best


def _filter(condition: Condition | None, schema: Schema) -> str | bool:
    form = True if condition is None else normal_form(condition, schema)
    return form if isinstance(form, bool) else expression(form)


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    keys = [text_key(id) for id in dict.fromkeys(ids)]
    for start in range(0, len(keys), _IDS_AT_ONCE):
        yield keys[start : start + _IDS_AT_ONCE]


def _check_lengths(stored: pl.DataFrame) -> None:
    if (stored[ID].str.len_bytes() > LONGEST_TEXT).any():
        raise UserError(f"an id in a Milvus store has at most {LONGEST_TEXT:,} bytes")
    too_long = stored.filter(pl.col(FIELDS).str.len_chars() > _PART_OF_FIELDS * _MOST_PARTS)[ID]
    if len(too_long):
        raise UserError(f'the item "{too_long[0]}" is too long for a Milvus store: leave out its longest column')


def _rows(stored: pl.DataFrame, unit: np.ndarray) -> list[dict[str, Any]]:
    """Items as Milvus takes them."""
    columns: dict[str, list[Any]] = {}
    for cells in stored.iter_columns():
        values = cells.to_list()
        if cells.name == FIELDS:
            values = [_parts(text) for text in values]
        elif cells.name == FIELD_VECTORS:
            values = [_parts(base64.b64encode(blob).decode(), _LONGEST_STRING) for blob in values]
        elif cells.dtype == pl.String:
            values = [None if text is None else text_key(text) for text in values]
        columns[cells.name] = values
    columns[_VECTOR] = list(unit)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _parts(text: str, length: int = _PART_OF_FIELDS) -> list[str]:
    return [text[start : start + length] for start in range(0, len(text), length)]


def _created(connection: Connection, name: str, schema: Schema) -> _Content:
    """A new, empty collection."""
    from pymilvus import DataType, MilvusClient

    indexed = connection.indexed
    types = {pl.String: DataType.VARCHAR, pl.Int64: DataType.INT64, pl.Float64: DataType.DOUBLE}
    fields = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    indexes = MilvusClient.prepare_index_params()
    for column, kind in schema.stored_types.items():
        length = {"max_length": LONGEST_KEY} if kind == pl.String else {}
        about = {"is_primary": True} if column == ID else {"nullable": True}
        fields.add_field(column, types.get(kind, DataType.BOOL), **length, **about)
        if indexed and column != ID:
            indexes.add_index(column, index_type="INVERTED")
    for column in [FIELDS] + [FIELD_VECTORS] * bool(schema.field_vectors):
        strings = {"element_type": DataType.VARCHAR, "max_length": _LONGEST_STRING, "max_capacity": _MOST_PARTS}
        fields.add_field(column, DataType.ARRAY, **strings)
    fields.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=schema.dim)
    indexes.add_index(_VECTOR, index_name=_VECTOR, metric_type="IP", **(_GRAPH if indexed else {"index_type": "FLAT"}))
    connection.client.create_collection(
        name,
        schema=fields,
        index_params=indexes,
        properties={_SCHEMA: schema.to_json()},
        consistency_level="Strong",
    )
    return _Content(connection.client, name, schema)


def _opened(connection: Connection, name: str) -> _Content:
    about = connection.client.describe_collection(name)
    try:
        schema = Schema.from_json(about["properties"][_SCHEMA])
    except (ValueError, KeyError, TypeError) as error:
        raise explain_damaged_store(connection.location, error) from None
    connection.client.load_collection(name)
    return _Content(connection.client, name, schema)
