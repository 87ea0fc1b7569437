"""A model small enough to reason about: words are hashed into a bag, a picture is its mean colour."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from PIL import Image

from likewise.catalog.audio.recording import Recording
from likewise.catalog.images.picture import Picture
from likewise.model.field_embeddings import FieldEmbeddings

_COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}  # words that mean what pictures show


@dataclass
class FakeModel:
    """Three dimensions of colour, the rest for other words."""

    dim: int = 64
    fingerprint: str = "fake-model"
    fields: tuple[str, ...] = ("title", "image")
    recording_fields: tuple[str, ...] = ()
    encoded: list[str] = field(default_factory=list)  # ids of all items that were ever encoded

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._encode_text(text) for text in texts])

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        assert all(image.mode == "RGB" for image in images)
        vectors = np.zeros((len(images), self.dim), dtype=np.float32)
        for vector, image in zip(vectors, images, strict=True):
            vector[:3] = np.asarray(image, dtype=np.float32).reshape(-1, 3).mean(axis=0) + 1e-3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_items(self, catalog: "FakeCatalog") -> np.ndarray:
        return self.encode_items_with_fields(catalog)[0]

    def encode_items_with_fields(self, catalog: "FakeCatalog") -> tuple[np.ndarray, FieldEmbeddings]:
        self.encoded += catalog.table["id"].to_list()
        fields = np.full((len(catalog.table), len(self.fields), self.dim), np.nan, dtype=np.float32)
        for row, (title, pictures) in enumerate(zip(catalog.table["title"], catalog.pictures, strict=True)):
            if title:
                fields[row, 0] = self._encode_text(title)
            if pictures:
                shown = self.encode_images([Image.open(picture.path).convert("RGB") for picture in pictures])
                fields[row, 1] = shown.sum(axis=0) / np.linalg.norm(shown.sum(axis=0))
        sums = np.nansum(fields, axis=1)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return (sums / norms).astype(np.float32), FieldEmbeddings(self.fields, fields.astype(np.float16))

    def _encode_text(self, text: str) -> np.ndarray:
        vector = np.zeros(self.dim, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            if word in _COLOURS:
                vector[:3] += np.array(_COLOURS[word]) / 255
            else:
                vector[3 + int(hashlib.sha256(word.encode()).hexdigest(), 16) % (self.dim - 3)] += 1
        return vector / max(float(np.linalg.norm(vector)), 1e-9)


@dataclass
class FakeCatalog:
    """The part of a catalogue that an index is built from."""

    table: pl.DataFrame
    pictures: list[tuple[Picture, ...]] = field(default_factory=list)
    fingerprint: str = "fake-catalog"

    def __post_init__(self) -> None:
        self.pictures = self.pictures or [()] * len(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def cells(self, field: str) -> pl.Series:
        return self.table[field]

    def texts(self, field: str) -> list[str | None]:
        return self.table[field].to_list()

    def recordings(self, column: str) -> list[tuple[Recording, ...]]:
        return [()] * len(self.table)

    def select(self, rows: Sequence[int]) -> "FakeCatalog":
        return FakeCatalog(self.table[list(rows)], [self.pictures[row] for row in rows], self.fingerprint)


def catalog_of(*titles: str | None, **columns: list) -> FakeCatalog:
    """Items "0", "1", … with these titles."""
    return FakeCatalog(
        pl.DataFrame(
            {"id": [str(row) for row in range(len(titles))], "title": list(titles), **columns},
            schema_overrides={"title": pl.String},
        )
    )


def save_picture(path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Picture:
    """A picture of one colour."""
    Image.new("RGB", size, colour).save(path)
    return Picture(key=hashlib.sha256(path.read_bytes()).hexdigest(), path=path)
