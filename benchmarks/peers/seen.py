"""What every system hands in: the score of every query for every item, the items seen through parts of their fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from likewise.evaluation.metrics import unit_rows
from likewise.evaluation.subsets import ALL, IMAGE, MIXED, TEXT, mixed_index

Scores = NDArray[np.float32]
Fusion = Literal["mean", "concatenation"]


@dataclass(frozen=True)
class Seen:
    """Scores (queries, items), higher is better; a NaN column is an item that has none of the fields.

    Attributes:
        whole: the items seen through all fields but the title.
        text: through their texts alone, without the title.
        image: through their pictures alone; None: the system is blind.
    """

    whole: Scores
    text: Scores
    image: Scores | None

    @classmethod
    def by_vectors(
        cls, queries: NDArray[np.float32], texts: NDArray[np.float32], pictures: NDArray[np.float32], fusion: Fusion
    ) -> Self:
        """From vectors of queries (q, d), texts (n, d) and pictures (n, d), NaN where an item has none.

        The mean is a unit vector between text and picture. Concatenation puts them side by side and a query beside
        itself: the score is the mean of both cosines, and a field that is absent counts 0.
        """
        queries, texts, pictures = unit_rows(queries), unit_rows(texts), unit_rows(pictures)
        both = np.nan_to_num(texts) + np.nan_to_num(pictures)
        both[np.isnan(texts[:, 0]) & np.isnan(pictures[:, 0])] = np.nan
        if fusion == "mean":
            both = unit_rows(both)
        return cls(queries @ both.T, queries @ texts.T, queries @ pictures.T)

    def views(self) -> dict[str, Scores]:
        """The scores by likewise's names of the subsets, a mix of half texts and half pictures among them."""
        found = {ALL: self.whole, TEXT: self.text}
        if self.image is not None:
            found[IMAGE] = self.image
        found[MIXED] = self.mixes()[0]
        return found

    def mixes(self) -> tuple[Scores, Scores]:
        """Half of the items show their text, half their picture; the other way round in the second."""
        text = self.text.T
        image = self.image.T if self.image is not None else np.zeros_like(text)  # blank to the blind
        mixed, by_text = mixed_index(text, image)
        other = np.where(by_text[:, None], image, text)
        return mixed.T, np.where(np.isnan(other), mixed, other).T

    def write(self, path: Path) -> None:
        """Write to an .npz file."""
        arrays: Mapping[str, Scores | None] = {"whole": self.whole, "text": self.text, "image": self.image}
        np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["whole"], arrays["text"], arrays.get("image"))
