"""A query whose words, pictures and recordings have been encoded already, together with those of other queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from likewise.catalog.audio.decode import Sound


@dataclass(frozen=True)
class EncodedQuery:
    """The vectors of one query's parts, in place of the model that made them.

    Attributes:
        dim: of the index.
        fingerprint: of the model.
        texts: text → (dim,) float32 of unit norm.
        images: (pictures of the query, dim) float32 of unit norm, in their order.
        sounds: the same for its recordings.
    """

    dim: int
    fingerprint: str
    texts: Mapping[str, np.ndarray]
    images: np.ndarray
    sounds: np.ndarray

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """(n, dim) float32, unit norm."""
        return np.stack([self.texts[text] for text in texts])

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(n, dim) float32, unit norm."""
        return self.images

    def encode_audio(self, sounds: Sequence[Sound]) -> np.ndarray:
        """(n, dim) float32, unit norm."""
        return self.sounds
