"""A model whose vectors are cut short: the first dimensions of each, at unit norm again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from likewise.catalog.audio.decode import Sound
from likewise.catalog.catalog import Catalog
from likewise.errors import UserError
from likewise.retrieval.explanation import FusionModel
from likewise.retrieval.index_items import ItemModel
from likewise.retrieval.occluding import OccludingModel, check_occluding
from likewise.retrieval.query_vector import QueryModel
from likewise.retrieval.spelling import WordModel

if TYPE_CHECKING:
    from likewise.model.field_embeddings import FieldEmbeddings


class TruncatedModel:
    """A model seen through the first dimensions of its space.

    A training with `matryoshka` packs most of what matters into them (Kusupati et al. 2022, arXiv:2205.13147), so that
    an index takes a fraction of the memory. Its fingerprint is that of the whole model.
    """

    def __init__(self, model: QueryModel, dim: int) -> None:
        """Truncate a model's vectors.

        Raises:
            UserError: the model has no so many dimensions.
        """
        if not 1 <= dim <= model.dim:
            raise UserError(f"dim must be between 1 and the model's {model.dim}, not {dim}")
        self._model = model
        self.dim = dim

    @property
    def fingerprint(self) -> str:
        return self._model.fingerprint

    @property
    def fields(self) -> Sequence[str]:
        return cast(ItemModel, self._model).fields

    @property
    def recording_fields(self) -> Sequence[str]:
        return cast(ItemModel, self._model).recording_fields

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """(n, dim) float32, unit norm."""
        return self.truncate(self._model.encode_queries(texts))

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(n, dim) float32, unit norm."""
        return self.truncate(self._model.encode_images(images))

    def fuse_fields(self, vectors: np.ndarray, fields: Sequence[str]) -> np.ndarray:
        """(n, fields, dim) → (n, dim) of unit norm; the fusion sees zeros in the dimensions that were cut off.

        Raises:
            UserError: the model makes no item of single fields.
        """
        if not isinstance(self._model, FusionModel):
            raise UserError("this model makes no item of single fields, so its hits cannot be explained")
        whole = np.zeros((*vectors.shape[:2], self._model.dim), np.float32)
        whole[..., : self.dim] = vectors
        return self.truncate(self._model.fuse_fields(whole, fields))

    @property
    def prose_fields(self) -> Sequence[str]:
        return self._occluding.prose_fields

    def measure_words(
        self,
        field: str,
        text: str,
        spans: Sequence[tuple[int, int]],
        query: np.ndarray,
        others: Mapping[str, np.ndarray],
    ) -> np.ndarray:
        """What the cosine loses without each word of a text; see `Model.measure_words`."""
        return self._occluding.measure_words(field, text, spans, query, others)

    def measure_patches(self, picture: Image.Image, query: np.ndarray, others: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the cosine loses without each patch of a picture; see `Model.measure_patches`."""
        return self._occluding.measure_patches(picture, query, others)

    def find_picture_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a picture that its patches cover."""
        return self._occluding.find_picture_box(width, height)

    @property
    def _occluding(self) -> OccludingModel:
        return check_occluding(self._model)

    def knows_word(self, word: str) -> bool:
        """Whether a word is one piece for the model's tokenizer; False for a model that does not say."""
        return isinstance(self._model, WordModel) and self._model.knows_word(word)

    def encode_audio(self, sounds: Sequence[Sound]) -> np.ndarray:
        """(n, dim) float32, unit norm."""
        return self.truncate(self._model.encode_audio(sounds))

    def encode_items(self, catalog: Catalog) -> np.ndarray:
        """(n, dim) float32, unit norm; NaN rows where an item has nothing to encode."""
        return self.truncate(cast(ItemModel, self._model).encode_items(catalog))

    def encode_items_with_fields(self, catalog: Catalog) -> tuple[np.ndarray, "FieldEmbeddings"]:
        """The same, and the embeddings of every field."""
        vectors, fields = cast(ItemModel, self._model).encode_items_with_fields(catalog)
        count, width, dim = fields.vectors.shape
        flat = self.truncate(fields.vectors.astype(np.float32).reshape(-1, dim))
        return self.truncate(vectors), replace(fields, vectors=flat.reshape(count, width, -1).astype(np.float16))

    def truncate(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors of the whole model (n, model's dim) → (n, dim) of unit norm; NaN rows stay so."""
        if vectors.shape[1] == self.dim:
            return vectors
        short = vectors[:, : self.dim]
        norms = np.linalg.norm(short, axis=1, keepdims=True)
        return np.ascontiguousarray(short / np.maximum(norms, np.finfo(np.float32).tiny))
