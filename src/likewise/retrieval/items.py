"""Items and hits as people get them, and the columns that likewise itself writes beside theirs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from likewise.catalog.images.picture import is_key
from likewise.catalog.images.resolve import Picture
from likewise.stores.base import Record
from likewise.stores.schema import Schema

_OWN = "_likewise"


@dataclass(frozen=True)
class Item:
    """One row of the catalogue as the index keeps it."""

    id: str
    fields: dict[str, Any]
    picture: Picture | None


@dataclass(frozen=True)
class Hit:
    """An item that answers a query.

    Attributes:
        score: the cosine between query and item, in [-1, 1]; plus the boost, where there is one; in a hybrid search
            vectors and words together, in [0, 1].
        fields: every column of the item's row.
        picture: its first usable picture.
    """

    id: str
    score: float
    fields: dict[str, Any] = field(repr=False)
    picture: Picture | None = None


class Hits(list[Hit]):
    """Hits by descending score, or by score and diversity.

    Attributes:
        facets: for each column that was asked for, its values and how many of the best items have each, the most
            frequent first; see `Index.search`.
    """

    def __init__(self, hits: Iterable[Hit] = (), facets: Mapping[str, dict[Any, int]] | None = None) -> None:
        super().__init__(hits)
        self.facets = dict(facets or {})


@dataclass(frozen=True)
class OwnColumns:
    """Two columns that every item of an index has beside the user's.

    One tells what an update has to know: what the model saw, what the whole row said, and the picture that a hit
    shows. The other says when the item was written, so that anyone can ask whether something is newer than they know.

    Attributes:
        name: of the first.
    """

    name: str = _OWN

    @classmethod
    def beside(cls, columns: Sequence[str]) -> "OwnColumns":
        """Names that the user's columns do not have."""
        own = cls()
        while own.name in columns or own.written in columns:
            own = cls(f"_{own.name}")
        return own

    @property
    def written(self) -> str:
        """The name of the second: microseconds."""
        return f"{self.name}_written"

    def add(
        self,
        items: pl.DataFrame,
        pictures: Sequence[Picture | None],
        seen: Sequence[str | None],
        rows: Sequence[str],
        written: int,
    ) -> pl.DataFrame:
        """A table with both columns.

        Args:
            seen: a digest of what the model saw of each item; None: not known.
            rows: a digest of all that is kept of it.
            written: now.
        """
        about = pl.DataFrame(
            {
                "seen": list(seen),
                "row": list(rows),
                "picture": [picture.key if picture else None for picture in pictures],
                "path": [str(picture.path) if picture else None for picture in pictures],
            },
            schema={"seen": pl.String, "row": pl.String, "picture": pl.String, "path": pl.String},
        )
        return items.with_columns(about.to_struct(self.name), pl.lit(written, pl.Int64).alias(self.written))

    def visible(self, schema: Schema) -> Schema:
        """The schema without the two, for whatever users name."""
        columns = tuple(column for column in schema.columns if column.name not in (self.name, self.written))
        return replace(schema, columns=columns)

    def without(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """An item's fields without the two."""
        return {name: value for name, value in fields.items() if name not in (self.name, self.written)}

    def item(self, record: Record) -> Item:
        """A record of the store as users see it."""
        return Item(record.id, self.without(record.fields), _picture(record.fields.get(self.name)))

    def digests(self, fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """What an item of the store remembers of what the model saw, and of its row."""
        about = fields.get(self.name)
        return (about.get("seen"), about.get("row")) if isinstance(about, Mapping) else (None, None)


def _picture(about: object) -> Picture | None:
    """The picture that an index names for an item; None where what it says, perhaps a stranger's word, names none."""
    key, path = (about.get("picture"), about.get("path")) if isinstance(about, Mapping) else (None, None)
    if not is_key(key) or not isinstance(path, str) or not path or path.startswith(("\\\\", "//")):
        return None
    return Picture(str(key), Path(path))


def row_digests(items: pl.DataFrame, pictures: Sequence[Picture | None]) -> list[str]:
    """A digest of each row of a table, and of where its picture is."""
    return [
        digest_of([row, [picture.key, str(picture.path)] if picture else None])
        for row, picture in zip(items.iter_rows(named=True), pictures, strict=True)
    ]


def digest_of(value: Any) -> str:
    """128 bits, in hexadecimal digits, of anything that can be written down."""
    text = json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
