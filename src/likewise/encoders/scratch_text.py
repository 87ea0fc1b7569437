"""A small text Transformer over hashed words: no vocabulary file, no pretrained weights, any language with spaces."""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from likewise.encoders.base import Encoder, Modality
from likewise.encoders.transformer import Transformer, random_positions

WIDTH = 192
DEPTH = 3
HEADS = 6
MAX_WORDS = 64
PIECES = 8  # hashes that describe a word: itself, and its first trigrams
BUCKETS = 2**15
_WORD = re.compile(r"\w+|[^\w\s]")


class ScratchText(Encoder):
    """Texts to (192,): the mean over words of a Transformer's states.

    A word is the mean of the embeddings of its own hash and of those of its letter trigrams (the idea of fastText,
    https://arxiv.org/abs/1607.04606), so misspelt and inflected words stay near each other, even before training.
    """

    family = "scratch-text"
    learning_rate = 1e-3  # random weights

    def __init__(self, name: str = "scratch-text") -> None:
        super().__init__(name=name, modality="text", width=WIDTH)
        self.pieces = nn.Embedding(BUCKETS, WIDTH, padding_idx=0)
        self.positions = random_positions(MAX_WORDS, WIDTH)
        self.transformer = Transformer(WIDTH, DEPTH, HEADS)
        self.eval()

    @classmethod
    def random(cls, seed: int) -> Self:
        """Random weights that `seed` alone decides."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls()

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        return cls(name)

    def description(self) -> dict[str, Any]:
        return {"words": MAX_WORDS, "pieces": PIECES, "buckets": BUCKETS, "heads": HEADS}

    def prepare(self, values: Sequence[str], prompt: str | None = None) -> dict[str, Tensor]:
        """{"pieces": (n, words of the longest, 8) int64}; 0 is no piece."""
        texts = [_words(value)[:MAX_WORDS] for value in values]
        pieces = np.zeros((len(texts), max([len(words) for words in texts] + [1]), PIECES), dtype=np.int64)
        for row, words in zip(pieces, texts, strict=True):
            for slots, word in zip(row, words, strict=False):
                hashes = _hashes(word)
                slots[: len(hashes)] = hashes
        return {"pieces": torch.from_numpy(pieces)}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        mask = inputs["pieces"][:, :, 0] != 0
        mask[:, 0] = True  # a text without words is one silent token, not a division by zero
        return _mean(self.transformer(self._words(inputs), mask), mask)

    def _words(self, inputs: dict[str, Tensor]) -> Tensor:
        pieces = inputs["pieces"]
        words = self.pieces(pieces).sum(dim=2) / (pieces != 0).sum(dim=2).clamp(min=1).unsqueeze(-1)
        return words + self.positions[: words.shape[1]]

    def count_truncated(self, texts: Sequence[str]) -> int:
        return sum(len(_words(text)) > MAX_WORDS for text in texts)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(states.dtype)
    return ((states * weights).sum(dim=1) / weights.sum(dim=1)).float()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _hashes(word: str) -> list[int]:
    framed = f"<{word}>"
    trigrams = [framed[start : start + 3] for start in range(len(framed) - 2)]
    return [zlib.crc32(piece.encode()) % (BUCKETS - 1) + 1 for piece in [framed, *trigrams][:PIECES]]
