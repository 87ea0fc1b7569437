"""A query → the one vector that items are compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from likewise.catalog.audio.decode import Sound, decode_bytes, open_recording
from likewise.catalog.audio.recording import AudioError
from likewise.catalog.images.decode import decode_stream, open_picture
from likewise.catalog.images.picture import PictureError
from likewise.catalog.report import describe_audio_cause, describe_picture_cause
from likewise.config import AudioSettings
from likewise.encoders.sounds import LONGEST_SECONDS
from likewise.retrieval.items import UnknownItemError
from likewise.retrieval.query import AudioSource, ImageSource, Query, Term
from likewise.stores.base import Store
from likewise.stores.inputs import normalise_vectors

QUERY_SIDE = 1024  # pixels: more than any encoder looks at, and a photo of 50 megapixels decodes in a fraction
_LONGEST_SHOWN = 300  # characters of a path in a message


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

    def encode_audio(self, sounds: Sequence[Sound]) -> np.ndarray:
        """(n, dim) float32, unit norm."""


@dataclass(frozen=True)
class QueryParts:
    """The encoded parts of a query, of which `mix` makes its vector.

    Attributes:
        texts: text → (dim,) of unit norm, of the words that are wanted and those that are not.
        perceived: (pictures and recordings, dim) of unit norm.
        liked: (liked items, dim).
    """

    dim: int
    texts: Mapping[str, np.ndarray]
    perceived: np.ndarray
    liked: np.ndarray

    @classmethod
    def encode(cls, query: Query, model: QueryModel, store: Store) -> "QueryParts":
        """Encode what a query names.

        Raises:
            UnknownItemError: a liked item is not in the index.
            PictureError, AudioError: a picture or a recording cannot be read.
            UserError: a recording, and the model has no field for it.
        """
        sounds = [_read_sound(term.value) for term in query.sounds]
        pictures = [_read_image(term.value) for term in query.images]
        liked = fetch_liked_vectors(query, store)
        texts = [term.value for term in (*query.texts, *query.minus)]
        encoded = model.encode_queries(texts) if texts else np.empty((0, model.dim), np.float32)
        perceived = [np.empty((0, model.dim), np.float32)]
        perceived += [model.encode_images(pictures)] if pictures else []
        perceived += [model.encode_audio(sounds)] if sounds else []
        return cls(model.dim, dict(zip(texts, encoded, strict=True)), np.concatenate(perceived), liked)

    def mix(self, query: Query) -> np.ndarray:
        """(1, dim) float32 of unit norm, or zero where the parts of the query cancel each other out.

        Words and liked items are averaged by their weights, and so are pictures and recordings; the two are mixed by
        `image_weight`, and what is not wanted is subtracted (as Rocchio's relevance feedback does, 1971).

        Args:
            query: whose texts are among the encoded ones, and whose other parts are those that were encoded.
        """
        words = self._stack(query.texts)
        mixed = _average(np.concatenate([words, self.liked]), [term.weight for term in (*query.texts, *query.likes)])
        if len(self.perceived):
            weights = [term.weight for term in query.images] + [term.weight for term in query.sounds]
            seen = _average(self.perceived, weights)
            share = query.image_weight if query.texts or query.likes else 1.0
            mixed = (1.0 - share) * mixed + share * seen
        wanted = normalise_vectors(mixed[None], self.dim)
        if not query.minus:
            return wanted
        for term, vector in zip(query.minus, self._stack(query.minus), strict=True):
            wanted = wanted - term.weight * vector
        return normalise_vectors(wanted, self.dim)

    def _stack(self, terms: Sequence[Term[str]]) -> np.ndarray:
        vectors = [self.texts[term.value] for term in terms]
        return np.stack(vectors) if vectors else np.empty((0, self.dim), np.float32)


def query_vector(query: Query, model: QueryModel, store: Store) -> np.ndarray:
    """The vector of a query, (1, dim); see `QueryParts`."""
    return QueryParts.encode(query, model, store).mix(query)


def fetch_liked_vectors(query: Query, store: Store) -> np.ndarray:
    """(liked items, dim) float32.

    Raises:
        UnknownItemError: one is not there.
    """
    if not query.likes:
        return np.empty((0, store.schema.dim), np.float32)
    records = store.fetch([term.value for term in query.likes], vectors=True)
    for term, record in zip(query.likes, records, strict=True):
        if record is None:
            raise UnknownItemError(term.value)
    return np.stack([record.vector for record in records if record is not None and record.vector is not None])


def _average(vectors: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """(dim,); zero for none."""
    if not len(vectors):
        return np.zeros(vectors.shape[1], np.float32)
    if len(vectors) == 1:
        return vectors[0].astype(np.float32)
    return np.average(vectors, axis=0, weights=weights).astype(np.float32)


def _read_image(image: ImageSource) -> Image.Image:
    if isinstance(image, Image.Image):
        return image if image.mode == "RGB" else image.convert("RGB")
    if isinstance(image, str | Path):
        try:
            return open_picture(image, minimum_side=QUERY_SIDE)
        except PictureError as error:
            raise PictureError(
                error.cause, f"the picture {_shortened(str(image))} {describe_picture_cause(error.cause)}"
            ) from None
    return decode_stream(image, minimum_side=QUERY_SIDE)


def _read_sound(sound: AudioSource) -> Sound:
    if isinstance(sound, Sound):
        return sound
    if isinstance(sound, str | Path):
        try:
            return open_recording(sound, LONGEST_SECONDS)
        except AudioError as error:
            raise AudioError(
                error.cause, f"the recording {_shortened(str(sound))} {describe_audio_cause(error.cause)}"
            ) from None
    most = AudioSettings().max_bytes
    data = sound.read(most + 1)
    if len(data) > most:
        raise AudioError("too-large")
    return decode_bytes(data, LONGEST_SECONDS)


def _shortened(path: str) -> str:
    return path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}…"
