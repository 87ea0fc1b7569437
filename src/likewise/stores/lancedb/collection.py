"""Items in a LanceDB table: columns on disk, compressed codes as the index; `lancedb:///path/to/folder`.

folder/current                  the name of the version in use (see stores/versions.py)
folder/<version>/items.lance    its table, whose metadata holds the schema
folder/<version>/manifest.json  checksums of the table's files, which never change (see checksums.py)

Of a table that is too large to be verified when it is opened, every row that is returned is checked by itself.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.files import DamageError
from likewise.stores.base import SearchResult
from likewise.stores.collection_store import CollectionStore, StoredItem, open_collection_store
from likewise.stores.current_collection import CurrentCollection
from likewise.stores.lancedb.connection import (
    SCHEMA,
    TABLE,
    UNLISTED,
    Connection,
    Table,
    explain_write_errors,
    load_library,
)
from likewise.stores.lancedb.filters import any_of, sql_filter
from likewise.stores.results import rank_hits
from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema
from likewise.stores.uri import Credentials, Location
from likewise.stores.versions import new_version

if TYPE_CHECKING:
    import pyarrow

INDEX_FROM = 20_000  # items; comparing with all of them is quick enough until there

# The index keeps one bit a dimension, so that many candidates are scored again with the full vectors. On 50,000
# clustered vectors, 40 candidates found 95 % of the true ten best and 80 found all.
_CANDIDATES = 100
_PARTITIONS = 20  # of about 8,000 items each; more are read where a filter leaves too few
_IDS_AT_ONCE = 1_000
_KEPT = timedelta(minutes=10)  # how long others may read what compaction has made superfluous
_VECTOR, _CHECKSUM, _BLOB_CHECKSUM = "vector", "checksum", "field_vectors_checksum"


def open_store(location: Location, credentials: Credentials) -> CollectionStore:
    """See base.py."""
    connection = Connection(location)
    return open_collection_store(connection, lambda name: LanceCollection(Table(Path(name), location)), patience=0)


@contextmanager
def replace_store(location: Location, schema: Schema, credentials: Credentials) -> Iterator[CollectionStore]:
    """See base.py."""
    database = load_library()
    with ExitStack() as building:
        with explain_write_errors(location):
            folder = building.enter_context(new_version(location.file, unlisted=UNLISTED))
            database.connect(str(folder)).create_table(TABLE, schema=_arrow_schema(schema))
            collection = LanceCollection(Table(folder, location, building=True))
        store = CollectionStore(Connection(location, folder), CurrentCollection(lambda: "", lambda _: collection))
        yield store
        store.optimise()
        with explain_write_errors(location):
            building.close()


class LanceCollection:
    """The items of a table; several processes may read and write it at a time."""

    def __init__(self, table: Table) -> None:
        self._table = table

    @property
    def schema(self) -> Schema:
        return self._table.schema

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray) -> None:
        rows = _arrow_rows(items, vectors, self.schema)
        with self._table.lock_for_writing():
            merge = self._table.lance.merge_insert(ID).when_matched_update_all().when_not_matched_insert_all()
            merge.execute(rows)

    def delete(self, ids: list[str]) -> int:
        with self._table.lock_for_writing():
            return sum(int(self._table.lance.delete(any_of(chunk)).num_deleted_rows) for chunk in _chunks(ids))

    def search(self, queries: np.ndarray, k: int, condition: Condition | None, *, exact: bool) -> list[SearchResult]:
        search = self._table.lance.search(queries.tolist(), vector_column_name=_VECTOR).distance_type("dot").limit(k)
        search = search.select([*self._columns_to_read([ID]), "_distance"])
        if condition is not None:
            search = search.where(sql_filter(condition), prefilter=True)
        if exact:
            search = search.bypass_vector_index()
        else:
            search = search.minimum_nprobes(_PARTITIONS).maximum_nprobes(0)  # 0: as many as it takes to find k
            search = search.refine_factor(max(2, -(-_CANDIDATES // k)))
        rows = self._check(search.to_arrow())
        ids, scores = np.array(rows[ID].to_pylist(), dtype=object), 1.0 - rows["_distance"].to_numpy()
        if len(queries) == 1:
            return [rank_hits(ids, scores, k)]
        query = rows["query_index"].to_numpy()
        return [rank_hits(ids[query == number], scores[query == number], k) for number in range(len(queries))]

    def fetch(self, ids: list[str], *, vectors: bool, field_vectors: bool) -> Iterator[StoredItem]:
        columns = self._columns_to_read([ID, FIELDS] + [_VECTOR] * vectors)
        columns += [FIELD_VECTORS, _BLOB_CHECKSUM] * field_vectors
        for chunk in _chunks(ids):
            rows = self._table.lance.search().where(any_of(chunk)).select(columns).limit(len(chunk))
            yield from self._stored_items(rows.to_arrow(), vectors, field_vectors)

    def count(self, condition: Condition | None) -> int:
        return int(self._table.lance.count_rows(None if condition is None else sql_filter(condition)))

    def walk(self, size: int, *, vectors: bool) -> Iterator[list[StoredItem]]:
        columns = self._columns_to_read([ID, FIELDS] + [_VECTOR] * vectors)
        for rows in self._table.lance.search().select(columns).limit(None).to_batches(batch_size=size):
            for start in range(0, len(rows), size):
                yield self._stored_items(rows.slice(start, size), vectors)

    def optimise(self) -> None:
        from lancedb.index import BTree, IvfRq

        with self._table.lock_for_writing():
            table = self._table.lance
            indexed = {column for index in table.list_indices() for column in index.columns}
            count = table.count_rows()
            if count and ID not in indexed:
                table.create_index(ID, config=BTree())
            if count >= INDEX_FROM and _VECTOR not in indexed:
                table.create_index(_VECTOR, config=IvfRq(distance_type="dot"))
            table.optimize(cleanup_older_than=_KEPT)

    def _columns_to_read(self, columns: list[str]) -> list[str]:
        """Some columns, and those that checking their rows needs; field vectors have a checksum of their own."""
        return list(dict.fromkeys([*columns, ID, FIELDS, _VECTOR, _CHECKSUM])) if self._table.is_large else columns

    def _check(self, rows: Any) -> Any:
        """Rows with the columns of `_columns_to_read`.

        Raises:
            DamageError: one is not what was written.
        """
        if self._table.is_large:
            vectors = _matrix(rows[_VECTOR], self.schema.dim)
            expected = _checksums(rows[ID].to_pylist(), rows[FIELDS].to_pylist(), vectors)
            if expected != rows[_CHECKSUM].to_pylist():
                raise DamageError("an item is not what was written")
        return rows

    def _stored_items(self, rows: Any, vectors: bool, field_vectors: bool = False) -> list[StoredItem]:
        rows = self._check(rows)
        ids = rows[ID].to_pylist()
        unit = _matrix(rows[_VECTOR], self.schema.dim) if vectors else [None] * len(ids)
        blobs = rows[FIELD_VECTORS].to_pylist() if field_vectors else [None] * len(ids)
        if field_vectors and _blob_checksums(ids, blobs) != rows[_BLOB_CHECKSUM].to_pylist():
            raise DamageError("field vectors are not what was written")
        return [StoredItem(*item) for item in zip(ids, rows[FIELDS].to_pylist(), unit, blobs, strict=True)]


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[start : start + _IDS_AT_ONCE]


def _arrow_schema(schema: Schema) -> "pyarrow.Schema":
    import pyarrow

    types = {pl.String: pyarrow.string(), pl.Int64: pyarrow.int64(), pl.Float64: pyarrow.float64()}
    columns = [(name, types.get(kind, pyarrow.bool_())) for name, kind in schema.stored_types.items()]
    columns += [(FIELDS, pyarrow.string()), (_VECTOR, pyarrow.list_(pyarrow.float32(), schema.dim))]
    columns += [(_CHECKSUM, pyarrow.int64())]
    if schema.field_vectors:
        columns += [(FIELD_VECTORS, pyarrow.binary()), (_BLOB_CHECKSUM, pyarrow.int64())]
    return pyarrow.schema(columns, metadata={SCHEMA: schema.to_json().encode()})


def _arrow_rows(stored: pl.DataFrame, unit: np.ndarray, schema: Schema) -> "pyarrow.Table":
    import pyarrow

    arrow = _arrow_schema(schema)
    table = stored.to_arrow()
    names = [name for name in stored.columns if name != FIELD_VECTORS]
    columns = [table[name].cast(arrow.field(name).type) for name in names]
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(unit.ravel()), schema.dim)
    checksums = pyarrow.array(_checksums(stored[ID].to_list(), stored[FIELDS].to_list(), unit), pyarrow.int64())
    columns += [vectors, checksums]
    if schema.field_vectors:
        blobs = stored[FIELD_VECTORS].to_list()
        columns += [pyarrow.array(blobs, pyarrow.binary())]
        columns += [pyarrow.array(_blob_checksums(stored[ID].to_list(), blobs), pyarrow.int64())]
    return pyarrow.table(columns, schema=arrow)


def _checksums(ids: Sequence[str], documents: Sequence[str], vectors: np.ndarray) -> list[int]:
    """A CRC-32 of each row."""
    rows = np.ascontiguousarray(vectors, "<f4")
    return [
        zlib.crc32(row.tobytes(), zlib.crc32(f"{id}\0{document}".encode("utf-8", "surrogatepass")))
        for id, document, row in zip(ids, documents, rows, strict=True)
    ]


def _blob_checksums(ids: Sequence[str], blobs: Any) -> list[int]:
    """A CRC-32 of each row's field vectors, together with its id."""
    return [
        zlib.crc32(blob, zlib.crc32(id.encode("utf-8", "surrogatepass"))) for id, blob in zip(ids, blobs, strict=True)
    ]


def _matrix(column: Any, dim: int) -> np.ndarray:
    """A column of vectors as (n, dim) float32."""
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
    return np.asarray(column.flatten(), dtype=np.float32).reshape(-1, dim)
