"""Field subsets: the parts of an item through which every system sees the candidates of a retrieval task."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALL, TEXT, IMAGE, MIXED = SUBSETS = ("all", "text", "image", "mixed")


@dataclass(frozen=True)
class FieldSubset:
    """Fields through which candidates are seen.

    Attributes:
        key: a short name, such as "all" or "only-image".
        label: the same in words that follow "on".
        fields: names of the fields, in the network's order.
        mix_seed: seed of a draw: of the items with text and image, half show only their text, half only their image;
            None: every item shows all of the fields.
    """

    key: str
    label: str
    fields: tuple[str, ...]
    mix_seed: int | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """All fields but the picture: texts, and what other columns say."""
        return tuple(field for field in self.fields if field != "image")

    @property
    def images(self) -> tuple[str, ...]:
        """The fields that hold images."""
        return tuple(field for field in self.fields if field == "image")


def list_modality_subsets(fields: Sequence[str], query: str | None, *, seed: int) -> list[FieldSubset]:
    """All fields; where there are texts and images among them also the texts, the images, and a mix of both.

    Args:
        fields: that at least one candidate has.
        query: the field that the queries were taken from, for the labels; None where they came from elsewhere.
        seed: of the mix.
    """
    if not fields:
        return []
    whole = FieldSubset(ALL, describe(ALL, query), tuple(fields))
    if not whole.texts or not whole.images:
        return [whole]
    return [
        whole,
        FieldSubset(TEXT, describe(TEXT, query), whole.texts),
        FieldSubset(IMAGE, describe(IMAGE, query), whole.images),
        FieldSubset(MIXED, describe(MIXED, query), whole.fields, mix_seed=seed),
    ]


def describe(subset: str, query: str | None = "title") -> str:
    """A subset in words that follow "on": "all fields but the title" for `ALL` and queries taken from the title.

    `query` is the item field that the queries were taken from, or None where they came from elsewhere.
    """
    return {
        ALL: "all fields" + (f" but the {query}" if query else ""),
        TEXT: "the text alone" + (f", without the {query}" if query in ("title", "description") else ""),
        IMAGE: "the picture alone",
        MIXED: "a mix: half of the items by text, half by picture",
    }[subset]


def mixed_index(text: np.ndarray, image: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An index in which half of the items that have both text and picture keep the one, half the other.

    Args:
        text: (n, d) item vectors through the text fields alone; NaN rows have none.
        image: (n, d) item vectors through the picture alone, likewise.
        seed: of the draw: the same seed and presence give the same halves for every system.

    Returns:
        (n, d) vectors, NaN where an item has neither, and an (n,) bool mask of the items that are seen by text.
    """
    has_text = ~np.isnan(text).any(axis=1)
    by_text = draw_text_items(has_text, ~np.isnan(image).any(axis=1), seed=seed)
    return np.where(by_text[:, None], text, image), by_text


def draw_text_items(has_text: NDArray[np.bool_], has_image: NDArray[np.bool_], *, seed: int = 0) -> NDArray[np.bool_]:
    """(n,) bool: the items that a mixed index keeps by their text; of those that have an image as well, a random half.

    Args:
        has_text, has_image: (n,) what each item has.
        seed: of the draw.
    """
    by_text = has_text.copy()
    both = np.flatnonzero(has_text & has_image)
    by_text[np.random.default_rng(seed).permutation(both)[: len(both) // 2]] = False
    return by_text
