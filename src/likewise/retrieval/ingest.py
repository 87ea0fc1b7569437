"""Building an index from a catalogue, and bringing it up to date."""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from likewise.catalog.catalog import Catalog
from likewise.catalog.columns import check_ids
from likewise.catalog.filters import Compare
from likewise.catalog.images.picture import Picture
from likewise.progress import Bar
from likewise.retrieval.items import BookkeepingColumns, digest, digest_rows
from likewise.retrieval.lexical.bm25 import BM25Index, Stamp
from likewise.retrieval.lexical.writer import LexicalDraft
from likewise.retrieval.location import IndexLocation
from likewise.retrieval.metadata import IndexMetadata, sample_titles
from likewise.retrieval.query_vector import QueryModel
from likewise.stores.base import Store
from likewise.stores.schema import Schema

if TYPE_CHECKING:  # PyTorch is not needed to open an index
    from likewise.model.field_embeddings import FieldEmbeddings

_FEW, _SMALL_SHARE = 1_000, 0.1  # up to so many changed items are written in place; more make a new store
_BATCH = 10_000


class ItemModel(QueryModel, Protocol):
    """A model that can encode a whole catalogue too."""

    @property
    def fields(self) -> Sequence[str]:
        """The item fields that it encodes: some of title, description and image."""

    def encode_items(self, catalog: Catalog) -> np.ndarray:
        """(n, dim) float32, unit norm; NaN rows where an item has nothing to encode."""

    def encode_items_with_fields(self, catalog: Catalog) -> tuple[np.ndarray, "FieldEmbeddings"]:
        """The same, and the embeddings of every field, in one pass."""


@dataclass(frozen=True)
class ItemEmbeddings:
    """What an index keeps of the model's output.

    Attributes:
        vectors: (n, dim) float32; NaN where an item has nothing to encode.
        fields: the names of the fields whose vectors are kept; empty where none are.
        field_vectors: (n, fields, dim), NaN where an item lacks a field; None where none are kept.
    """

    vectors: np.ndarray
    fields: tuple[str, ...] = ()
    field_vectors: np.ndarray | None = None

    @classmethod
    def encode(cls, model: ItemModel, catalog: Catalog, *, field_vectors: bool) -> "ItemEmbeddings":
        """Run the model over a catalogue."""
        if not len(catalog):
            return cls.allocate(0, model.dim, model.fields if field_vectors else ())
        if not field_vectors:
            return cls(model.encode_items(catalog))
        vectors, towers = model.encode_items_with_fields(catalog)
        return cls(vectors, towers.fields, towers.vectors)

    @classmethod
    def allocate(cls, count: int, dim: int, fields: Sequence[str]) -> "ItemEmbeddings":
        """Embeddings that are NaN throughout."""
        field_vectors = np.full((count, len(fields), dim), np.nan, np.float16) if fields else None
        return cls(np.full((count, dim), np.nan, np.float32), tuple(fields), field_vectors)

    def select(self, rows: Sequence[int]) -> "ItemEmbeddings":
        """Those of some items."""
        places = list(rows)
        field_vectors = None if self.field_vectors is None else self.field_vectors[places]
        return ItemEmbeddings(self.vectors[places], self.fields, field_vectors)

    def assign(self, rows: Sequence[int], others: "ItemEmbeddings") -> None:
        """Overwrite those of some items."""
        self.vectors[list(rows)] = others.vectors
        if self.field_vectors is not None:
            self.field_vectors[list(rows)] = others.field_vectors

    @property
    def field_vector_bytes(self) -> int:
        """What the field vectors take in half precision."""
        if self.field_vectors is None:
            return 0
        return int((~np.isnan(self.field_vectors[..., 0])).sum()) * self.field_vectors.shape[2] * 2


@dataclass(frozen=True)
class CatalogSnapshot:
    """A catalogue, or some of its rows, as an index keeps it.

    Attributes:
        table: the rows, with "id".
        pictures: the one that a hit shows, per row.
        input_digests: digest of the model's input per row; None where that is nothing at all, or not known.
        row_digests: digest of everything that is kept per row.

    Raises:
        UserError: two rows have the same id.
    """

    table: pl.DataFrame
    pictures: list[Picture | None]
    input_digests: list[str | None]
    row_digests: list[str]

    def __post_init__(self) -> None:
        check_ids(self.table["id"])

    @classmethod
    def take(cls, catalog: Catalog, fields: Sequence[str]) -> "CatalogSnapshot":
        """Digest a catalogue for a model that encodes some fields; resolves pictures if need be."""
        pictures = catalog.pictures
        texts = [catalog.texts(field) for field in fields if field != "image"]
        keys = [[picture.key for picture in shown] for shown in pictures] if "image" in fields else [[]] * len(pictures)
        inputs = [
            digest([*words, shown]) if shown or any(text is not None for text in words) else None
            for *words, shown in zip(*texts, keys, strict=True)
        ]
        first = [shown[0] if shown else None for shown in pictures]
        return cls(catalog.table, first, inputs, digest_rows(catalog.table, first))

    def select(self, rows: Sequence[int]) -> "CatalogSnapshot":
        """Some of the rows."""
        return CatalogSnapshot(
            self.table[list(rows)],
            [self.pictures[row] for row in rows],
            [self.input_digests[row] for row in rows],
            [self.row_digests[row] for row in rows],
        )


@dataclass(frozen=True)
class IndexItems:
    """Rows of a catalogue and their embeddings: everything that is written for them."""

    rows: CatalogSnapshot
    embeddings: ItemEmbeddings

    def __len__(self) -> int:
        return len(self.rows.table)

    @property
    def ids(self) -> list[str]:
        """The items' ids."""
        return self.rows.table["id"].to_list()

    def select(self, rows: Sequence[int]) -> "IndexItems":
        """Some of the items."""
        return IndexItems(self.rows.select(rows), self.embeddings.select(rows))

    def drop_empty(self) -> "IndexItems":
        """The items that have a vector."""
        finite = np.isfinite(self.embeddings.vectors.sum(axis=1))
        return self if finite.all() else self.select(np.flatnonzero(finite).tolist())

    def split(self) -> Iterator["IndexItems"]:
        """All items, in batches."""
        for start in range(0, len(self), _BATCH):
            yield self.select(range(start, min(start + _BATCH, len(self))))


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
    """

    new: list[int]
    changed: list[int]
    rewritten: list[int]
    unchanged: list[int]
    removed: list[str]
    empty: int

    @classmethod
    def compare(cls, snapshot: CatalogSnapshot, store: Store, bookkeeping: BookkeepingColumns) -> "Changes":
        """Compare digests in one walk through the store."""
        known = {
            id: bookkeeping.digests(fields)
            for batch in store.iterate(vectors=False)
            for id, fields in zip(batch.ids, batch.fields, strict=True)
        }
        rows: dict[str, list[int]] = {"new": [], "changed": [], "rewritten": [], "unchanged": []}
        empty = 0
        digests = zip(snapshot.table["id"], snapshot.input_digests, snapshot.row_digests, strict=True)
        for row, (id, input_digest, row_digest) in enumerate(digests):
            if input_digest is None:
                empty += 1
                continue
            before = known.pop(id, None)
            if before is None:
                rows["new"].append(row)
            elif before[0] != input_digest:
                rows["changed"].append(row)
            else:
                rows["unchanged" if before[1] == row_digest else "rewritten"].append(row)
        return cls(**rows, removed=list(known), empty=empty)

    @property
    def to_encode(self) -> list[int]:
        """The rows that the model has to encode."""
        return sorted([*self.new, *self.changed])

    @property
    def size(self) -> int:
        """How many items have to be written or removed."""
        return len(self.new) + len(self.changed) + len(self.rewritten) + len(self.removed)

    def __str__(self) -> str:
        parts = {
            "new": len(self.new),
            "changed": len(self.changed),
            "with other metadata": len(self.rewritten),
            "removed": len(self.removed),
            "unchanged": len(self.unchanged),
        }
        return ", ".join(f"{number:,} {what}" for what, number in parts.items())


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


def update(location: IndexLocation, model: ItemModel, catalog: Catalog) -> Changes:
    """Make an index hold what a catalogue holds; the model encodes only items whose input changed.

    The old content stays until the new one is complete: few changes are written in place; many, or other columns, make
    a new store that is swapped in at the end. Updates at the same time take turns, each with everything that the one
    before has written.

    Raises:
        UserError: there is no index, another model made it, or the store cannot be written.
    """
    snapshot = CatalogSnapshot.take(catalog, model.fields)
    with location.lexical.update() as draft, closing(location.open()) as store:
        metadata = IndexMetadata.from_schema(store.schema)
        metadata.check_model(model.dim, model.fingerprint, location.folder)
        bookkeeping = BookkeepingColumns(metadata.bookkeeping)
        changes = Changes.compare(snapshot, store, bookkeeping)
        rows = changes.to_encode
        fields = store.schema.field_vectors
        encoded = ItemEmbeddings.encode(model, catalog.select(rows), field_vectors=bool(fields))
        if _is_small(changes, snapshot, store, bookkeeping):
            in_sync = is_in_sync(draft.before, store, bookkeeping, metadata.build)
            written = next_timestamp(store, bookkeeping, max(draft.before.stamp.written, metadata.written))
            _apply(store, bookkeeping, snapshot, changes, encoded, written, draft if in_sync else None)
            if in_sync:
                draft.stamp = Stamp(metadata.build, written)
            else:
                rebuild_lexical(store, bookkeeping, metadata.build, draft)
        else:
            kept = sorted([*changes.unchanged, *changes.rewritten])
            every = ItemEmbeddings.allocate(len(catalog), model.dim, fields)
            every.assign(rows, encoded)
            every.assign(kept, _fetch_embeddings(store, snapshot, kept))
            _fill(location, model, IndexItems(snapshot, every), catalog.fingerprint, draft)
    location.remember()
    return changes


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1_000


def next_timestamp(store: Store, bookkeeping: BookkeepingColumns, after: int) -> int:
    """A timestamp later than that of every item in a store, whose writers' clocks may differ or have been set back.

    Args:
        after: a timestamp that it has to be later than, too.

    Returns:
        The time by this machine's clock, or else the first microsecond after what is there.
    """

    def is_free(timestamp: int) -> bool:
        return store.count(Compare(bookkeeping.written, ">=", timestamp)) == 0

    taken, free, step = after, max(now(), after + 1), 1
    while not is_free(free):
        taken, free, step = free, free + step, 2 * step
    if step == 1:
        return free
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (taken, middle) if is_free(middle) else (middle, free)
    return free


def is_in_sync(lexical: BM25Index, store: Store, bookkeeping: BookkeepingColumns, build: str) -> bool:
    """Whether a lexical index knows every item of a store; not where a process died, or another machine wrote."""
    stamp = lexical.stamp
    if stamp.build != build or stamp.count != store.count():
        return False
    return store.count(Compare(bookkeeping.written, ">", stamp.written)) == 0


def rebuild_lexical(store: Store, bookkeeping: BookkeepingColumns, build: str, draft: LexicalDraft) -> None:
    """Read every item of a store into a draft of its lexical index."""
    draft.clear()
    newest = 0
    with Bar("Reading words", store.count()) as bar:
        for batch in store.iterate(vectors=False):
            draft.add(batch.ids, [bookkeeping.strip(fields) for fields in batch.fields])
            newest = max([newest, *(int(fields.get(bookkeeping.written) or 0) for fields in batch.fields)])
            bar.advance(len(batch.ids))
    draft.stamp = Stamp(build, newest)


def _fill(location: IndexLocation, model: QueryModel, items: IndexItems, fingerprint: str, draft: LexicalDraft) -> None:
    """Write items into a new store. It is swapped in here; its lexical index a moment later, by the caller."""
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
            table = bookkeeping.add(rows.table, rows.pictures, rows.input_digests, rows.row_digests, written)
            store.upsert(table, batch.embeddings.vectors, batch.embeddings.field_vectors)
            if draft is not None:
                draft.add(batch.ids, list(rows.table.iter_rows(named=True)))
            bar.advance(len(batch))


def _apply(
    store: Store,
    bookkeeping: BookkeepingColumns,
    snapshot: CatalogSnapshot,
    changes: Changes,
    embeddings: ItemEmbeddings,
    written: int,
    draft: LexicalDraft | None,
) -> None:
    """Write changes into the store in place, and into its lexical index where that knows the rest."""
    encoded = IndexItems(snapshot.select(changes.to_encode), embeddings)
    kept = encoded.drop_empty()
    known = _fetch_embeddings(store, snapshot, changes.rewritten)
    rewritten = IndexItems(snapshot.select(changes.rewritten), known)
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


def _fetch_embeddings(store: Store, snapshot: CatalogSnapshot, rows: Sequence[int]) -> ItemEmbeddings:
    """The embeddings of rows from a store; NaN for an item that has just been removed."""
    fields = store.schema.field_vectors
    embeddings = ItemEmbeddings.allocate(len(rows), store.schema.dim, fields)
    for start in range(0, len(rows), _BATCH):
        ids = snapshot.table["id"][list(rows[start : start + _BATCH])].to_list()
        for place, record in enumerate(store.fetch(ids, vectors=True, field_vectors=bool(fields)), start):
            if record is None:
                continue
            embeddings.vectors[place] = record.vector
            if embeddings.field_vectors is not None and record.field_vectors is not None:
                for name, vector in record.field_vectors.items():
                    embeddings.field_vectors[place, fields.index(name)] = vector
    return embeddings
