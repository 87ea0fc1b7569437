"""The part of a model that says what the words of a text and the patches of a picture add to a cosine."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from likewise.errors import UserError
from likewise.retrieval.explanation import FusionModel


@runtime_checkable
class OccludingModel(FusionModel, Protocol):
    """A model that can leave out parts of what it reads and sees; `likewise.model.model.Model` says more."""

    @property
    def prose_fields(self) -> Sequence[str]:
        """The item fields that are texts."""

    def measure_words(
        self,
        field: str,
        text: str,
        spans: Sequence[tuple[int, int]],
        query: np.ndarray,
        others: Mapping[str, np.ndarray],
    ) -> np.ndarray:
        """(words,) what the cosine loses without each word."""

    def measure_patches(self, picture: Image.Image, query: np.ndarray, others: Mapping[str, np.ndarray]) -> np.ndarray:
        """(rows, columns) what the cosine loses without each patch."""

    def find_picture_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a picture that its patches cover (left, top, right, bottom), in pixels."""


def check_occluding(model: object) -> OccludingModel:
    """The model itself.

    Raises:
        UserError: it cannot leave out words and patches.
    """
    if not isinstance(model, OccludingModel):
        raise UserError("this model cannot say what single words and parts of a picture add to a score")
    return model
