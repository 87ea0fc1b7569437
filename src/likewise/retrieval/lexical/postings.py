"""In which items each word stands, as arrays that are written once and mapped into memory.

NAME.tokens.npy   hashes of the words, ascending
NAME.starts.npy   where each word's items begin in the next two
NAME.rows.npy     the items of each word, ascending
NAME.counts.npy   how often the word stands in each of them
NAME.lengths.npy  how many words each item has
NAME.hashes.npy   hashes of the items' ids, ascending
NAME.order.npy    the item of each of these hashes
NAME.ids          the items' ids

The words themselves, as far as they may be asked for by another spelling, are in the vocabulary; see there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path

import numpy as np
import polars as pl

from likewise.retrieval.lexical.arrays import load_array, save_array
from likewise.retrieval.lexical.vocabulary import Vocabulary, merge_vocabularies

MOST_COUNTED = 255  # more often than that a word says no more of an item


def hash_text(text: str) -> int:
    """64 bits, the same on every machine."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def hash_ids(ids: Sequence[str]) -> np.ndarray:
    """(len(ids),) uint64."""
    return np.array([hash_text(id) for id in ids], np.uint64)


@dataclass(frozen=True)
class Arrays:
    """The arrays of postings; what each holds is said above."""

    tokens: np.ndarray  # (t,) uint64
    starts: np.ndarray  # (t + 1,) int64
    rows: np.ndarray  # (p,) int32
    counts: np.ndarray  # (p,) uint8
    lengths: np.ndarray  # (n,) int32
    hashes: np.ndarray  # (n,) uint64
    order: np.ndarray  # (n,) int32


class Postings:
    """Which words stand in which items; immutable.

    Args:
        vocabulary: the words themselves; None: not known, as an older version wrote the postings.
    """

    def __init__(self, arrays: Arrays, ids: pl.Series, vocabulary: Vocabulary | None) -> None:
        self.arrays = arrays
        self.ids = ids
        self.vocabulary = vocabulary

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int32, how many words each item has."""
        return self.arrays.lengths

    def gather_ids(self, rows: np.ndarray) -> list[str]:
        """The ids of some items."""
        return self.ids.gather(rows).to_list()

    @classmethod
    def open(cls, folder: Path, name: str) -> "Postings":
        """Open what `write` wrote.

        Raises:
            OSError, EOFError, ValueError: a file is missing or damaged.
        """
        arrays = [load_array(folder / f"{name}.{part.name}.npy", mapped=True) for part in fields(Arrays)]
        try:
            ids = pl.read_ipc(folder / f"{name}.ids")["id"]
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{folder / name}.ids is damaged: {error}") from None
        if len(ids) != len(arrays[-1]):
            raise ValueError(f"{folder / name} holds {len(ids)} ids for {len(arrays[-1])} items")
        return cls(Arrays(*arrays), ids, Vocabulary.open(folder, name))

    def write(self, folder: Path, name: str) -> None:
        """Write all of it into a folder."""
        for part in fields(Arrays):
            save_array(folder / f"{name}.{part.name}.npy", getattr(self.arrays, part.name))
        pl.DataFrame([self.ids]).write_ipc(folder / f"{name}.ids")
        if self.vocabulary is not None:
            self.vocabulary.write(folder, name)

    def files(self, name: str) -> list[str]:
        """The names of the files that `write` writes."""
        vocabulary = Vocabulary.files(name) if self.vocabulary is not None else []
        return [f"{name}.ids", *(f"{name}.{part.name}.npy" for part in fields(Arrays)), *vocabulary]

    def find_similar(self, misspelt: str, edits: int) -> list[str]:
        """The words of which something is a misspelling by at most so many edits."""
        return self.vocabulary.find_similar(misspelt, edits) if self.vocabulary is not None else []

    def find_codes(self, part: str, most: int) -> list[str]:
        """Up to `most` codes that have a part of at least three characters; the likeliest."""
        return self.vocabulary.find_codes(part, most) if self.vocabulary is not None else []

    def find_postings(self, token: int) -> tuple[np.ndarray, np.ndarray]:
        """The items in which a word stands, and how often; both (m,)."""
        place = int(np.searchsorted(self.arrays.tokens, np.uint64(token)))
        if place == len(self.arrays.tokens) or int(self.arrays.tokens[place]) != token:
            return np.empty(0, np.int32), np.empty(0, np.uint8)
        part = slice(int(self.arrays.starts[place]), int(self.arrays.starts[place + 1]))
        return self.arrays.rows[part], self.arrays.counts[part]

    def find_rows(self, ids: Sequence[str], hashes: np.ndarray | None = None) -> np.ndarray:
        """(len(ids),) int64, the item of each id; -1 where there is none.

        Args:
            hashes: of the ids, where they are known.
        """
        if not len(self) or not len(ids):
            return np.full(len(ids), -1)
        hashes = hash_ids(ids) if hashes is None else hashes
        places, wanted = np.searchsorted(self.arrays.hashes, hashes), pl.Series(list(ids), dtype=pl.String)
        found = np.full(len(ids), -1)
        open_ids = np.arange(len(ids))
        while True:  # once, unless ids have the same hash
            open_ids = open_ids[places[open_ids] < len(self)]
            open_ids = open_ids[self.arrays.hashes[places[open_ids]] == hashes[open_ids]]
            if not len(open_ids):
                return found
            rows = self.arrays.order[places[open_ids]].astype(np.int64)
            same = (self.ids.gather(rows) == wanted.gather(open_ids)).to_numpy()
            found[open_ids[same]] = rows[same]
            open_ids = open_ids[~same]
            places[open_ids] += 1


class PostingsBuilder:
    """Collects items, then sorts them by word."""

    def __init__(self) -> None:
        self._hashes: dict[str, int] = {}
        self._chunks: list[_Pairs] = []
        self._ids: list[str] = []
        self._lengths: list[int] = []

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Sequence[str], words: Iterable[Sequence[str]]) -> None:
        """Add items, whose ids must be new, with the words of each."""
        codes: list[int] = []
        lengths = []
        known = self._hashes
        for found in words:
            lengths.append(len(found))
            for word in found:
                code = known.get(word)
                if code is None:
                    code = known[word] = hash_text(word)
                codes.append(code)
        rows = np.repeat(np.arange(len(ids), dtype=np.int32) + np.int32(len(self._ids)), lengths)
        self._ids.extend(ids)
        self._lengths.extend(lengths)
        self._chunks.append(_Pairs.count(np.array(codes, np.uint64), rows))

    def build(self, *, vocabulary: bool = True) -> Postings:
        """All that was added.

        Args:
            vocabulary: False: no words are suggested, and parts of codes find nothing.
        """
        arrays, ids = _assemble(
            _Pairs.concatenate(self._chunks), np.array(self._lengths, np.int32), pl.Series("id", self._ids)
        )
        return Postings(arrays, ids, Vocabulary.build(self._hashes, _counter(arrays)) if vocabulary else None)


def merge_postings(parts: Sequence[tuple[Postings, np.ndarray]]) -> Postings:
    """Several postings as one.

    Args:
        parts: each with the (n,) bool mask of its items that stay; no two of those have the same id.
    """
    pairs, lengths, ids, first = [], [], [], 0
    for postings, kept in parts:
        arrays = postings.arrays
        alive = kept[arrays.rows]
        rows = (np.cumsum(kept) - 1 + first).astype(np.int32)
        tokens = np.repeat(arrays.tokens, np.diff(arrays.starts))
        pairs.append(_Pairs(tokens[alive], rows[arrays.rows[alive]], arrays.counts[alive]))
        lengths.append(arrays.lengths[kept])
        ids.append(postings.ids.filter(pl.Series(kept)))
        first += int(kept.sum())
    empty = pl.Series("id", [], pl.String)
    arrays, kept_ids = _assemble(
        _Pairs.concatenate(pairs),
        np.concatenate([np.empty(0, np.int32), *lengths]),
        pl.concat([empty, *ids], rechunk=True),
    )
    vocabulary = merge_vocabularies([postings.vocabulary for postings, _ in parts], _counter(arrays))
    return Postings(arrays, kept_ids, vocabulary)


@dataclass(frozen=True)
class _Pairs:
    """(word, item) pairs, each once."""

    tokens: np.ndarray
    rows: np.ndarray
    counts: np.ndarray

    @classmethod
    def count(cls, tokens: np.ndarray, rows: np.ndarray) -> "_Pairs":
        """From a word and an item for each time that the word stands there; items ascending."""
        order = np.argsort(tokens, kind="stable")
        tokens, rows = tokens[order], rows[order]
        first = np.ones(len(tokens), bool)
        first[1:] = (tokens[1:] != tokens[:-1]) | (rows[1:] != rows[:-1])
        starts = np.flatnonzero(first)
        counts = np.minimum(np.diff(np.append(starts, len(tokens))), MOST_COUNTED).astype(np.uint8)
        return cls(tokens[starts], rows[starts], counts)

    @classmethod
    def concatenate(cls, parts: Sequence["_Pairs"]) -> "_Pairs":
        """All of several, sorted by word; the items of each part lie behind those of the part before."""
        empty = cls(np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.uint8))
        every = [empty, *parts]
        tokens = np.concatenate([part.tokens for part in every])
        order = np.argsort(tokens, kind="stable")
        rows = np.concatenate([part.rows for part in every])[order]
        return cls(tokens[order], rows, np.concatenate([part.counts for part in every])[order])


def _assemble(pairs: _Pairs, lengths: np.ndarray, ids: pl.Series) -> tuple[Arrays, pl.Series]:
    tokens, starts = np.unique(pairs.tokens, return_index=True)
    hashes = np.array([hash_text(id) for id in ids], np.uint64)
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    arrays = Arrays(
        tokens=tokens,
        starts=np.append(starts, len(pairs.tokens)).astype(np.int64),
        rows=pairs.rows,
        counts=pairs.counts,
        lengths=lengths,
        hashes=hashes[order],
        order=order,
    )
    return arrays, ids


def _counter(arrays: Arrays) -> Callable[[Sequence[str]], np.ndarray]:
    """Words → (n,) in how many items each stands."""

    def count(words: Sequence[str]) -> np.ndarray:
        hashes = np.array([hash_text(word) for word in words], np.uint64)
        places = np.minimum(np.searchsorted(arrays.tokens, hashes), max(len(arrays.tokens) - 1, 0))
        counts = np.diff(arrays.starts)[places]
        return np.where(arrays.tokens[places] == hashes, counts, 0)

    return count
