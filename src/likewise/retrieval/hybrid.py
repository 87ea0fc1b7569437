"""Two rankings made into one: by the vectors, and by the words."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from likewise.errors import UserError
from likewise.retrieval.lexical.synonyms import Synonyms

_CONSTANT = 60  # of reciprocal rank fusion, as its authors chose it


@dataclass(frozen=True)
class Hybrid:
    """How a hybrid search combines keyword search (BM25) with vector search.

    Attributes:
        by: "weights" adds both scores, each on its own scale from 0 to 1; "ranks" looks only at the two orders
            (reciprocal rank fusion; Cormack, Clarke and Büttcher, 2009).
        words: the share of the words, in [0, 1]. With more than a half, an item in which all of the query's words stand
            comes before those that are merely near.
        correct: search by a word of the catalogue in place of one that it does not know and that looks misspelt;
            `Hits.did_you_mean` says where that was done.
        synonyms: words that also find others, as `Synonyms.read` reads them from a file; None: those of the index. They
            do not change the vectors.

    Example:
        >>> import likewise as lw
        >>> index = lw.Index.open("runs/products", lw.Model.load("runs/products"))
        >>> index.search("XJ-917B", hybrid=lw.Hybrid(words=0.8))[0].id
        'sku-1017'
    """

    by: Literal["weights", "ranks"] = "weights"
    words: float = 0.6
    correct: bool = True
    synonyms: Synonyms | None = None

    def __post_init__(self) -> None:
        if self.by not in ("weights", "ranks"):
            raise UserError(f"rankings are combined by weights or by ranks, not by {self.by}")
        if not 0.0 <= self.words <= 1.0:
            raise UserError(f"the weight of the words must be between 0 and 1, not {self.words}")


@dataclass(frozen=True)
class ScoreScale:
    """What is a low and what a high score for one query; beyond them, it is 0 and 1.

    Attributes:
        least, greatest: cosines of the items that the vectors find.
        full: the BM25 score that says that all of the query's words stand in an item; 0 where no item has any. Where
            the best match has few of them, its score is low, and what the vectors say is not drowned by chance.
    """

    least: float
    greatest: float
    full: float

    def scale_cosines(self, cosines: np.ndarray) -> np.ndarray:
        """Cosines in [0, 1]."""
        span = self.greatest - self.least
        return np.clip((cosines - self.least) / span, 0.0, 1.0) if span > 0 else np.ones_like(cosines)

    def scale_bm25(self, scores: np.ndarray) -> np.ndarray:
        """BM25 scores in [0, 1]."""
        return np.minimum(scores / self.full, 1.0) if self.full > 0 else np.zeros_like(scores)


def compute_parts(
    cosines: np.ndarray, words: np.ndarray, fusion: Hybrid, scale: ScoreScale
) -> tuple[np.ndarray, np.ndarray]:
    """What the vectors and what the words give to the score of every candidate; their sum is in [0, 1].

    Args:
        cosines: (n,) with the query.
        words: (n,) BM25 scores, 0 where no word matches.

    Returns:
        (n,) and (n,).
    """
    if fusion.by == "ranks":
        by_vectors, by_words = _reciprocal_ranks(cosines), _reciprocal_ranks(words) * (words > 0)
    else:
        by_vectors, by_words = scale.scale_cosines(cosines), scale.scale_bm25(words)
    return (1.0 - fusion.words) * by_vectors, fusion.words * by_words


def _reciprocal_ranks(scores: np.ndarray) -> np.ndarray:
    """1 for the best, less for each rank below; equal scores have equal ranks."""
    ranks = 1 + np.searchsorted(np.sort(-scores), -scores, side="left")
    return (_CONSTANT + 1) / (_CONSTANT + ranks)
