"""Items spread evenly over an index, as a table that another model can encode, and their titles."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from likewise.catalog.images.picture import Picture
from likewise.retrieval.items import BookkeepingColumns
from likewise.stores.base import Store
from likewise.stores.schema import Column

_TYPES = {"text": pl.String, "integer": pl.Int64, "number": pl.Float64, "boolean": pl.Boolean}
_BATCH = 2_000


@dataclass(frozen=True)
class SampledItems:
    """Some items of an index.

    Attributes:
        table: "id", "title", "description", and the columns of texts, numbers and truth values.
        pictures: those of each item.
        of: how many items the index has.
    """

    table: pl.DataFrame
    pictures: list[tuple[Picture, ...]]
    of: int


def sample_items(store: Store, bookkeeping: BookkeepingColumns, most: int) -> SampledItems:
    """At most `most` items, which a walk through the store meets at even distances."""
    total = store.count()
    kept: list[dict[str, Any]] = []
    pictures: list[tuple[Picture, ...]] = []
    place = 0
    for batch in store.iterate(_BATCH, vectors=False):
        for id, fields in zip(batch.ids, batch.fields, strict=True):
            if total <= most or place * most // total != (place - 1) * most // total:
                kept.append(bookkeeping.strip(fields) | {"id": id})
                pictures.append(bookkeeping.pictures(fields))
            place += 1
    columns = bookkeeping.user_schema(store.schema).columns
    table = pl.DataFrame([_read_column(column, kept) for column in columns if column.kind in _TYPES])
    for name in ("title", "description"):
        if table.schema.get(name) != pl.String:
            table = table.with_columns(pl.lit(None, pl.String).alias(name))
    return SampledItems(table, pictures, max(total, len(kept)))


def read_titles(store: Store, most: int) -> list[str]:
    """At most `most` of the items' titles, in any order."""
    found: list[str] = []
    for batch in store.iterate(vectors=False):
        found += [title for fields in batch.fields if isinstance(title := fields.get("title"), str)]
        if len(found) >= most:
            break
    return found[:most]


def _read_column(column: Column, items: list[dict[str, Any]]) -> pl.Series:
    return pl.Series(column.name, [item.get(column.name) for item in items], _TYPES[column.kind], strict=False)
