"""Made-up items whose vectors lie as those of a catalogue do: clusters of very different sizes, near small planes.

A vector is the sum of four parts, whose shares of its squared length are fixed: its topic, its cluster within the
topic, its place in the cluster (16 directions of falling weight, which the clusters of a topic share), and noise in
all dimensions. Clusters have sizes by a power law. In a large cluster an item's neighbours are at cosines of 0.8, other
items of its topic at 0.3, the rest around 0. The same seed gives the same clusters for every number of items.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

DIM = 512
_TOPICS, _CLUSTERS, _RANK = 64, 4096, 16
_SIZES = 0.8  # the n-th cluster has n ** -0.8 of the first one's items
_TOPIC, _CLUSTER, _PLACE, _NOISE = 0.30, 0.35, 0.25, 0.10
_BLOCK = 16_384  # vectors in memory at a time
_DESCRIPTIONS = 5000
_TEXT = (
    "soft cotton blend with a regular fit and ribbed cuffs made for cold mornings on the road or at home machine "
    "washable at thirty degrees durable stitching double seams two side pockets light breathable water resistant "
    "finish recycled fibres matching belt sold apart gift box included tested by hand in small batches"
)
WORDS = _TEXT.split()


class Clustered:
    """A mixture to draw unit vectors from."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        generator = np.random.default_rng([seed, 0])
        weights = np.arange(1, _CLUSTERS + 1) ** -_SIZES
        self._ends = np.cumsum(weights / weights.sum())
        self._topic_of = generator.integers(_TOPICS, size=_CLUSTERS)
        topics = _unit(generator.standard_normal((_TOPICS, DIM), dtype=np.float32))
        clusters = _unit(generator.standard_normal((_CLUSTERS, DIM), dtype=np.float32))
        self._centres = _TOPIC**0.5 * topics[self._topic_of] + _CLUSTER**0.5 * clusters
        spectrum = np.arange(1, _RANK + 1, dtype=np.float32)[:, None] ** -0.5
        scale = (_PLACE / (spectrum**2).sum()) ** 0.5
        directions = _unit(generator.standard_normal((_TOPICS, _RANK, DIM), dtype=np.float32))
        self._directions = scale * spectrum * directions

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """The vectors of the items, (at most 16,384, 512) float32 at a time."""
        generator = np.random.default_rng([self._seed, 1])
        for start in range(0, rows, _BLOCK):
            yield self._drawn(min(_BLOCK, rows - start), generator)

    def queries(self, count: int) -> np.ndarray:
        """(count, 512) float32 from the same mixture, none of them an item's."""
        return self._drawn(count, np.random.default_rng([self._seed, 2]))

    def _drawn(self, count: int, generator: np.random.Generator) -> np.ndarray:
        cluster = np.searchsorted(self._ends, generator.random(count)).clip(max=_CLUSTERS - 1)
        vectors = generator.standard_normal((count, DIM), dtype=np.float32)
        vectors *= (_NOISE / DIM) ** 0.5
        vectors += self._centres[cluster]
        places = generator.standard_normal((count, _RANK), dtype=np.float32)
        topic = self._topic_of[cluster]
        for number in range(_TOPICS):
            members = np.flatnonzero(topic == number)
            vectors[members] += places[members] @ self._directions[number]
        return _unit(vectors)


def mapped(path: Path, rows: int) -> np.ndarray:
    """(rows, 512) float32 of a file, read where they lie."""
    return np.asarray(np.memmap(path, np.float32, "r", shape=(rows, DIM)))


class Products:
    """The fields of the items: what a shop knows of a product, and a number from 0 to 99 that says nothing else."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng([seed, 3])
        self._seed = seed
        self._descriptions = [" ".join(generator.choice(WORDS, 32)) for _ in range(_DESCRIPTIONS)]  # 200 characters

    def frame(self, first: int, count: int) -> pl.DataFrame:
        """A number of products, from a row on."""
        generator = np.random.default_rng([self._seed, 4, first])
        rows = range(first, first + count)
        descriptions = generator.integers(_DESCRIPTIONS, size=count).tolist()
        words = generator.choice(WORDS, (count, 4)).tolist()
        return pl.DataFrame(
            {
                "id": [f"item-{row:07d}" for row in rows],
                "title": [f"{' '.join(chosen)} no. {row}" for chosen, row in zip(words, rows, strict=True)],
                "description": [self._descriptions[number] for number in descriptions],
                "price": np.round(generator.lognormal(3.5, 1.0, count), 2),
                "category": [f"category {number}" for number in generator.integers(40, size=count)],
                "brand": [f"brand {number}" for number in generator.integers(400, size=count)],
                "shelf": generator.integers(100, size=count),
            }
        )


def row_of(id: str) -> int:
    """The row of an item that `Products` named."""
    return int(id.removeprefix("item-"))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors
