"""The field subsets that every system is measured on: items seen whole, by text, by picture, and half by each."""

import numpy as np

ALL, TEXT, IMAGE, MIXED = SUBSETS = ("all", "text", "image", "mixed")


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
    by_text = ~np.isnan(text).any(axis=1)
    both = np.flatnonzero(by_text & ~np.isnan(image).any(axis=1))
    by_text[np.random.default_rng(seed).permutation(both)[: len(both) // 2]] = False
    return np.where(by_text[:, None], text, image), by_text & ~np.isnan(text).any(axis=1)
