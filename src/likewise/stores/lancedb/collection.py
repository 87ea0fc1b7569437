"""Items in a LanceDB table: columns on disk, compressed codes as the index; `lancedb:///path/to/folder`.

folder/current                  the name of the version in use (see stores/versions.py)
folder/<version>/items.lance    its table, whose metadata holds the schema
folder/<version>/manifest.json  checksums of the table's files, which never change (see checksums.py)

Of a table that is too large to be verified when it is opened, every row that is returned is checked by itself.
"""

import contextlib
import errno
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import polars as pl
from filelock import FileLock

from likewise import checksums
from likewise.catalog.filters import Condition, Value
from likewise.checksums import MANIFEST, IndexManifest
from likewise.errors import MissingExtraError, UserError
from likewise.files import DamageError, hold_lock, reason
from likewise.stores.base import Batch, Found, Record
from likewise.stores.conditions import normal_form
from likewise.stores.damage import explain_damaged_store
from likewise.stores.field_vectors import unpack_field_vectors
from likewise.stores.following import Following
from likewise.stores.inputs import checked_k, prepared_items, unit_vectors
from likewise.stores.results import found, in_order, nothing, record
from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema
from likewise.stores.sql import where
from likewise.stores.uri import Credentials, Location
from likewise.stores.versions import current_version, new_version

if TYPE_CHECKING:
    import pyarrow

_Result = TypeVar("_Result")

INDEX_FROM = 20_000  # items; comparing with all of them is quick enough until there

# The index keeps one bit a dimension, so that many candidates are scored again with the full vectors. On 50,000
# clustered vectors, 40 candidates found 95 % of the true ten best and 80 found all.
_CANDIDATES = 100
_PARTITIONS = 20  # of about 8,000 items each; more are read where a filter leaves too few
_IDS_AT_ONCE = 1_000
_KEPT = timedelta(minutes=10)  # how long others may read what compaction has made superfluous
_TABLE, _VECTOR, _SCHEMA = "items", "vector", b"likewise"
_CHECKSUM, _BLOB_CHECKSUM = "checksum", "field_vectors_checksum"
_UNLISTED = (".writing", f"{_TABLE}.lance/_versions/latest_version_hint.json")  # LanceDB looks past a wrong hint
_ENDINGS = {".lance": b"LANC", ".manifest": b"LANC", ".arrow": b"ARROW1"}
_PATIENCE = 20.0  # seconds that a reader waits for a writer before it calls a table damaged


def open_store(location: Location, credentials: Credentials) -> "LanceStore":
    """See base.py."""
    folder = location.file

    def name() -> str:
        try:
            version = current_version(folder)
        except DamageError as error:
            raise explain_damaged_store(location, error) from None
        if version is None:
            raise UserError(f"there is no store at {location}: build it with `likewise index --store {location}`")
        return str(version)

    store = LanceStore(Following(name, lambda version: _Content(Path(version), location), patience=0))
    _ = store.schema
    return store


@contextmanager
def replace_store(location: Location, schema: Schema, credentials: Credentials) -> Iterator["LanceStore"]:
    """See base.py."""
    database = _library()
    with ExitStack() as building:
        with _naming_errors(location):
            folder = building.enter_context(new_version(location.file, unlisted=_UNLISTED))
            database.connect(str(folder)).create_table(_TABLE, schema=_arrow_schema(schema))
            content = _Content(folder, location, building=True)
        store = LanceStore(Following(lambda: "", lambda name: content))
        yield store
        store.optimise()
        with _naming_errors(location):
            building.close()


class LanceStore:
    """A `Store`; several processes may read and write it at a time."""

    def __init__(self, following: Following["_Content"]) -> None:
        self._following = following

    @property
    def schema(self) -> Schema:
        return self._following.current().schema

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray, field_vectors: np.ndarray | None = None) -> None:
        content = self._following.current(asking=True)
        stored, unit = prepared_items(items, vectors, content.schema, field_vectors)
        if len(stored) == 0:
            return
        rows = _arrow_rows(stored, unit, content.schema)
        with content.writing():
            merge = content.table.merge_insert(ID).when_matched_update_all().when_not_matched_insert_all()
            merge.execute(rows)

    def delete(self, ids: Sequence[str]) -> int:
        content = self._following.current(asking=True)
        with content.writing():
            conditions = map(_among, _chunks(ids))
            return sum(int(content.table.delete(condition).num_deleted_rows) for condition in conditions)

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> list[Found]:
        return self._read(lambda content: _search(content, vectors, checked_k(k), condition))

    def fetch(self, ids: Sequence[str], *, vectors: bool = False, field_vectors: bool = False) -> list[Record | None]:
        columns = [ID, FIELDS, _VECTOR] if vectors else [ID, FIELDS]

        def read(content: _Content) -> list[Record | None]:
            records: dict[str, Record] = {}
            for chunk in _chunks(ids):
                wanted = content.read_with(columns, field_vectors)
                rows = content.table.search().where(_among(chunk)).select(wanted).limit(len(chunk))
                rows = content.checked(rows.to_arrow())
                known, fields = rows[ID].to_pylist(), rows[FIELDS].to_pylist()
                matrix = _matrix(rows[_VECTOR], content.schema.dim) if vectors else [None] * len(known)
                towers = content.field_vectors(rows) if field_vectors else [None] * len(known)
                records.update((id, record(id, *rest)) for id, *rest in zip(known, fields, matrix, towers, strict=True))
            return in_order(ids, records)

        return self._read(read)

    def count(self, condition: Condition | None = None) -> int:
        return self._read(lambda content: content.count(_filter(condition, content.schema)))

    def iterate(self, batch: int = 10_000, *, vectors: bool = True) -> Iterator[Batch]:
        content = self._following.current()
        columns = content.read_with([ID, FIELDS, _VECTOR] if vectors else [ID, FIELDS])
        for rows in _batches(content, columns, batch):
            for start in range(0, len(rows), batch):
                part = content.checked(rows.slice(start, batch))
                ids, fields = part[ID].to_pylist(), part[FIELDS].to_pylist()
                decoded = [record(id, text).fields for id, text in zip(ids, fields, strict=True)]
                nothing_read = np.empty((len(ids), 0), np.float32)
                yield Batch(ids, decoded, _matrix(part[_VECTOR], content.schema.dim) if vectors else nothing_read)

    def optimise(self) -> None:
        from lancedb.index import BTree, IvfRq

        content = self._following.current(asking=True)
        with content.writing():
            table = content.table
            indexed = {column for index in table.list_indices() for column in index.columns}
            count = table.count_rows()
            if count and ID not in indexed:
                table.create_index(ID, config=BTree())
            if count >= INDEX_FROM and _VECTOR not in indexed:
                table.create_index(_VECTOR, config=IvfRq(distance_type="dot"))
            table.optimize(cleanup_older_than=_KEPT)

    def close(self) -> None:
        """Nothing stays open between two calls."""

    def _read(self, operation: Callable[["_Content"], _Result]) -> _Result:
        try:
            return self._following.read(operation)
        except (OSError, RuntimeError, ValueError) as error:
            raise explain_damaged_store(self._following.current().location, error) from None


class _Content:
    """A version of the store.

    Args:
        building: it is being written, and has no manifest yet.
    """

    def __init__(self, folder: Path, location: Location, *, building: bool = False) -> None:
        database = _library()
        self.location = location
        self._folder, self._lock = folder, threading.Lock()
        try:
            self._manifest = None if building else IndexManifest(folder)
            self._large = bool(self._verified())
            # An interval of zero sees what other processes wrote at the next read.
            self.table: Any = database.connect(str(folder), read_consistency_interval=timedelta(0)).open_table(_TABLE)
            self.schema = Schema.from_json(self.table.schema.metadata[_SCHEMA].decode())
        except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
            raise explain_damaged_store(location, error) from None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One writer at a time: two that insert the same new id at once would both succeed."""
        with _naming_errors(self.location), self._lock, hold_lock(self._folder / ".writing"):
            if self._manifest is not None:  # another process may have written meanwhile
                self._manifest = IndexManifest(self._folder)
            try:
                yield
            finally:
                self._list_new_files()

    def _list_new_files(self) -> None:
        """Bring the manifest up to date; undo a write of which LanceDB has lost a part without a word.

        Raises:
            OSError: a file that was written is not whole.
        """
        known = set() if self._manifest is None else set(self._manifest.names)
        names = (path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file())
        new = [name for name in names if name not in known and name not in (*_UNLISTED, MANIFEST)]
        broken = next((name for name in new if not _is_whole(self._folder / name)), None)
        if broken is not None:
            for name in sorted(new, key=lambda name: not name.endswith(".manifest")):  # these name all others
                (self._folder / name).unlink(missing_ok=True)
            raise OSError(errno.EIO, f"{broken} was not written as a whole")
        if self._manifest is not None:
            self._manifest.refresh(_UNLISTED)

    def read_with(self, columns: list[str], field_vectors: bool = False) -> list[str]:
        """The columns that have to be read so that some can be checked.

        Args:
            field_vectors: those of the fields are read, too; they have a checksum of their own, so that searches need
                not read them.
        """
        if self._large:
            columns = list(dict.fromkeys([*columns, ID, FIELDS, _VECTOR, _CHECKSUM]))
        return [*columns, FIELD_VECTORS, _BLOB_CHECKSUM] if field_vectors and self.schema.field_vectors else columns

    def field_vectors(self, rows: Any) -> list[dict[str, np.ndarray]]:
        """The vectors of the fields of rows that were read with them.

        Raises:
            UserError: they are not what was written.
        """
        if not self.schema.field_vectors:
            return [{} for _ in range(len(rows))]
        blobs = rows[FIELD_VECTORS].to_pylist()
        if _blob_checksums(rows[ID].to_pylist(), blobs) != rows[_BLOB_CHECKSUM].to_pylist():
            raise explain_damaged_store(self.location, DamageError("field vectors are not what was written"))
        return [unpack_field_vectors(blob, self.schema.field_vectors, self.schema.dim) for blob in blobs]

    def checked(self, rows: Any) -> Any:
        """Rows with the columns of `read_with`, each of which is what was written.

        Raises:
            UserError: one is not.
        """
        if self._large:
            vectors = _matrix(rows[_VECTOR], self.schema.dim)
            expected = _checksums(rows[ID].to_pylist(), rows[FIELDS].to_pylist(), vectors)
            if expected != rows[_CHECKSUM].to_pylist():
                raise explain_damaged_store(self.location, DamageError("an item is not what was written"))
        return rows

    def _verified(self) -> set[str]:
        """The files that were too large to be verified; a writer may be about to list new ones."""
        if self._manifest is None:
            return set()
        try:
            return self._manifest.verify(checksums.AT_OPENING)
        except DamageError:
            with contextlib.suppress(OSError), FileLock(self._folder / ".writing").acquire(timeout=_PATIENCE):
                pass
            self._manifest = IndexManifest(self._manifest.folder)
            return self._manifest.verify(checksums.AT_OPENING)

    def count(self, condition: str | bool) -> int:
        if condition is False:
            return 0
        return int(self.table.count_rows(None if condition is True else condition))


def _search(content: _Content, vectors: np.ndarray, k: int, condition: Condition | None) -> list[Found]:
    queries = unit_vectors(vectors, content.schema.dim)
    limit = _filter(condition, content.schema)
    if len(queries) == 0 or limit is False:
        return nothing(len(queries))
    results = _hits(content, queries, k, limit, exact=False)
    wanted = None
    for number, result in enumerate(results):
        if len(result.ids) < k:
            wanted = min(k, content.count(limit)) if wanted is None else wanted
            if len(result.ids) < wanted:  # the index gave up before it had found them
                results[number] = _hits(content, queries[number : number + 1], k, limit, exact=True)[0]
    return results


def _hits(content: _Content, queries: np.ndarray, k: int, limit: str | bool, exact: bool) -> list[Found]:
    search = content.table.search(queries.tolist(), vector_column_name=_VECTOR).distance_type("dot").limit(k)
    search = search.select([*content.read_with([ID]), "_distance"])
    if limit is not True:
        search = search.where(limit, prefilter=True)
    if exact:
        search = search.bypass_vector_index()
    else:
        search = search.minimum_nprobes(_PARTITIONS).maximum_nprobes(0)  # 0: as many as it takes to find k
        search = search.refine_factor(max(2, -(-_CANDIDATES // k)))
    rows = content.checked(search.to_arrow())
    ids, scores = np.array(rows[ID].to_pylist(), dtype=object), 1.0 - rows["_distance"].to_numpy()
    if len(queries) == 1:
        return [found(ids, scores, k)]
    query = rows["query_index"].to_numpy()
    return [found(ids[query == number], scores[query == number], k) for number in range(len(queries))]


def _filter(condition: Condition | None, schema: Schema) -> str | bool:
    form = True if condition is None else normal_form(condition, schema)
    return form if isinstance(form, bool) else where(form, _literal)


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _among(ids: Sequence[str]) -> str:
    return f"{ID} IN ({', '.join(map(_literal, ids))})"


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    distinct = list(dict.fromkeys(ids))
    for start in range(0, len(distinct), _IDS_AT_ONCE):
        yield distinct[start : start + _IDS_AT_ONCE]


def _arrow_schema(schema: Schema) -> "pyarrow.Schema":
    import pyarrow

    types = {pl.String: pyarrow.string(), pl.Int64: pyarrow.int64(), pl.Float64: pyarrow.float64()}
    columns = [(name, types.get(kind, pyarrow.bool_())) for name, kind in schema.stored_types.items()]
    columns += [(FIELDS, pyarrow.string()), (_VECTOR, pyarrow.list_(pyarrow.float32(), schema.dim))]
    columns += [(_CHECKSUM, pyarrow.int64())]
    if schema.field_vectors:
        columns += [(FIELD_VECTORS, pyarrow.binary()), (_BLOB_CHECKSUM, pyarrow.int64())]
    return pyarrow.schema(columns, metadata={_SCHEMA: schema.to_json().encode()})


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


def _blob_checksums(ids: Sequence[str], blobs: Sequence[bytes]) -> list[int]:
    """A CRC-32 of each row's field vectors, together with its id."""
    return [
        zlib.crc32(blob, zlib.crc32(id.encode("utf-8", "surrogatepass"))) for id, blob in zip(ids, blobs, strict=True)
    ]


def _matrix(column: Any, dim: int) -> np.ndarray:
    """A column of vectors as (n, dim) float32."""
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
    return np.asarray(column.flatten(), dtype=np.float32).reshape(-1, dim)


def _is_whole(path: Path) -> bool:
    """Whether a file of LanceDB's ends as such files do."""
    ending = _ENDINGS.get(path.suffix, b"")
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(ending)))
        return file.read() == ending if ending else size > 0


def _batches(content: _Content, columns: list[str], size: int) -> Iterator[Any]:
    """A walk through the table."""
    try:
        yield from content.table.search().select(columns).limit(None).to_batches(batch_size=size)
    except (ValueError, RuntimeError, OSError) as error:
        raise explain_damaged_store(content.location, error) from None


@contextmanager
def _naming_errors(location: Location) -> Iterator[None]:
    """Turn what LanceDB and the system raise where they cannot write into one sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"cannot write the store at {location}: {reason(error)}") from None


def _library() -> Any:
    try:
        import lancedb
    except ImportError:
        raise MissingExtraError("lancedb", "lancedb") from None
    return lancedb
