"""What an index keeps of its items: their rows, their digests and their embeddings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from likewise.catalog.catalog import Catalog
from likewise.catalog.columns import check_ids
from likewise.catalog.images.picture import Picture
from likewise.errors import UserError
from likewise.retrieval.items import digest, digest_rows
from likewise.retrieval.query_vector import QueryModel
from likewise.retrieval.remembered_recordings import ItemRecordings
from likewise.stores.base import Store

if TYPE_CHECKING:  # PyTorch is not needed to open an index
    from likewise.model.field_embeddings import FieldEmbeddings

_BATCH = 10_000
_NONE: ItemRecordings = {}


class ItemModel(QueryModel, Protocol):
    """A model that can encode a whole catalogue too."""

    @property
    def fields(self) -> Sequence[str]:
        """The item fields that it encodes, such as title and image."""

    @property
    def recording_fields(self) -> Sequence[str]:
        """Those that are columns of recordings."""

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

    def append(self, others: "ItemEmbeddings") -> "ItemEmbeddings":
        """These, and others of the same fields behind them."""
        pairs = self.field_vectors, others.field_vectors
        field_vectors = None if pairs[0] is None or pairs[1] is None else np.concatenate([pairs[0], pairs[1]])
        return ItemEmbeddings(np.concatenate([self.vectors, others.vectors]), self.fields, field_vectors)

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
        singly: whether each row was written by itself, and does not come from a catalogue; None: none was.
        further: the pictures behind the first one, per row; None: they are not kept, as the catalogue has them.
        recordings: those that the model hears, per row; None: no row has any.

    Raises:
        UserError: two rows have the same id.
    """

    table: pl.DataFrame
    pictures: list[Picture | None]
    input_digests: list[str | None]
    row_digests: list[str]
    singly: list[bool] | None = None
    further: list[tuple[Picture, ...]] | None = None
    recordings: list[ItemRecordings] | None = None

    def __post_init__(self) -> None:
        check_ids(self.table["id"])

    @classmethod
    def take(cls, catalog: Catalog, model: ItemModel) -> "CatalogSnapshot":
        """Digest a catalogue for a model; resolves pictures and recordings if need be."""
        pictures = catalog.pictures
        first = [shown[0] if shown else None for shown in pictures]
        heard = list_recordings(catalog, model.recording_fields) if model.recording_fields else None
        rows = digest_rows(catalog.table, first, heard)
        return cls(catalog.table, first, digest_inputs(catalog, model), rows, recordings=heard)

    def select(self, rows: Sequence[int]) -> "CatalogSnapshot":
        """Some of the rows."""
        if _are_all(rows, len(self.table)):
            return self
        return CatalogSnapshot(
            self.table[list(rows)],
            [self.pictures[row] for row in rows],
            [self.input_digests[row] for row in rows],
            [self.row_digests[row] for row in rows],
            None if self.singly is None else [self.singly[row] for row in rows],
            None if self.further is None else [self.further[row] for row in rows],
            None if self.recordings is None else [self.recordings[row] for row in rows],
        )


def digest_inputs(catalog: Catalog, model: ItemModel) -> list[str | None]:
    """A digest of what a model sees of each row; None where that is nothing at all.

    Pictures and recordings count by their content, and only where they can be used.
    """
    recorded = set(model.recording_fields)
    texts = [
        _list_recordings(catalog, name) if name in recorded else _read_cells(catalog, name)
        for name in model.fields
        if name != "image"
    ]
    shown = catalog.pictures if "image" in model.fields else [()] * len(catalog)
    keys = [[picture.key for picture in pictures] for pictures in shown]
    return [
        digest([*words, shown]) if shown or any(text is not None for text in words) else None
        for *words, shown in zip(*texts, keys, strict=True)
    ]


def list_recordings(catalog: Catalog, fields: Sequence[str]) -> list[ItemRecordings]:
    """The usable recordings of each item of a catalogue, in some of its columns."""
    columns = {name: catalog.recordings(name) for name in fields if name in catalog.table.columns}
    return [{name: found[row] for name, found in columns.items() if found[row]} for row in range(len(catalog.table))]


def _list_recordings(catalog: Catalog, field: str) -> list[list[str] | None]:
    """The keys of each item's usable recordings; None where there are none."""
    if field not in catalog.table.columns:
        return [None] * len(catalog)
    return [[recording.key for recording in found] or None for found in catalog.recordings(field)]


def _read_cells(catalog: Catalog, field: str) -> list[Any]:
    """The cells of a field as the catalogue has them; None where one is blank, or there is no such column."""
    if field not in catalog.table.columns:
        return [None] * len(catalog)
    cells = catalog.table[field]
    return [cell or None for cell in cells.to_list()] if cells.dtype.is_nested() else cells.cast(pl.String).to_list()


@dataclass(frozen=True)
class IndexItems:
    """Rows of a catalogue and their embeddings: everything that is written for them."""

    rows: CatalogSnapshot
    embeddings: ItemEmbeddings

    @classmethod
    def from_vectors(
        cls, vectors: np.ndarray, items: pl.DataFrame, pictures: Sequence[Picture | None] | None, dim: int
    ) -> "IndexItems":
        """Items that are encoded already; see `Index.from_vectors`.

        Raises:
            UserError: vectors or pictures do not fit the items, or an id is missing or comes twice.
        """
        if items.schema.get("id") != pl.String or items["id"].null_count():
            raise UserError('the items need a column "id" of texts, none of them blank')
        if vectors.shape != (len(items), dim):
            raise UserError(f"{len(items):,} items in {dim} dimensions need vectors of that shape, not {vectors.shape}")
        shown: list[Picture | None] = [None] * len(items) if pictures is None else list(pictures)
        if len(shown) != len(items):
            raise UserError(f"{len(items):,} items need as many pictures, None where one has none, not {len(shown):,}")
        snapshot = CatalogSnapshot(items, shown, [None] * len(items), digest_rows(items, shown))
        return cls(snapshot, ItemEmbeddings(vectors))

    def __len__(self) -> int:
        return len(self.rows.table)

    @property
    def ids(self) -> list[str]:
        """The items' ids."""
        return self.rows.table["id"].to_list()

    def select(self, rows: Sequence[int]) -> "IndexItems":
        """Some of the items."""
        return IndexItems(self.rows.select(rows), self.embeddings.select(rows))

    def append(self, others: "IndexItems") -> "IndexItems":
        """All of these items and others behind them, with the same columns and fields."""
        if not len(others):
            return self
        rows, more = self.rows, others.rows
        return IndexItems(
            CatalogSnapshot(
                pl.concat([rows.table, more.table]),
                rows.pictures + more.pictures,
                rows.input_digests + more.input_digests,
                rows.row_digests + more.row_digests,
                (rows.singly or [False] * len(self)) + (more.singly or [False] * len(others)),
                (rows.further or [()] * len(self)) + (more.further or [()] * len(others)),
                (rows.recordings or [_NONE] * len(self)) + (more.recordings or [_NONE] * len(others)),
            ),
            self.embeddings.append(others.embeddings),
        )

    def drop_empty(self) -> "IndexItems":
        """The items that have a vector."""
        finite = np.isfinite(self.embeddings.vectors.sum(axis=1))
        return self if finite.all() else self.select(np.flatnonzero(finite).tolist())

    def split(self) -> Iterator["IndexItems"]:
        """All items, in batches."""
        for start in range(0, len(self), _BATCH):
            yield self.select(range(start, min(start + _BATCH, len(self))))


class EncodedRows:
    """What the model makes of some rows of a catalogue; no row is encoded twice."""

    def __init__(self, model: ItemModel, catalog: Catalog, field_vectors: bool) -> None:
        self._model, self._catalog, self._field_vectors = model, catalog, field_vectors
        self._places: dict[int, tuple[int, int]] = {}  # row → which of the parts, and where in it
        self._parts: list[ItemEmbeddings] = []

    def add(self, rows: Sequence[int]) -> None:
        """Encode those of some rows that are not yet."""
        missing = [row for row in rows if row not in self._places]
        if missing or not self._parts:
            self._places.update({row: (len(self._parts), place) for place, row in enumerate(missing)})
            catalog = self._catalog if _are_all(missing, len(self._catalog)) else self._catalog.select(missing)
            part = ItemEmbeddings.encode(self._model, catalog, field_vectors=self._field_vectors)
            self._parts.append(part)

    def holds(self, rows: Sequence[int]) -> bool:
        """Whether all of some rows have been encoded."""
        return all(row in self._places for row in rows)

    def select(self, rows: Sequence[int]) -> ItemEmbeddings:
        """The embeddings of some of them."""
        found = ItemEmbeddings.allocate(len(rows), self._model.dim, self._parts[0].fields)
        for number, part in enumerate(self._parts):
            mine = [(place, self._places[row][1]) for place, row in enumerate(rows) if self._places[row][0] == number]
            found.assign([place for place, _ in mine], part.select([place for _, place in mine]))
        return found


def fetch_embeddings(store: Store, ids: Sequence[str]) -> ItemEmbeddings:
    """The embeddings of items from a store; NaN for an item that has just been removed."""
    fields = store.schema.field_vectors
    embeddings = ItemEmbeddings.allocate(len(ids), store.schema.dim, fields)
    for start in range(0, len(ids), _BATCH):
        records = store.fetch(ids[start : start + _BATCH], vectors=True, field_vectors=bool(fields))
        for place, record in enumerate(records, start):
            if record is None:
                continue
            embeddings.vectors[place] = record.vector
            if embeddings.field_vectors is not None and record.field_vectors is not None:
                for name, vector in record.field_vectors.items():
                    embeddings.field_vectors[place, fields.index(name)] = vector
    return embeddings


def _are_all(rows: Sequence[int], count: int) -> bool:
    """Whether some rows are all, in their order; selecting from a table of one row takes longer than that row is worth.

    Args:
        count: of all.
    """
    return len(rows) == count and all(row == place for place, row in enumerate(rows))
