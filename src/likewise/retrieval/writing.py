"""Writes of single items into an open index: inserting, replacing, changing and removing them.

A call reads what is stored, encodes what is new, and then takes a lock that excludes other writers. If the store has
changed since it was read, the call starts again from the new content. The lock is never held while the model runs. When
a call returns, its items are durable, and the next search finds them.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from likewise.catalog.audio.recording import Recording
from likewise.catalog.catalog import Catalog
from likewise.catalog.given_rows import clean_rows
from likewise.catalog.images.picture import Picture
from likewise.errors import UserError
from likewise.retrieval.index_items import CatalogSnapshot, EncodedRows, ItemModel, digest_inputs, fetch_embeddings
from likewise.retrieval.ingest import compare_digests
from likewise.retrieval.items import BookkeepingColumns, digest_rows, fetch_item
from likewise.retrieval.location import IndexLocation
from likewise.retrieval.metadata import IndexMetadata
from likewise.retrieval.remembered_recordings import list_keys
from likewise.retrieval.store_handle import StoreHandle
from likewise.retrieval.timestamps import next_timestamp
from likewise.retrieval.words import IndexWords
from likewise.retrieval.written_files import (
    FileRules,
    UploadedPictures,
    UploadedRecordings,
    find_pictures,
    find_recordings,
)
from likewise.stores.base import Record, Store
from likewise.stores.schema import Column, Kind, Schema

_TYPES: dict[Kind, pl.DataType] = {
    "text": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "list": pl.List(pl.String()),
}


@dataclass(frozen=True)
class WrittenItems:
    """The ids of the items of a call, by what became of them.

    Attributes:
        new: items that the index lacked.
        changed: items whose model input changed, so that they were encoded again.
        rewritten: items of which only other columns changed.
        unchanged: items that were stored already, with the same content.
    """

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{len(self.new):,} new, {len(self.changed):,} changed, {len(self.rewritten):,} with other metadata, "
            f"{len(self.unchanged):,} unchanged"
        )


@dataclass(frozen=True)
class _Content:
    """What a store held when a call read it."""

    metadata: IndexMetadata
    bookkeeping: BookkeepingColumns
    schema: Schema  # without the bookkeeping
    field_vectors: bool


class ItemWriter:
    """Writes single items into an index that is open; safe to use from several threads.

    Args:
        model: of the index, with its dimensions.
        fingerprint: of the model, which looks at all its weights for it.
    """

    def __init__(
        self, location: IndexLocation, model: ItemModel, fingerprint: str, handle: StoreHandle, words: IndexWords
    ) -> None:
        self._location, self._model, self._handle, self._words = location, model, handle, words
        self._fingerprint = fingerprint

    def upsert(
        self,
        rows: Sequence[Mapping[str, Any]],
        pictures: UploadedPictures,
        recordings: UploadedRecordings,
        rules: FileRules,
    ) -> WrittenItems:
        """Write whole items; see `Index.upsert`."""
        if not rows:
            return WrittenItems()
        with self._handle.use() as store:
            found: list[tuple[Picture, ...]] | None = None
            heard: list[dict[str, tuple[Recording, ...]]] = []
            while True:
                content = self._look(store)
                given = clean_rows(rows, _find_types(content.schema))
                if found is None:
                    heard = self._find_recordings(given, recordings, rules, content)
                    found = self._find_pictures(given, pictures, rules)
                blank: dict[str, Any] = {
                    column.name: [] if column.name == "image" else None for column in content.schema.columns
                }
                items = self._prepare([blank | row for row in given], found, heard, content, rules)
                self._check_inputs(items)
                written = self._write(store, items, content)
                if written is not None:
                    return written

    def patch(
        self,
        id: str,
        changes: Mapping[str, Any],
        pictures: Sequence[bytes] | None,
        recordings: Mapping[str, Sequence[bytes]],
        rules: FileRules,
    ) -> WrittenItems:
        """Change some cells of an item; see `Index.patch`."""
        if changes.get("id", id) != id:
            raise UserError(f"the id of an item cannot be changed: write {changes['id']!r:.60} as an item of its own")
        with self._handle.use() as store:
            found: tuple[Picture, ...] | None = None
            heard: dict[str, tuple[Recording, ...]] | None = None
            while True:
                content = self._look(store)
                record = fetch_item(store, id)
                (given,) = clean_rows([{**changes, "id": id}], _find_types(content.schema))
                if heard is None:
                    (heard,) = self._find_recordings([given], {id: recordings}, rules, content)
                if found is None and (pictures is not None or "image" in given):
                    (found,) = self._find_pictures([given], {} if pictures is None else {id: pictures}, rules)
                kept = content.bookkeeping.pictures(record.fields)
                shown = kept if found is None else found
                known = content.bookkeeping.recordings(record.fields)
                audible = {name: sounds for name, sounds in {**known, **heard}.items() if sounds}
                row = content.bookkeeping.strip(record.fields) | given
                items = self._prepare([row], [shown], [audible], content, rules)
                other = _shows_other(record.fields, row, self._model.fields, found, kept)
                if other or list_keys(audible) != list_keys(known):
                    self._check_inputs(items)
                else:
                    items = items.with_input_digest(content.bookkeeping.digests(record.fields)[0])
                written = self._write(store, items, content, patched=record)
                if written is not None:
                    return written

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items; see `Index.delete`."""
        with self._handle.use() as store:
            with self._location.write_lock():
                store.refresh()
                self._look(store)
                count = store.delete(ids)
                if count:
                    self._words.forget(ids)
            return count

    def _look(self, store: Store) -> _Content:
        schema = store.schema
        metadata = IndexMetadata.from_schema(schema)
        metadata.check_model(self._model.dim, self._fingerprint, self._location.folder)
        bookkeeping = BookkeepingColumns(metadata.bookkeeping)
        return _Content(metadata, bookkeeping, bookkeeping.user_schema(schema), bool(schema.field_vectors))

    def _find_recordings(
        self,
        rows: Sequence[Mapping[str, Any]],
        uploads: UploadedRecordings,
        rules: FileRules,
        content: _Content,
    ) -> list[dict[str, tuple[Recording, ...]]]:
        """The recordings of each row by field; see `find_recordings`."""
        columns = {column.name for column in content.schema.columns}
        fields = [name for name in self._model.recording_fields if name in columns]
        return find_recordings(rows, uploads, fields, rules, self._location.folder / "recordings")

    def _find_pictures(
        self, rows: Sequence[Mapping[str, Any]], uploads: UploadedPictures, rules: FileRules
    ) -> list[tuple[Picture, ...]]:
        """The pictures of each row; see `find_pictures`."""
        return find_pictures(rows, uploads, rules, self._location.folder / "pictures")

    def _prepare(
        self,
        rows: Sequence[Mapping[str, Any]],
        pictures: Sequence[tuple[Picture, ...]],
        recordings: Sequence[Mapping[str, tuple[Recording, ...]]],
        content: _Content,
        rules: FileRules,
    ) -> "_PreparedItems":
        """Digest rows that have a cell for each column of the index."""
        table = pl.DataFrame(
            [_build_column(column, [row[column.name] for row in rows]) for column in content.schema.columns]
        )
        catalog = Catalog.from_items(table, pictures, recordings=recordings, images=rules.images, cache=rules.cache)
        inputs = digest_inputs(catalog, self._model)
        first = [shown[0] if shown else None for shown in pictures]
        further = [shown[1:] for shown in pictures]
        heard = [{name: sounds for name, sounds in of_item.items() if sounds} for of_item in recordings]
        rows_digested = digest_rows(table, first, heard)
        snapshot = CatalogSnapshot(table, first, inputs, rows_digested, None, further, [*heard])
        return _PreparedItems(snapshot, EncodedRows(self._model, catalog, content.field_vectors))

    def _write(
        self, store: Store, items: "_PreparedItems", content: _Content, patched: Record | None = None
    ) -> WrittenItems | None:
        """Write items; None if the index, or the item that was patched, has changed since it was read.

        Args:
            patched: the stored item that the one item was made from; None: items replace those with the same ids.
        """
        bookkeeping = content.bookkeeping
        comparison = _Comparison.of(items.snapshot, store.fetch(items.ids), bookkeeping, patched)
        while True:
            self._encode(items, comparison.to_encode)
            with self._location.write_lock():
                store.refresh()
                if IndexMetadata.from_schema(store.schema) != content.metadata:
                    return None
                records = store.fetch(items.ids)
                if patched is not None and not _is_same_writing(records[0], patched, bookkeeping):
                    return None
                comparison = _Comparison.of(items.snapshot, records, bookkeeping, patched)
                if not items.encoded.holds(comparison.to_encode):
                    continue  # another writer changed or removed items meanwhile
                rows = comparison.to_write
                if rows:
                    written = next_timestamp(store, bookkeeping, content.metadata.written)
                    _put(store, items, comparison, written, bookkeeping)
                    self._words.note_write(written, len(rows))
            if rows:
                with contextlib.suppress(UserError):  # the items are safe, and a search will say what is wrong
                    self._words.current(store, bookkeeping, content.metadata.build)
            return comparison.name(items.ids)

    def _check_inputs(self, items: "_PreparedItems") -> None:
        for id, seen in zip(items.ids, items.snapshot.input_digests, strict=True):
            if seen is None:
                raise self._nothing_to_encode(id)

    def _encode(self, items: "_PreparedItems", rows: Sequence[int]) -> None:
        items.encoded.add(rows)
        if rows:
            empty = np.isnan(items.encoded.select(rows).vectors[:, 0])
            if empty.any():
                raise self._nothing_to_encode(items.ids[rows[int(empty.argmax())]])

    def _nothing_to_encode(self, id: str) -> UserError:
        names = " or a ".join(name if name != "image" else "picture" for name in self._model.fields)
        return UserError(f"item {id!r} has nothing that could be found: give it a {names}")


@dataclass(frozen=True)
class _PreparedItems:
    """Items to write, and the embeddings of those that have been encoded."""

    snapshot: CatalogSnapshot
    encoded: EncodedRows

    @property
    def ids(self) -> list[str]:
        return self.snapshot.table["id"].to_list()

    def with_input_digest(self, digest: str | None) -> "_PreparedItems":
        """The one item with another digest of the model's input."""
        return replace(self, snapshot=replace(self.snapshot, input_digests=[digest]))


@dataclass(frozen=True)
class _Comparison:
    """Rows by what has to be done with them.

    Attributes:
        marked: unchanged rows that came with a catalogue, and count as written singly from now on.
        single: whether each row counts as written singly.
    """

    new: list[int]
    changed: list[int]
    rewritten: list[int]
    unchanged: list[int]
    marked: list[int]
    single: list[bool]

    @classmethod
    def of(
        cls,
        snapshot: CatalogSnapshot,
        records: Sequence[Record | None],
        bookkeeping: BookkeepingColumns,
        patched: Record | None,
    ) -> "_Comparison":
        """Compare rows with what is stored; a patched item keeps its mark, as the patch did not bring it."""
        single = patched is None or bookkeeping.is_single(patched.fields)
        found = cls([], [], [], [], [], [single] * len(records))
        for row, record in enumerate(records):
            before = None if record is None else bookkeeping.digests(record.fields)
            match compare_digests(before, (snapshot.input_digests[row], snapshot.row_digests[row])):
                case "new":
                    found.new.append(row)
                case "changed":
                    found.changed.append(row)
                case "rewritten":
                    found.rewritten.append(row)
                case "unchanged":
                    found.unchanged.append(row)
                    if single and record is not None and not bookkeeping.is_single(record.fields):
                        found.marked.append(row)
        return found

    @property
    def to_encode(self) -> list[int]:
        return sorted([*self.new, *self.changed])

    @property
    def to_write(self) -> list[int]:
        return sorted([*self.new, *self.changed, *self.rewritten, *self.marked])

    def name(self, ids: Sequence[str]) -> WrittenItems:
        """The ids of the rows."""
        groups = (self.new, self.changed, self.rewritten, self.unchanged)
        return WrittenItems(*(tuple(ids[row] for row in rows) for rows in groups))


def _put(
    store: Store, items: _PreparedItems, comparison: _Comparison, written: int, bookkeeping: BookkeepingColumns
) -> None:
    """Write the rows that need it, with embeddings from the store for those that were not encoded again."""
    rows = comparison.to_write
    snapshot = items.snapshot.select(rows)
    embeddings = fetch_embeddings(store, snapshot.table["id"].to_list())
    fresh = set(comparison.to_encode)
    places = [place for place, row in enumerate(rows) if row in fresh]
    if places:
        embeddings.assign(places, items.encoded.select([rows[place] for place in places]))
    table = bookkeeping.add(
        snapshot.table,
        snapshot.pictures,
        snapshot.input_digests,
        snapshot.row_digests,
        written,
        [comparison.single[row] for row in rows],
        snapshot.further,
        snapshot.recordings,
    )
    store.upsert(table, embeddings.vectors, embeddings.field_vectors)


def _find_types(schema: Schema) -> dict[str, pl.DataType | None]:
    return {column.name: _TYPES.get(column.kind) for column in schema.columns}


def _build_column(column: Column, cells: list[Any]) -> pl.Series:
    """Build a column of the store's kind; lists and dates that came from the store are passed on as they are."""
    if column.kind == "other":
        return pl.Series(column.name, cells, pl.Object)
    if column.kind == "list" and any(cells):
        return pl.Series(column.name, cells)
    return pl.Series(column.name, cells, _TYPES[column.kind])


def _is_same_writing(record: Record | None, before: Record, bookkeeping: BookkeepingColumns) -> bool:
    return record is not None and record.fields.get(bookkeeping.written) == before.fields.get(bookkeeping.written)


def _shows_other(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    fields: Sequence[str],
    found: tuple[Picture, ...] | None,
    kept: tuple[Picture, ...],
) -> bool:
    """Whether the model's input of an item has changed; `fields`: those that it encodes."""
    cells = any(before.get(name) != after.get(name) for name in fields if name != "image")
    return cells or (found is not None and [one.key for one in found] != [one.key for one in kept])
