"""The catalogue: items with their texts, metadata and pictures, checked and in order."""

import dataclasses
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import polars as pl
from PIL import Image

from likewise.catalog.audio.decode import Sound
from likewise.catalog.audio.recording import Recording
from likewise.catalog.audio.resolve import open_unchanged as open_unchanged_recording
from likewise.catalog.columns import FIELDS, unknown_column_error
from likewise.catalog.filters import Condition
from likewise.catalog.filters_polars import match_rows
from likewise.catalog.images.embedded import EmbeddedPictures
from likewise.catalog.images.picture import Picture, PictureError
from likewise.catalog.images.resolve import open_unchanged, resolve_pictures
from likewise.catalog.images.thumbnails import find_thumbnail, make_thumbnail
from likewise.catalog.placeholders import drop_placeholders
from likewise.catalog.recordings import RecordingColumns
from likewise.catalog.report import Report
from likewise.catalog.rows import Items, locate_source, name_source, read_items, sample_rows
from likewise.config import AudioSettings, DataSettings, ImageSettings
from likewise.errors import UserError

_ROWS_PER_DIGEST = 10_000


class Catalog:
    """Items in a fixed order. A selection of rows is a catalogue too, and shares the resolved pictures.

    Attributes:
        table: "id" (unique strings), "title", "description" (String, null where blank), "image" (List(String) of
            sources), then the file's own columns as metadata.
        report: what was wrong with the file, counted by cause; shared by all selections.
        settings: how it was read, for the record of a run.
        source: the path or address that it was read from, or the kind of table.
        images: where pictures may come from.
        audio: where recordings may come from.
        cache: the folder of downloads and thumbnails.

    Example:
        >>> import likewise as lw
        >>> catalog = lw.Catalog.read("products.csv")
        >>> catalog
        Catalog('products.csv', 30 items, fields title, description, image)
        >>> catalog.texts("title")[0], catalog.column("price")[1]
        ('red circle shirt', 13.0)
        >>> len(catalog.where("price < 50 and brand is not null")), len(catalog.select([0, 2]))
        (10, 2)
        >>> catalog.report.as_dict()["problems"]
        {}
    """

    def __init__(self, items: Items, *, settings: DataSettings, source: Path | str, cache: Path, report: Report):
        """Take items as `read_items` gives them; use `Catalog.read` for a file."""
        table = items.table
        self.table = table
        self.report = report
        self.settings = settings
        self.source = source
        self.images = settings.images
        self.audio = settings.audio or AudioSettings.like(settings.images)
        self.cache = cache
        self._pictures = _ResolvedPictures(items, settings.images, cache, report)
        self._recordings = RecordingColumns(items, self.audio, cache, report)
        self._rows = np.arange(len(table))

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        columns: Mapping[str, str] | None = None,
        where: str | None = None,
        max_items: int | None = None,
        seed: int = 0,
        images: ImageSettings = ImageSettings(),  # noqa: B008 - immutable
        audio: AudioSettings | None = None,
        cache: Path | None = None,
    ) -> "Catalog":
        """Read a file, a folder of pictures or a table in memory; pictures are not looked at before they are asked for.

        Args:
            source: the path of a CSV, TSV, Parquet or JSON Lines file, or its address in a bucket (s3://, gs://,
                hf://); a folder of pictures; a pandas, Polars or Arrow table, a DuckDB relation or a Hugging Face
                `Dataset`. docs/catalog.md says what is understood.
            columns: our name → the source's name, such as {"title": "product_name"}; others are guessed, which the
                report notes.
            where: a filter that rows have to meet, such as 'split == "train" and price < 20'.
            max_items: use a random sample of at most this many items, drawn with `seed` and spread over titles.
            images: where pictures may come from, and limits on them.
            audio: the same for recordings; None: the places that pictures may come from, and the default limits.
            cache: the folder of downloads and thumbnails; None: the user's cache folder.

        Raises:
            UserError: the source is no table, has no title column or no usable item, or the filter is not valid.

        Example:
            >>> import likewise as lw
            >>> catalog = lw.Catalog.read(
            ...     "products.csv", columns={"title": "title", "id": "model"}, where="stock > 0", max_items=10
            ... )
            >>> len(catalog), catalog.ids[0]
            (10, 'XJ-903B')
        """
        report = Report()
        items = read_items(source, columns, report, images)
        table, name = items.table, name_source(source)
        if table.is_empty():
            causes = ", ".join(f"{problem.count:,} × {problem.cause}" for problem in report.problems.values())
            raise UserError(f"none of the {report.rows:,} rows of {name} can be used ({causes})")
        if where is not None:
            kept = _find_rows(table, where)
            report.note(f"the filter {where} keeps {len(kept):,} of {len(table):,} items")
            table = table[kept]
        if max_items is not None and max_items < len(table):
            if max_items < 1:
                raise UserError(f"max_items must be at least 1, not {max_items}")
            report.note(f"{max_items:,} of {len(table):,} items are sampled with seed {seed}, spread over titles")
            table = sample_rows(table, max_items, seed)
        settings = DataSettings(
            file=locate_source(source),
            columns=dict(columns or {}),
            where=where,
            max_items=max_items,
            images=images,
            audio=audio,
        )
        chosen = dataclasses.replace(items, table=table)
        return cls(chosen, settings=settings, source=name, cache=cache or default_cache(), report=report)

    @classmethod
    def from_items(
        cls,
        table: pl.DataFrame,
        pictures: Sequence[tuple[Picture, ...]],
        *,
        recordings: Sequence[Mapping[str, tuple[Recording, ...]]] | None = None,
        images: ImageSettings = ImageSettings(),  # noqa: B008 - immutable
        audio: AudioSettings | None = None,
        cache: Path | None = None,
    ) -> "Catalog":
        """Items that no file lists, whose pictures and recordings have been found already.

        Args:
            table: as of a catalogue; see `Catalog.table`.
            pictures: those of each item, instead of what its column "image" names.
            recordings: those of each item by column; None: no item has any, whatever its columns name.
            images: limits on decoding pictures.
            audio: limits on decoding recordings.
            cache: as in `read`.
        """
        settings, items = DataSettings(images=images, audio=audio), Items(table, Path(), EmbeddedPictures())
        catalog = cls(items, settings=settings, source=Path(), cache=cache or default_cache(), report=Report())
        catalog._pictures = _ResolvedPictures(items, images, catalog.cache, catalog.report, list(pictures))
        catalog._recordings = RecordingColumns(items, None, catalog.cache, catalog.report, recordings)
        return catalog

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"Catalog({str(self.source)!r}, {len(self):,} items, fields {', '.join(self.fields)})"

    @property
    def name(self) -> str:
        """The name of the file or folder without the folders above it, or the kind of table."""
        return self.source.name if isinstance(self.source, Path) else self.source.rpartition("/")[2]

    @property
    def ids(self) -> list[str]:
        """The items' ids, unique."""
        return self.table["id"].to_list()

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Those of title, description and image that at least one item has."""
        has_value = {
            "title": self.table["title"].null_count() < len(self),
            "description": self.table["description"].null_count() < len(self),
            "image": bool((self.table["image"].list.len() > 0).any()),
        }
        return tuple(name for name in FIELDS if has_value[name])

    def has_field(self, name: str) -> bool:
        """Whether any item has something in a field, be it one of `fields` or another column."""
        if name in FIELDS:
            return name in self.fields
        return name in self.table.columns and self.table[name].null_count() < len(self)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, titles, descriptions and image sources, in order, in hexadecimal digits."""
        digest = hashlib.sha256()
        for part in self.table.select("id", *FIELDS).iter_slices(_ROWS_PER_DIGEST):
            digest.update(json.dumps(part.to_dict(as_series=False)).encode())
        return digest.hexdigest()

    def compute_fingerprint(self, columns: Sequence[str]) -> str:
        """SHA-256 over what `fingerprint` covers and further columns, in hexadecimal digits.

        Args:
            columns: by their names; those that `fingerprint` covers, and those that there are not, add nothing.
        """
        further = [name for name in columns if name in self.table.columns and name not in ("id", *FIELDS)]
        if not further:
            return self.fingerprint
        digest = hashlib.sha256(self.fingerprint.encode())
        for part in self.table.select(sorted(set(further))).iter_slices(_ROWS_PER_DIGEST):
            digest.update(json.dumps(part.to_dict(as_series=False), default=repr).encode())
        return digest.hexdigest()

    def texts(self, field: str) -> list[str | None]:
        """A column as text, one for each item, stripped; None where it is blank.

        Raises:
            UserError: there is no such column, or it holds lists.
        """
        column = self.cells(field)
        if column.dtype.is_nested():
            raise UserError(f'the column "{field}" holds lists, not texts')
        return column.cast(pl.String).to_list()

    def column(self, name: str) -> list[Any]:
        """A column's values, one for each item.

        Raises:
            UserError: there is no such column; the message names those near it.
        """
        return self.cells(name).to_list()

    def cells(self, name: str) -> pl.Series:
        """A column as the table has it: (items,) of any type.

        Raises:
            UserError: there is no such column; the message names those near it.
        """
        if name not in self.table.columns:
            raise unknown_column_error(name, self.table.columns)
        return self.table[name]

    def where(self, expression: str | Condition) -> "Catalog":
        """The items for which a filter is true, in their order.

        Raises:
            UserError: the filter is not valid, or no item meets it.
        """
        return self.select(_find_rows(self.table, expression))

    def select(self, rows: Sequence[int] | np.ndarray) -> "Catalog":
        """The items at these positions, in the order given; resolved pictures are shared."""
        positions = np.asarray(rows, dtype=np.int64)
        selection = object.__new__(Catalog)
        selection.table = self.table[positions]
        selection.report = self.report
        selection.settings = self.settings
        selection.source, selection.cache = self.source, self.cache
        selection.images, selection.audio = self.images, self.audio
        selection._pictures, selection._recordings = self._pictures, self._recordings
        selection._rows = self._rows[positions]
        return selection

    @cached_property
    def pictures(self) -> list[tuple[Picture, ...]]:
        """The usable pictures of each item, at most `images.per_item`.

        The first access looks every picture up, and downloads it if need be, for this catalogue and all its selections.
        Failures are counted in the report; placeholder pictures are absent.
        """
        resolved = self._pictures.resolve()
        return [resolved[row] for row in self._rows]

    def open_picture(self, picture: Picture, minimum_side: int | None = None) -> Image.Image:
        """Decode a picture: upright and RGB.

        Args:
            minimum_side: pixels that the shorter side needs; large JPEGs are then decoded at a reduced scale.

        Raises:
            PictureError: it cannot be decoded, or its bytes are no longer those that were found; `cause` says why.
        """
        return open_unchanged(picture, self.cache, minimum_side, self.images.max_pixels)

    def recordings(self, column: str) -> list[tuple[Recording, ...]]:
        """The usable recordings of each item that a column names, at most `audio.per_item`.

        The first access looks every recording of the column up, and downloads it if need be, for this catalogue and all
        its selections. Failures are counted in the report.

        Raises:
            UserError: there is no such column, or soundfile is not installed.
        """
        self.cells(column)
        resolved = self._recordings.resolve(column)
        return [resolved[row] for row in self._rows]

    def open_recording(self, recording: Recording, seconds: float | None = None) -> Sound:
        """Decode a recording, no further than `seconds`.

        Raises:
            AudioError: it cannot be decoded, or its bytes are no longer those that were found; `cause` says why.
        """
        return open_unchanged_recording(recording, self.cache, seconds, limits=self.audio)

    def make_thumbnail(self, picture: Picture | str) -> Path:
        """A small JPEG of a picture (or of the picture with this key) in the cache, made when first asked for.

        Raises:
            PictureError: the picture cannot be decoded, or no item has a picture with this key.
        """
        if isinstance(picture, str):
            path = find_thumbnail(picture, self.cache)
            if path is not None:
                return path
            picture = self._pictures.by_key(picture)
        return make_thumbnail(picture, self.cache, max_pixels=self.images.max_pixels)


def default_cache() -> Path:
    """The user's cache folder for downloads and thumbnails."""
    return Path(platformdirs.user_cache_dir("likewise", appauthor=False))


def _find_rows(table: pl.DataFrame, condition: str | Condition) -> np.ndarray:
    rows = match_rows(table, condition).arg_true().to_numpy()
    if not len(rows):
        raise UserError(f"none of the {len(table):,} items matches the filter {condition}")
    return rows


class _ResolvedPictures:
    """The pictures of a whole catalogue, resolved once for all its selections."""

    def __init__(
        self,
        items: Items,
        images: ImageSettings,
        cache: Path,
        report: Report,
        resolved: list[tuple[Picture, ...]] | None = None,
    ) -> None:
        self._table = items.table
        self._base = items.base
        self._embedded = items.embedded
        self._images = images if items.root is None or images.root else images.model_copy(update={"root": items.root})
        self._cache = cache
        self._report = report
        self._lock = threading.Lock()
        self._resolved = resolved
        self._by_key: dict[str, Picture] | None = None

    def resolve(self) -> list[tuple[Picture, ...]]:
        with self._lock:
            if self._resolved is None:
                sources, ids = self._table["image"].to_list(), self._table["id"].to_list()
                found = resolve_pictures(
                    sources,
                    base=self._base,
                    settings=self._images,
                    cache=self._cache,
                    report=self._report,
                    names=ids,
                    embedded=self._embedded,
                )
                self._resolved = drop_placeholders(found, self._table["title"].to_list(), ids, self._report)
                without = [
                    id for id, named, kept in zip(ids, sources, self._resolved, strict=True) if named and not kept
                ]
                self._report.count_rows("without-picture", without)
            return self._resolved

    def by_key(self, key: str) -> Picture:
        resolved = self.resolve()
        if self._by_key is None:
            self._by_key = {picture.key: picture for of_item in resolved for picture in of_item}
        if key not in self._by_key:
            raise PictureError("no-file", f"no item has a picture with the key {key[:64]}")
        return self._by_key[key]
