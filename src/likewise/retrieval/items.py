"""Items and hits as users get them, and the bookkeeping columns that an index adds to an item."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from likewise.catalog.audio.recording import Recording
from likewise.catalog.images.picture import Picture, is_key
from likewise.errors import UserError
from likewise.retrieval.remembered_recordings import ItemRecordings, pack_recordings, unpack_recordings
from likewise.retrieval.thresholds import Threshold
from likewise.stores.base import Record, Store
from likewise.stores.schema import Schema

_BOOKKEEPING = "_likewise"


class UnknownItemError(UserError):
    """An item that is not in the index."""

    def __init__(self, id: str) -> None:
        super().__init__(f"the index has no item {id!r}")


def fetch_item(store: Store, id: str, *, field_vectors: bool = False) -> Record:
    """Read one item from a store.

    Raises:
        UnknownItemError: there is no such item.
    """
    (record,) = store.fetch([id], field_vectors=field_vectors)
    if record is None:
        raise UnknownItemError(id)
    return record


@dataclass(frozen=True)
class Item:
    """One row of the catalogue as the index keeps it."""

    id: str
    fields: dict[str, Any]
    picture: Picture | None
    recordings: ItemRecordings = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class QueryWord:
    """A word of the query, and what the cosine loses without it."""

    word: str
    share: float


@dataclass(frozen=True)
class TextWord:
    """A word of an item's text, from character `start` to before `end`, and what the cosine loses without it."""

    start: int
    end: int
    share: float


@dataclass(frozen=True)
class WordsOfText:
    """A text of an item and its words; those that the model does not read, and signs, are not among them."""

    field: str
    text: str
    words: tuple[TextWord, ...]


@dataclass(frozen=True)
class Explanation:
    """The shares of an item's fields, of the query's words and of the boost in a score; they add up to it.

    What single words add to the cosine comes on top, with `explain="words"`; these shares do not add up.

    Attributes:
        fields: of each field that the item has; a share below 0 says that the item would be nearer without the field.
        terms: of each word that keyword search has found in the item; None where the search was no hybrid one.
        boost: what the boost has added; None without one.
        query_words: of the query's texts, in order; None where they were not asked for.
        words: of the item's texts; None where they were not asked for.
    """

    fields: dict[str, float]
    terms: dict[str, float] | None = None
    boost: float | None = None
    query_words: tuple[QueryWord, ...] | None = None
    words: tuple[WordsOfText, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the command line and the API; the largest shares come first."""
        about: dict[str, Any] = {"fields": {name: round(share, 6) for name, share in _by_size(self.fields)}}
        if self.terms is not None:
            about["terms"] = [{"term": term, "share": round(share, 6)} for term, share in _by_size(self.terms)]
        if self.boost is not None:
            about["boost"] = round(self.boost, 6)
        if self.query_words is not None:
            about["query_words"] = [{"word": one.word, "share": round(one.share, 6)} for one in self.query_words]
        if self.words is not None:
            about["words"] = [
                {
                    "field": of_text.field,
                    "text": of_text.text,
                    "words": [
                        {"start": word.start, "end": word.end, "share": round(word.share, 6)} for word in of_text.words
                    ],
                }
                for of_text in self.words
            ]
        return about


def _by_size(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda pair: -abs(pair[1]))


@dataclass(frozen=True)
class Hit:
    """An item that answers a query.

    Attributes:
        score: the cosine between query and item, in [-1, 1]; plus the boost, where there is one; in a hybrid search
            vectors and words together, in [0, 1].
        fields: every column of the item's row.
        picture: its first usable picture.
        recordings: the usable ones by field, where the model hears any.
        explanation: why it has its score, if that was asked for.
        likely: whether its score reaches the calibrated threshold of the query; None where there is none, or it was not
            asked for with min_score="auto".

    Example:
        >>> import likewise as lw
        >>> index = lw.Index.open("runs/products", lw.Model.load("runs/products"))
        >>> hit = index.search("XJ-917B", hybrid=True)[0]
        >>> hit.id, hit.fields["model"], hit.fields["price"]
        ('sku-1017', 'XJ-917B', 61.0)
    """

    id: str
    score: float
    fields: dict[str, Any] = field(repr=False)
    picture: Picture | None = None
    explanation: Explanation | None = field(default=None, repr=False)
    likely: bool | None = field(default=None, repr=False)
    recordings: ItemRecordings = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Correction:
    """A text of a query that was corrected.

    Attributes:
        given: as it was typed.
        searched: what was searched for in its place.

    Example:
        >>> import likewise as lw
        >>> index = lw.Index.open("runs/products", lw.Model.load("runs/products"))
        >>> index.search("red shrit", hybrid=True).did_you_mean
        (Correction(given='red shrit', searched='red shirt'),)
        >>> index.search("red shrit", hybrid=lw.Hybrid(correct=False)).did_you_mean
        ()
    """

    given: str
    searched: str


class Hits(list[Hit]):
    """Hits by descending score, or by score and diversity.

    Attributes:
        facets: for each column that was asked for, its values and how many of the best items have each, the most
            frequent first; see `Index.search`.
        took: seconds of each stage: "encode" the query, "search" for candidates and put them in order, "fetch" fields.
        did_you_mean: the texts of a hybrid query that were searched for by other words, since the catalogue does not
            know those that were given.
        threshold: what `Hit.likely` goes by; None where the run has no calibrated threshold for such a query, or it was
            not asked for.

    Example:
        >>> import likewise as lw
        >>> index = lw.Index.open("runs/products", lw.Model.load("runs/products"))
        >>> hits = index.search("red shirt", k=5, facet="brand")
        >>> len(hits), hits.facets
        (5, {'brand': {'Acme': 8, 'Bolt': 8, 'Cord': 7}})
    """

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        facets: Mapping[str, dict[Any, int]] | None = None,
        took: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(hits)
        self.facets = dict(facets or {})
        self.took = dict(took or {})
        self.did_you_mean: tuple[Correction, ...] = ()
        self.threshold: Threshold | None = None


@dataclass(frozen=True)
class BookkeepingColumns:
    """The names of two columns that likewise adds to every item of an index.

    One is a struct of what an update compares (digests of the model's input and of the whole row), the picture that a
    hit shows, further pictures of an item that was written singly, whether it was, and its recordings. The other is the
    time of writing, by which anyone can ask for items newer than those they know.

    Attributes:
        name: of the first column.
    """

    name: str = _BOOKKEEPING

    @classmethod
    def choose(cls, columns: Sequence[str]) -> "BookkeepingColumns":
        """Names that clash with none of the user's columns."""
        names = cls()
        while names.name in columns or names.written in columns:
            names = cls(f"_{names.name}")
        return names

    @property
    def written(self) -> str:
        """The name of the second column: microseconds since 1970."""
        return f"{self.name}_written"

    def add(
        self,
        table: pl.DataFrame,
        pictures: Sequence[Picture | None],
        input_digests: Sequence[str | None],
        row_digests: Sequence[str],
        written: int,
        singly: Sequence[bool] | None = None,
        further: Sequence[Sequence[Picture]] | None = None,
        recordings: Sequence[ItemRecordings] | None = None,
    ) -> pl.DataFrame:
        """A table with both columns.

        Args:
            input_digests: digest of the model's input per item; None: not known.
            row_digests: digest of everything that is kept per item.
            written: now.
            singly: whether each item was written by itself, and not with a catalogue; None: no item was.
            further: the pictures of each item behind the first one; None: no item has any, or they are not needed.
            recordings: of each item; None: no item has any.
        """
        more = further if further is not None else [()] * len(table)
        about = pl.DataFrame(
            {
                "input": list(input_digests),
                "row": list(row_digests),
                "picture": [picture.key if picture else None for picture in pictures],
                "path": [str(picture.path) if picture else None for picture in pictures],
                "singly": [True if one else None for one in singly] if singly is not None else [None] * len(table),
                "further": [[[picture.key, str(picture.path)] for picture in shown] or None for shown in more],
            },
            schema={
                "input": pl.String,
                "row": pl.String,
                "picture": pl.String,
                "path": pl.String,
                "singly": pl.Boolean,
                "further": pl.List(pl.List(pl.String)),
            },
        )
        if recordings is not None and any(recordings):
            packed = [pack_recordings(heard) for heard in recordings]
            about = about.with_columns(pl.Series("recordings", packed, pl.List(pl.List(pl.String))))
        times = pl.Series(self.written, [written], pl.Int64).new_from_index(0, len(table))
        return table.hstack([about.to_struct(self.name), times])

    def user_schema(self, schema: Schema) -> Schema:
        """The schema without the bookkeeping: the columns that a user may name."""
        columns = tuple(column for column in schema.columns if column.name not in (self.name, self.written))
        return replace(schema, columns=columns)

    def strip(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """An item's fields without the bookkeeping."""
        mine = (self.name, self.written)
        return {name: value for name, value in fields.items() if name not in mine}

    def build_item(self, record: Record) -> Item:
        """A record of the store as users see it."""
        picture = _read_picture(record.fields.get(self.name))
        return Item(record.id, self.strip(record.fields), picture, self.recordings(record.fields))

    def digests(self, fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The digests of an item's model input and row, as the store remembers them."""
        about = fields.get(self.name)
        return (about.get("input"), about.get("row")) if isinstance(about, Mapping) else (None, None)

    def is_single(self, fields: Mapping[str, Any]) -> bool:
        """Whether an item was written by itself, and not with a catalogue."""
        about = fields.get(self.name)
        return isinstance(about, Mapping) and about.get("singly") is True

    def pictures(self, fields: Mapping[str, Any]) -> tuple[Picture, ...]:
        """The pictures that the store remembers of an item, the first one first."""
        about = fields.get(self.name)
        first, further = _read_picture(about), about.get("further") if isinstance(about, Mapping) else None
        pairs = further if isinstance(further, list) else []
        others = [
            _read_picture({"picture": pair[0], "path": pair[1]})
            for pair in pairs
            if isinstance(pair, list) and len(pair) == 2
        ]
        return tuple(picture for picture in (first, *others) if picture is not None)

    def recordings(self, fields: Mapping[str, Any]) -> dict[str, tuple[Recording, ...]]:
        """The recordings that the store remembers of an item, by field."""
        about = fields.get(self.name)
        return unpack_recordings(about.get("recordings")) if isinstance(about, Mapping) else {}


def _read_picture(about: object) -> Picture | None:
    """The picture that an index names for an item; None for what is no picture (the index may come from a stranger)."""
    key, path = (about.get("picture"), about.get("path")) if isinstance(about, Mapping) else (None, None)
    if not is_key(key) or not isinstance(path, str) or not path or path.startswith(("\\\\", "//")):
        return None
    return Picture(str(key), Path(path))


def digest_rows(
    items: pl.DataFrame, pictures: Sequence[Picture | None], recordings: Sequence[ItemRecordings] | None = None
) -> list[str]:
    """A digest of each row of a table, and of the places of its picture and its recordings."""
    packed = [pack_recordings(heard) for heard in recordings] if recordings is not None else [None] * len(items)
    return [
        digest([row, [picture.key, str(picture.path)] if picture else None, *([heard] if heard else [])])
        for row, picture, heard in zip(items.iter_rows(named=True), pictures, packed, strict=True)
    ]


def digest(value: Any) -> str:
    """128 bits of any JSON-like value, as hexadecimal digits."""
    text = json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
