"""Building an index from a catalogue, and bringing it up to date."""

import secrets
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl

from likewise.catalog.catalog import Catalog
from likewise.catalog.filters import Compare
from likewise.catalog.json_lines import format_cell
from likewise.progress import Bar
from likewise.retrieval.index_items import (
    CatalogSnapshot,
    EncodedRows,
    IndexItems,
    ItemEmbeddings,
    ItemModel,
    fetch_embeddings,
)
from likewise.retrieval.items import BookkeepingColumns, digest_rows
from likewise.retrieval.lexical.bm25 import Stamp
from likewise.retrieval.lexical.writer import LexicalDraft
from likewise.retrieval.location import IndexLocation
from likewise.retrieval.metadata import IndexMetadata, sample_ids, sample_titles
from likewise.retrieval.query_vector import QueryModel
from likewise.retrieval.remembered_recordings import ItemRecordings
from likewise.retrieval.timestamps import next_timestamp, now
from likewise.retrieval.words import add_written_since, rebuild_words
from likewise.stores.base import Store
from likewise.stores.schema import Schema

_FEW, _SMALL_SHARE = 1_000, 0.1  # up to so many changed items are written in place; more make a new store

Digests = tuple[str | None, str | None]


def compare_digests(before: Digests | None, after: Digests) -> Literal["new", "changed", "rewritten", "unchanged"]:
    """What became of an item.

    Args:
        before: digests of the model's input and of the row, as the index has them; None: it lacks the item.
    """
    if before is None:
        return "new"
    if before[0] != after[0]:
        return "changed"
    return "unchanged" if before[1] == after[1] else "rewritten"


@dataclass(frozen=True)
class Changes:
    """How a catalogue differs from the items of an index.

    Attributes:
        new: rows of items that the index lacks.
        changed: rows whose model input changed.
        rewritten: rows of which only metadata changed.
        unchanged: all other rows that have something to encode.
        removed: ids of items that the catalogue lacks, or that have nothing left to encode.
        empty: how many rows have nothing to encode.
        kept: ids of items that the catalogue lacks, but which stay, since they were written singly.
        adopted: those of the unchanged rows that were written singly, and belong to the catalogue from now on.
    """

    new: list[int]
    changed: list[int]
    rewritten: list[int]
    unchanged: list[int]
    removed: list[str]
    empty: int
    kept: list[str] = field(default_factory=list)
    adopted: list[int] = field(default_factory=list)

    @classmethod
    def compare(
        cls, snapshot: CatalogSnapshot, store: Store, bookkeeping: BookkeepingColumns, *, prune: bool = False
    ) -> "Changes":
        """Compare digests in one walk through the store.

        Args:
            prune: also remove items that were written singly.
        """
        known: dict[str, Digests] = {}
        single: set[str] = set()
        for batch in store.iterate(vectors=False):
            for id, fields in zip(batch.ids, batch.fields, strict=True):
                known[id] = bookkeeping.digests(fields)
                if bookkeeping.is_single(fields):
                    single.add(id)
        rows: dict[str, list[int]] = {"new": [], "changed": [], "rewritten": [], "unchanged": [], "adopted": []}
        empty = 0
        digests = zip(snapshot.table["id"], snapshot.input_digests, snapshot.row_digests, strict=True)
        for row, (id, input_digest, row_digest) in enumerate(digests):
            if input_digest is None:
                empty += 1
                single.discard(id)  # the catalogue has it, and wins
                continue
            change = compare_digests(known.pop(id, None), (input_digest, row_digest))
            rows[change].append(row)
            if change == "unchanged" and id in single:
                rows["adopted"].append(row)
        kept = [] if prune else [id for id in known if id in single]
        removed = [id for id in known if prune or id not in single]
        return cls(**rows, removed=removed, empty=empty, kept=kept)

    @property
    def to_encode(self) -> list[int]:
        """The rows that the model has to encode."""
        return sorted([*self.new, *self.changed])

    @property
    def size(self) -> int:
        """How many items have to be written or removed."""
        return sum(len(rows) for rows in (self.new, self.changed, self.rewritten, self.adopted)) + len(self.removed)

    def __str__(self) -> str:
        parts = {
            "new": len(self.new),
            "changed": len(self.changed),
            "with other metadata": len(self.rewritten),
            "removed": len(self.removed),
            "unchanged": len(self.unchanged),
        }
        if self.kept:
            parts["written singly and kept"] = len(self.kept)
        return ", ".join(f"{number:,} {what}" for what, number in parts.items())


def holds_catalog(store: Store, model: ItemModel, catalog: Catalog) -> bool:
    """Whether a store holds the items of a catalogue: same ids, texts and pictures."""
    metadata = IndexMetadata.from_schema(store.schema)
    bookkeeping = BookkeepingColumns(metadata.bookkeeping)
    is_of_build = catalog.fingerprint == metadata.catalog and store.count() == metadata.count
    if is_of_build and store.count(Compare(bookkeeping.written, ">", metadata.written)) == 0:
        return True  # nothing was written since
    changes = Changes.compare(CatalogSnapshot.take(catalog, model), store, bookkeeping)
    return not (changes.new or changes.changed or changes.removed)


def build(location: IndexLocation, model: QueryModel, items: IndexItems, fingerprint: str) -> None:
    """Build a new index; items with a NaN vector are left out and counted.

    Args:
        fingerprint: of the catalogue that the items come from.

    Raises:
        UserError: the store cannot be written or reached.
    """
    with location.lexical.update() as draft:
        _fill(location, model, items, fingerprint, draft)
    location.remember()


def update(location: IndexLocation, model: ItemModel, catalog: Catalog, *, prune: bool = False) -> Changes:
    """Make an index hold what a catalogue holds; the model encodes only items whose input changed.

    The old content stays until the new one is complete: few changes are written in place; many, or other columns, make
    a new store that is swapped in at the end. Updates at the same time take turns, each with everything that the one
    before has written. Single items can be written until all is encoded; then their writers wait.

    Args:
        prune: also remove items that the catalogue lacks and that were written singly.

    Raises:
        UserError: there is no index, another model made it, or the store cannot be written.
    """
    snapshot = CatalogSnapshot.take(catalog, model)
    with location.lexical.update() as draft, closing(location.open()) as store, ExitStack() as alone:
        metadata = IndexMetadata.from_schema(store.schema)
        metadata.check_model(model.dim, model.fingerprint, location.folder)
        bookkeeping = BookkeepingColumns(metadata.bookkeeping)
        fields = store.schema.field_vectors
        with location.write_lock():
            store.refresh()
            begun, count = next_timestamp(store, bookkeeping, metadata.written), store.count()
        changes = Changes.compare(snapshot, store, bookkeeping, prune=prune)
        encoded = EncodedRows(model, catalog, bool(fields))
        encoded.add(changes.to_encode)
        alone.enter_context(location.write_lock())
        store.refresh()
        if store.count() != count or store.count(Compare(bookkeeping.written, ">=", begun)):
            changes = Changes.compare(snapshot, store, bookkeeping, prune=prune)
            encoded.add(changes.to_encode)
        if _is_small(changes, snapshot, store, bookkeeping):
            is_known = draft.stamp.build == metadata.build and draft.has_vocabulary
            if is_known:
                add_written_since(store, bookkeeping, draft)
                if draft.count > store.count():  # others have deleted some
                    draft.retain({id for batch in store.iterate(vectors=False) for id in batch.ids})
                is_known = draft.count == store.count()
            written = next_timestamp(store, bookkeeping, max(draft.stamp.written, metadata.written))
            _apply(store, bookkeeping, snapshot, changes, encoded, written, draft if is_known else None)
            if is_known:
                draft.stamp = Stamp(metadata.build, written)
            else:
                rebuild_words(store, bookkeeping, metadata.build, draft)
        else:
            rows = changes.to_encode
            known = sorted([*changes.unchanged, *changes.rewritten])
            every = ItemEmbeddings.allocate(len(catalog), model.dim, fields)
            every.assign(rows, encoded.select(rows))
            every.assign(known, fetch_embeddings(store, snapshot.table["id"][known].to_list()))
            items = IndexItems(snapshot, every).append(_fetch_items(store, bookkeeping, changes.kept, snapshot.table))
            _fill(location, model, items, catalog.fingerprint, draft)
    location.remember()
    return changes


def _fill(location: IndexLocation, model: QueryModel, items: IndexItems, fingerprint: str, draft: LexicalDraft) -> None:
    """Write items into a new store. It is swapped in here; its lexical index a moment later, by the caller.

    Items of an older content that were written singly a moment before are not in the new one, unless they are among
    these; what is written a moment later comes into the new one.
    """
    bookkeeping = BookkeepingColumns.choose(items.rows.table.columns)
    kept = items.drop_empty()
    metadata = IndexMetadata(
        model=model.fingerprint,
        dim=model.dim,
        catalog=fingerprint,
        count=len(kept),
        left_out=len(items) - len(kept),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        build=secrets.token_hex(8),
        written=now(),
        bookkeeping=bookkeeping.name,
        examples=sample_titles(kept.rows.table),
        field_vector_bytes=kept.embeddings.field_vector_bytes,
        sample=sample_ids(kept.ids),
    )
    draft.clear()
    fields = kept.embeddings.fields
    schema = _build_schema(kept.rows.table, bookkeeping, model.dim, metadata.to_json(), fields)
    with location.replace_store(schema) as store:
        _write(store, bookkeeping, kept, metadata.written, draft)
    draft.stamp = Stamp(metadata.build, metadata.written)


def _write(
    store: Store, bookkeeping: BookkeepingColumns, items: IndexItems, written: int, draft: LexicalDraft | None
) -> None:
    """Upsert items, and add their words to a draft."""
    with Bar("Storing items", len(items)) as bar:
        for batch in items.split():
            rows = batch.rows
            table = bookkeeping.add(
                rows.table,
                rows.pictures,
                rows.input_digests,
                rows.row_digests,
                written,
                rows.singly,
                rows.further,
                rows.recordings,
            )
            store.upsert(table, batch.embeddings.vectors, batch.embeddings.field_vectors)
            if draft is not None:
                draft.add(batch.ids, list(rows.table.iter_rows(named=True)))
            bar.advance(len(batch))


def _apply(
    store: Store,
    bookkeeping: BookkeepingColumns,
    snapshot: CatalogSnapshot,
    changes: Changes,
    embeddings: EncodedRows,
    written: int,
    draft: LexicalDraft | None,
) -> None:
    """Write changes into the store in place, and into its lexical index where that knows the rest."""
    encoded = IndexItems(snapshot.select(changes.to_encode), embeddings.select(changes.to_encode))
    kept = encoded.drop_empty()
    rows = snapshot.select(sorted([*changes.rewritten, *changes.adopted]))
    rewritten = IndexItems(rows, fetch_embeddings(store, rows.table["id"].to_list()))
    for items in (kept, rewritten.drop_empty()):
        _write(store, bookkeeping, items, written, draft)
    gone = [*changes.removed, *(set(encoded.ids) - set(kept.ids))]
    store.delete(gone)
    if draft is not None:
        draft.remove(gone)


def _is_small(changes: Changes, snapshot: CatalogSnapshot, store: Store, bookkeeping: BookkeepingColumns) -> bool:
    """Whether changes can be written in place."""
    if changes.size > max(_FEW, _SMALL_SHARE * store.count()):
        return False
    if BookkeepingColumns.choose(snapshot.table.columns) != bookkeeping:
        return False
    return _is_compatible(_build_schema(snapshot.table, bookkeeping, store.schema.dim, {}), store.schema)


def _is_compatible(items: Schema, store: Schema) -> bool:
    """Whether items of one schema can join a store of another without changing what its columns are."""
    known = {column.name: column for column in store.columns}
    if {column.name for column in items.columns} != set(known):
        return False
    return all(
        column.kind == known[column.name].kind and column.numbers <= known[column.name].numbers
        for column in items.columns
    )


def _build_schema(
    table: pl.DataFrame,
    bookkeeping: BookkeepingColumns,
    dim: int,
    about: dict[str, object],
    fields: Sequence[str] = (),
) -> Schema:
    """The schema of a table with the bookkeeping columns."""
    none = [None] * len(table)
    return Schema.of(bookkeeping.add(table, none, none, [""] * len(table), 0), dim, about, fields)


def _fetch_items(store: Store, bookkeeping: BookkeepingColumns, ids: Sequence[str], table: pl.DataFrame) -> IndexItems:
    """Items of a store with the columns of a table, as far as they fit: what does not is blank."""
    records = [record for record in store.fetch(ids) if record is not None]
    known = [record.fields for record in records]
    columns = [_convert_cells([cells.get(name) for cells in known], name, kind) for name, kind in table.schema.items()]
    pictures = [bookkeeping.pictures(cells) for cells in known]
    first = [shown[0] if shown else None for shown in pictures]
    rows = pl.DataFrame(columns)
    heard = [bookkeeping.recordings(cells) for cells in known]
    snapshot = CatalogSnapshot(
        rows,
        first,
        [bookkeeping.digests(cells)[0] for cells in known],
        digest_rows(rows, first, heard),
        [bookkeeping.is_single(cells) for cells in known],
        [shown[1:] for shown in pictures],
        list[ItemRecordings](heard),
    )
    return IndexItems(snapshot, fetch_embeddings(store, [record.id for record in records]))


def _convert_cells(cells: list[Any], name: str, kind: pl.DataType) -> pl.Series:
    """Cells as a store gives them back in a column of another type, blank where they do not fit."""
    if kind == pl.String:
        return pl.Series(name, [format_cell(cell) for cell in cells], kind)
    if kind.is_integer():
        cells = [cell if not isinstance(cell, float) or cell.is_integer() else None for cell in cells]
    try:
        return pl.Series(name, cells, kind, strict=False)
    except (TypeError, pl.exceptions.PolarsError):
        return pl.Series(name, [None] * len(cells), kind)
