"""Categories: one vector for each value that training rows have, shared buckets for all others, and their words."""

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import Field, StringConstraints, field_validator
from torch import Tensor, nn
from torch.nn import functional

from likewise.encoders.base import Description, Encoder, Modality

WIDTH = 64
BUCKETS = 64
_MOST_VALUES = 50_000
_LONGEST_VALUE = 100
_MOST_BYTES = 4_000_000  # of the vocabulary in encoder.json, half of what is read back (`parsing.MOST_JSON_BYTES`)
_FEWEST_ROWS = 2  # that a value of the vocabulary has; rarer ones train the buckets, which answer for new ones
_LETTERS = re.compile(r"[^\W\d_]{2}")
_MOST_WORDS = 64  # values of one item that are read


class CategoryDescription(Description):
    """What is fitted: the known values, most frequent first, and the number of buckets."""

    vocabulary: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_VALUE)]], Field(max_length=_MOST_VALUES)
    ]
    buckets: Annotated[int, Field(ge=1, le=65_536)]

    @field_validator("vocabulary")
    @classmethod
    def _is_distinct(cls, vocabulary: list[str]) -> list[str]:
        if len(set(vocabulary)) < len(vocabulary):
            raise ValueError("a value occurs twice")
        return vocabulary


class CategoryEncoder(Encoder):
    """Values to (64,): a random unit vector for each, so that no two values are alike before training.

    Case and surrounding blanks do not matter. A value that the vocabulary lacks has the vector of the bucket that its
    hash chooses (feature hashing; Weinberger et al., 2009). What it means is left to its words, which the text encoder
    reads: an unseen "navy" is near "blue".
    """

    family = "category"
    saved = CategoryDescription
    fitted = True
    reads_words = True
    learning_rate = 1e-3  # random weights

    def __init__(self, vocabulary: Sequence[str], buckets: int = BUCKETS) -> None:
        super().__init__(name=self.family, modality=self.family, width=WIDTH)
        self.buckets = buckets
        self.numbers = {value: number for number, value in enumerate(vocabulary)}
        self.vectors = nn.Embedding(len(self.numbers) + buckets, WIDTH)
        with torch.no_grad():
            self.vectors.weight.copy_(functional.normalize(self.vectors.weight, dim=-1))
        self.eval()

    @classmethod
    def fit(cls, values: Sequence[Any], seed: int) -> Self:
        """With the values that at least two rows have, most frequent first, as many as a saved encoder can hold."""
        counted = Counter(part for value in values for part in dict.fromkeys(map(_fold, cls.split(value))))
        frequent = [value for value, count in counted.most_common(_MOST_VALUES) if count >= _FEWEST_ROWS and value]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(_fit_into_file(frequent))

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        return cls(description["vocabulary"], description["buckets"])

    def description(self) -> dict[str, Any]:
        return {"vocabulary": list(self.numbers), "buckets": self.buckets}

    @staticmethod
    def split(value: Any) -> tuple[str, ...]:
        """The values in one cell: a category is one."""
        return (value,)

    def words(self, value: Any) -> tuple[str, ...]:
        """The parts of a value that are words; a code such as 4711 is none."""
        return tuple(part for part in self.split(value)[:_MOST_WORDS] if _LETTERS.search(part))

    def prepare(self, values: Sequence[Any], prompt: str | None = None) -> dict[str, Tensor]:
        """{"values": (n, most in a cell) int64}; −1 is none."""
        split = [self.split(value)[:_MOST_WORDS] for value in values]
        numbers = np.full((len(split), max([len(parts) for parts in split] + [1])), -1, np.int64)
        for row, parts in zip(numbers, split, strict=True):
            row[: len(parts)] = [self._find(part) for part in parts]
        return {"values": torch.from_numpy(numbers)}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        present = (inputs["values"] >= 0).unsqueeze(-1)
        vectors = self.vectors(inputs["values"].clamp(min=0)) * present
        mean: Tensor = vectors.sum(dim=1) / present.sum(dim=1).clamp(min=1)
        return mean.float()

    def example(self, count: int) -> dict[str, Tensor]:
        return {"values": torch.zeros(count, 1, dtype=torch.int64)}

    def _find(self, value: str) -> int:
        folded = _fold(value)
        known = self.numbers.get(folded)
        return (
            len(self.numbers) + zlib.crc32(folded.encode("utf-8", "surrogatepass")) % self.buckets
            if known is None
            else known
        )


def _fit_into_file(values: Iterable[str]) -> list[str]:
    """The first of the values, up to `_MOST_BYTES` of JSON; without those that UTF-8 cannot write (lone surrogates)."""
    kept, size = [], 0
    for value in values:
        try:
            size += len(json.dumps(value, ensure_ascii=False).encode()) + len(",\n   ")
        except UnicodeEncodeError:
            continue
        if size > _MOST_BYTES:
            break
        kept.append(value)
    return kept


def _fold(value: str) -> str:
    return value.strip().casefold()[:_LONGEST_VALUE]
