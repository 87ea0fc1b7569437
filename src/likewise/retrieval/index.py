"""A searchable catalogue: its items' vectors and metadata, and the model that turns queries into vectors."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import polars as pl
from PIL import Image

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.causes import PictureError, describe
from likewise.catalog.images.decode import decode_bytes, open_picture
from likewise.catalog.pictures import Picture
from likewise.errors import UserError
from likewise.retrieval.former import FaissStore
from likewise.retrieval.items import Item, ItemTable
from likewise.retrieval.versions import current_version, new_version

_VECTORS = "vectors.faiss"
_ITEMS = "items.sqlite"
_DESCRIPTION = "index.json"
_QUERY_SIDE = 1024  # pixels: more than any encoder looks at, and a photo of 50 megapixels decodes in a fraction


class QueryModel(Protocol):
    """The part of a model that answers queries."""

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """(n, dim) float32, unit norm."""

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(n, dim) float32, unit norm."""


class ItemModel(QueryModel, Protocol):
    """A model that can encode a whole catalogue too."""

    def encode_items(self, catalog: Catalog) -> np.ndarray:
        """(n, dim) float32, unit norm; NaN rows where an item has nothing to encode."""


@dataclass(frozen=True)
class Hit:
    """An item that answers a query.

    Attributes:
        score: the cosine between query and item, in [-1, 1].
        fields: every column of the item's row.
        picture: its first usable picture.
    """

    id: str
    score: float
    fields: dict[str, Any] = field(repr=False)
    picture: Picture | None = None


@dataclass(frozen=True)
class Description:
    """What index.json says: which model and which catalogue made an index."""

    model: str  # fingerprint
    dim: int
    catalog: str  # fingerprint; empty where the vectors did not come from a catalogue
    count: int  # items that can be found
    left_out: int  # items without anything to encode
    kind: str
    created: str


class Index:
    """Items found by words, by a picture, by both, or by their likeness to another item."""

    def __init__(self, model: QueryModel, store: FaissStore, items: ItemTable, description: Description) -> None:
        self._model = model
        self._store = store
        self._items = items
        self.description = description

    def __len__(self) -> int:
        return len(self._store)

    @classmethod
    def build(cls, model: ItemModel, catalog: Catalog, run: str | Path | None = None) -> "Index":
        """Encode a catalogue and make it searchable.

        Args:
            run: the run folder that keeps the index as its new current version; None keeps it in memory.
        """
        pictures = [pictures[0] if pictures else None for pictures in catalog.pictures]
        vectors = model.encode_items(catalog)
        return cls.from_vectors(
            model, vectors, catalog.table, pictures=pictures, run=run, fingerprint=catalog.fingerprint
        )

    @classmethod
    def from_vectors(
        cls,
        model: QueryModel,
        vectors: np.ndarray,
        items: pl.DataFrame,
        *,
        pictures: Sequence[Picture | None] | None = None,
        run: str | Path | None = None,
        fingerprint: str = "",
    ) -> "Index":
        """Make encoded items searchable.

        Args:
            vectors: (n, model.dim), one for each row of `items`. A NaN row leaves its item out of the index.
            items: "id" (unique strings) and any other columns, which become the fields of a hit.
            pictures: one for each row, None where an item has none.
            run: the run folder that keeps the index as its new current version; None keeps it in memory.
            fingerprint: of the catalogue that the items come from.

        Raises:
            UserError: the vectors do not fit the model or the items, or the index cannot be written.
        """
        if vectors.shape != (len(items), model.dim):
            raise UserError(
                f"{len(items):,} items in {model.dim} dimensions need vectors of that shape, not {vectors.shape}"
            )
        kept = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        store = FaissStore.build(_normalised(vectors[kept]))
        rows = items[kept.tolist()]
        kept_pictures = [pictures[row] if pictures else None for row in kept.tolist()]
        description = Description(
            model=model.fingerprint,
            dim=model.dim,
            catalog=fingerprint,
            count=len(kept),
            left_out=len(items) - len(kept),
            kind=store.kind,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if run is None:
            return cls(model, store, ItemTable.create(None, rows, kept_pictures), description)
        try:
            with new_version(_folder(run)) as folder:
                store.write(folder / _VECTORS)
                ItemTable.create(folder / _ITEMS, rows, kept_pictures).close()
                (folder / _DESCRIPTION).write_text(json.dumps(asdict(description), indent=2) + "\n", encoding="utf-8")
        except (OSError, RuntimeError, sqlite3.OperationalError) as error:  # each library has its own for a full disk
            raise UserError(f"cannot write the index into {_folder(run)}: {error}") from error
        return cls.open(run, model)

    @classmethod
    def open(cls, run: str | Path, model: QueryModel) -> "Index":
        """Open the current index of a run folder.

        Raises:
            UserError: there is none, it is damaged, or another model made it.
        """
        again = f"likewise index {run} --data FILE"
        version = current_version(_folder(run))
        if version is None:
            raise UserError(f"{run} has no index yet: {again}")
        try:
            description = Description(**json.loads((version / _DESCRIPTION).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise UserError(f"the index in {version} is missing or damaged; build it again: {again}") from None
        if description.dim != model.dim:
            raise UserError(
                f"the index of {run} has {description.dim} dimensions, the model {model.dim}; build it again: {again}"
            )
        if description.model != model.fingerprint:
            raise UserError(f"the index of {run} was made by another model; build it again: {again}")
        try:
            store, items = FaissStore.open(version / _VECTORS), ItemTable.open(version / _ITEMS)
        except UserError as error:
            raise UserError(f"{error}; build the index again: {again}") from None
        return cls(model, store, items, description)

    def matches(self, catalog: Catalog) -> bool:
        """Whether the index was made from this very catalogue: same ids, texts and picture sources, in this order."""
        return self.description.catalog == catalog.fingerprint

    def search(
        self,
        text: str | None = None,
        *,
        image: str | Path | Image.Image | BinaryIO | None = None,
        image_weight: float = 0.5,
        k: int = 10,
    ) -> list[Hit]:
        """Find the items most like some words, a picture, or both.

        Args:
            text: words; blank counts as none.
            image: a picture, or a path or an open binary file to read it from.
            image_weight: the picture's share where there are words too, in [0, 1].
            k: how many hits; fewer come back where there are fewer items.

        Returns:
            Hits by descending score.

        Raises:
            UserError: neither words nor picture, or a weight or k that makes no sense.
            PictureError: the picture cannot be read.
        """
        _check_k(k)
        if not 0.0 <= image_weight <= 1.0:
            raise UserError(f"the weight of the picture must lie between 0 and 1, not at {image_weight}")
        text = text.strip() if text else ""
        if not text and image is None:
            raise UserError("give words, a picture or both to search for")
        parts: list[tuple[float, np.ndarray]] = []
        if text:
            parts.append((1.0 - image_weight if image is not None else 1.0, self._model.encode_queries([text])[0]))
        if image is not None:
            picture = _read_image(image)
            parts.append((image_weight if text else 1.0, self._model.encode_images([picture])[0]))
        query = sum(weight * vector for weight, vector in parts)
        return self._nearest(_normalised(np.asarray(query, dtype=np.float32)[None])[0], k)

    def similar(self, id: str, k: int = 10) -> list[Hit]:
        """Find the items most like another one, which is itself left out.

        Raises:
            UserError: there is no such item in the index.
        """
        _check_k(k)
        row = self._row(id)
        return self._nearest(self._store.vector(row), k, without=row)

    def item(self, id: str) -> Item:
        """One item by its id.

        Raises:
            UserError: there is no such item in the index.
        """
        return self._items.fetch([self._row(id)])[0]

    def example_titles(self, count: int = 6, longest: int = 40) -> list[str]:
        """Up to `count` different titles from all over the catalogue, none longer than `longest` characters."""
        return self._items.titles(count, longest)

    def _row(self, id: str) -> int:
        row = self._items.row_of(id)
        if row is None:
            raise UserError(f"the index has no item {id!r}")
        return row

    def _nearest(self, query: np.ndarray, k: int, without: int | None = None) -> list[Hit]:
        scores, rows = self._store.search(query, k + (without is not None))
        found = [(float(score), int(row)) for score, row in zip(scores, rows, strict=True) if row != without][:k]
        items = self._items.fetch([row for _, row in found])
        return [Hit(item.id, score, item.fields, item.picture) for (score, _), item in zip(found, items, strict=True)]


def _folder(run: str | Path) -> Path:
    return Path(run) / "index"


def _check_k(k: int) -> None:
    if k < 1:
        raise UserError(f"k must be at least 1, not {k}")


def _read_image(image: str | Path | Image.Image | BinaryIO) -> Image.Image:
    if isinstance(image, Image.Image):
        return image if image.mode == "RGB" else image.convert("RGB")
    if isinstance(image, str | Path):
        try:
            return open_picture(image, minimum_side=_QUERY_SIDE)
        except PictureError as error:
            raise PictureError(error.cause, f"the picture {image} {describe(error.cause)}") from None
    return decode_bytes(image.read(), minimum_side=_QUERY_SIDE)


def _normalised(vectors: np.ndarray) -> np.ndarray:
    """(n, dim) float32 of unit norm; a zero vector stays zero and is like nothing."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
