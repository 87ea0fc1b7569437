"""Items in Milvus: `milvus:///path/file.db` through Milvus Lite in this process, `milvus://host:19530/db` elsewhere.

A store is an alias, `?collection=NAME`, of the collection in use (see collection_swap.py). A collection's
property "likewise" holds the schema. Its primary key and its texts are keys (see filters.py); the field "fields"
holds an item's JSON, cut into strings of a length that Milvus takes; "field_vectors" holds those in base64.
"""

import base64
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.stores.base import SearchResult
from likewise.stores.collection_store import CollectionStore, StoredItem, open_collection_store
from likewise.stores.collection_swap import replace_collection, upsert_in_parts
from likewise.stores.current_collection import PATIENCE
from likewise.stores.damage import explain_damaged_store
from likewise.stores.milvus.connection import Connection, connect
from likewise.stores.milvus.filters import LONGEST_KEY, LONGEST_TEXT, expression, key_text, text_key
from likewise.stores.results import no_results, rank_hits
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


def open_store(location: Location, credentials: Credentials) -> CollectionStore:
    """See base.py."""
    connection = connect(location, credentials, create=False)
    patience = 0 if connection.alone else PATIENCE
    return open_collection_store(connection, lambda name: _open(connection, name), patience=patience)


def replace_store(
    location: Location, schema: Schema, credentials: Credentials
) -> AbstractContextManager[CollectionStore]:
    """See base.py."""
    connection = connect(location, credentials, create=True)
    return replace_collection(connection, lambda name: _create(connection, name, schema))


@dataclass(frozen=True)
class MilvusCollection:
    """A collection; several processes may read and write one on a server at a time."""

    connection: Connection
    name: str
    schema: Schema

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray) -> None:
        _check_lengths(items)

        def write(some: pl.DataFrame, their_vectors: np.ndarray) -> None:
            self._client.upsert(self.name, _rows(some, their_vectors), timeout=_WAIT)

        upsert_in_parts(self.connection.explain_errors, items, vectors, _BYTES_AT_ONCE, write)

    def delete(self, ids: list[str]) -> int:
        deleted = 0
        for keys in _chunks(ids):
            # Milvus counts what it was asked to delete, whether it was there or not.
            there = [row[ID] for row in self._rows(keys, [ID], consistency_level="Strong")]
            if there:
                self._client.delete(self.name, ids=there, timeout=_WAIT)
            deleted += len(there)
        return deleted

    def search(self, queries: np.ndarray, k: int, condition: Condition | None, *, exact: bool) -> list[SearchResult]:
        limit = "" if condition is None else expression(condition)
        if exact or k > _MOST_HITS:
            return self._compare(queries, k, limit)
        results: list[SearchResult] = []
        at_once = min(max(1, _HITS_AT_ONCE // k), _MOST_HITS)
        for start in range(0, len(queries), at_once):
            results += self._search(queries[start : start + at_once], k, limit)
        return results

    def fetch(self, ids: list[str], *, vectors: bool, field_vectors: bool) -> Iterator[StoredItem]:
        columns = [ID, FIELDS] + [_VECTOR] * vectors + [FIELD_VECTORS] * field_vectors
        for keys in _chunks(ids):
            yield from map(_stored_item, self._rows(keys, columns))

    def count(self, condition: Condition | None) -> int:
        (row,) = self._client.query(
            self.name,
            filter="" if condition is None else expression(condition),
            output_fields=["count(*)"],
            timeout=_WAIT,
            consistency_level="Session",
        )
        return int(row["count(*)"])

    def walk(self, size: int, *, vectors: bool) -> Iterator[list[StoredItem]]:
        pages = self._walk("", [ID, FIELDS] + [_VECTOR] * vectors, min(size, _ROWS_AT_ONCE))
        return (list(map(_stored_item, page)) for page in pages)

    def optimise(self) -> None:
        self._client.flush(self.name)
        while self._client.describe_index(self.name, _VECTOR)["state"] in ("Unissued", "InProgress"):
            time.sleep(PATIENCE)

    @property
    def _client(self) -> Any:
        return self.connection.client

    def _rows(
        self, keys: Sequence[str], columns: list[str], consistency_level: str = "Session"
    ) -> list[dict[str, Any]]:
        """Those of some items that are there, by their keys."""
        return self._client.get(
            self.name, ids=list(keys), output_fields=columns, timeout=_WAIT, consistency_level=consistency_level
        )

    def _walk(self, limit: str, columns: list[str], rows: int) -> Iterator[list[dict[str, Any]]]:
        """All items that meet a filter, some at a time, as they are at the call."""
        iterator = self._client.query_iterator(
            self.name, filter=limit or f'{ID} != ""', output_fields=columns, batch_size=rows, timeout=_WAIT
        )

        def pages() -> Iterator[list[dict[str, Any]]]:
            try:
                while page := iterator.next():
                    yield page
            finally:
                iterator.close()

        return pages()

    def _search(self, queries: np.ndarray, k: int, limit: str) -> list[SearchResult]:
        found = self._client.search(
            self.name,
            data=list(queries),
            limit=k,
            filter=limit,
            output_fields=[ID],
            search_params={"metric_type": "IP", "params": {"ef": max(_CANDIDATES, 2 * k)}},
            timeout=_WAIT,
            consistency_level="Session",
        )
        return [rank_hits([key_text(hit[ID]) for hit in hits], [hit["distance"] for hit in hits], k) for hits in found]

    def _compare(self, queries: np.ndarray, k: int, limit: str) -> list[SearchResult]:
        """Compare the queries with every item that meets a filter, here."""
        best = no_results(len(queries))
        for rows in self._walk(limit, [ID, _VECTOR], _ROWS_AT_ONCE):
            ids = [key_text(row[ID]) for row in rows]
            cosines = queries @ np.array([row[_VECTOR] for row in rows], dtype=np.float32).T
            best = [
                rank_hits(before.ids + ids, np.concatenate([before.scores, scores]), k)
                for before, scores in zip(best, cosines, strict=True)
            ]
        return best


def _stored_item(row: dict[str, Any]) -> StoredItem:
    blob = base64.b64decode("".join(row[FIELD_VECTORS])) if FIELD_VECTORS in row else None
    return StoredItem(key_text(row[ID]), "".join(row[FIELDS]), row.get(_VECTOR), blob)


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield [text_key(id) for id in ids[start : start + _IDS_AT_ONCE]]


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


def _create(connection: Connection, name: str, schema: Schema) -> MilvusCollection:
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
    return MilvusCollection(connection, name, schema)


def _open(connection: Connection, name: str) -> MilvusCollection:
    about = connection.client.describe_collection(name)
    try:
        schema = Schema.from_json(about["properties"][_SCHEMA])
    except (ValueError, KeyError, TypeError) as error:
        raise explain_damaged_store(connection.location, error) from None
    connection.client.load_collection(name)
    return MilvusCollection(connection, name, schema)
