"""Recent query vectors, kept in memory: what many ask for is encoded once."""

import threading
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from likewise.model.recent_vectors import RecentVectors

MOST_ENTRIES = 10_000  # vectors of 512 dimensions take 20 MB
_KEYS_KEPT = 1_024


class QueryCache:
    """The vectors of the queries that a model was asked for last; safe to use from several threads.

    Queries that the model cannot tell apart share an entry: `for_model` compares them by what its tokenizer makes of
    them. So "Red  shoes" and "red shoes" are one query to a model that reads no capitals, and two to one that does.

    Args:
        fingerprint: that of the model; a cache serves one model only.
        most_entries: vectors that are kept; beyond them, those go that nobody has asked for the longest.
        key: what queries with the same vector have in common; by default the text itself.

    Attributes:
        hits, misses: how many texts `find` was asked for that were there, and that were not.
    """

    def __init__(
        self, fingerprint: str, *, most_entries: int = MOST_ENTRIES, key: Callable[[str], Hashable] | None = None
    ) -> None:
        self.fingerprint = fingerprint
        self.most_entries = most_entries
        self.hits = 0
        self.misses = 0
        self._key = key or _text
        self._vectors = RecentVectors(most_entries)
        self._counting = threading.Lock()

    @classmethod
    def for_model(cls, model: Any, *, most_entries: int = MOST_ENTRIES) -> "QueryCache":
        """An empty cache for a `Model`, or for another one that answers queries; that compares texts as they are."""
        return cls(model.fingerprint, most_entries=most_entries, key=_token_key(model))

    def __len__(self) -> int:
        return len(self._vectors)

    def find(self, texts: Sequence[str]) -> list[np.ndarray | None]:
        """The read-only vector (dim,) float32 of each text, or None where it is not known."""
        found = self._vectors.find([self._key(text) for text in texts])
        for vector in found:
            if vector is not None:
                vector.setflags(write=False)
        known = sum(vector is not None for vector in found)
        with self._counting:
            self.hits += known
            self.misses += len(texts) - known
        return found

    def remember(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Keep copies of the vectors (len(texts), dim) of texts."""
        self._vectors.remember([self._key(text) for text in texts], vectors)


def _text(text: str) -> Hashable:
    return text


def _token_key(model: Any) -> Callable[[str], Hashable] | None:
    """What a model's text encoder reads of a query; None for a model that does not let one look."""
    if not hasattr(model, "encoder"):
        return None
    encoder = model.encoder("text")

    def key(text: str) -> Hashable:
        inputs = encoder.prepare([text], prompt="query")
        return tuple((name, inputs[name].numpy().tobytes()) for name in sorted(inputs))

    return lru_cache(_KEYS_KEPT)(key)  # a text that is not known is looked for, and then remembered
