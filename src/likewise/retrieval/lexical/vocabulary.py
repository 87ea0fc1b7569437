"""The words and the codes of a catalogue, found by what nearly equals a word and by a part of a code.

NAME.terms         the words and codes themselves, ascending
NAME.keys.npy      hashes of what leads to a term, ascending
NAME.entries.npy   the term to which each of them leads

To a word leads what is left of its first letters when one or two of them are left out: two words that differ by an
edit have such a rest in common (symmetric deletion, as in Garbe's SymSpell). To a code lead each three characters in a
row. Keys are hashes of 32 bits, so what they lead to is compared with what was asked for.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from likewise.catalog.text import is_spaced
from likewise.retrieval.lexical.arrays import load_array, save_array
from likewise.retrieval.lexical.edit_distance import build_letters, compute_distances

SHORTEST_WORD, LONGEST_WORD = 3, 32  # letters
SHORTEST_PART, LONGEST_CODE = 3, 24  # characters
MOST_EDITS = 2
_TWO_EDITS = 8  # letters from which on a word may be two edits away
_PREFIX = 7  # letters of a word that count for its keys, so that long words have as few as short ones
_MOST_WORDS = 200_000
_MOST_CODES = 2_000_000
_MOST_CANDIDATES = 2_000  # words that are compared with a misspelt one
_MOST_COMPARED = 5_000  # codes that are compared with a part
_CHUNK = 100_000  # terms whose letters are in memory at a time
_DIGIT = re.compile(r"\d")
_SEED, _CODE_SEED, _PRIME = np.uint32(2_166_136_261), np.uint32(2_538_058_380), np.uint32(16_777_619)

Counter = Callable[[Sequence[str]], np.ndarray]


def is_word(token: str) -> bool:
    """Whether a token is a word that spelling is about: letters only, of a script with spaces between words."""
    return (
        SHORTEST_WORD <= len(token) <= LONGEST_WORD
        and _DIGIT.search(token) is None
        and is_spaced(token)
        and _is_encodable(token)
    )


def is_code(token: str) -> bool:
    """Whether a token is a code that a part finds: it has a digit."""
    return SHORTEST_PART <= len(token) <= LONGEST_CODE and _DIGIT.search(token) is not None and _is_encodable(token)


def count_edits_allowed(word: str) -> int:
    """How many edits a misspelling may be away from a word: 1 from three letters on, 2 from eight."""
    return 0 if len(word) < SHORTEST_WORD else 1 if len(word) < _TWO_EDITS else MOST_EDITS


def find_similar(misspelt: str, words: Sequence[str], edits: int) -> list[str]:
    """Those words of which something is a misspelling by at most so many edits.

    Two words of three letters are never that: too many of them differ by one.
    """
    limits = np.array([min(edits, count_edits_allowed(word)) for word in words])
    near = compute_distances(misspelt, words, edits) <= limits
    short = len(misspelt) <= SHORTEST_WORD
    return [word for word, is_near in zip(words, near, strict=True) if is_near and not (short and len(word) <= 3)]


def choose_codes(part: str, codes: Iterable[str], most: int) -> list[str]:
    """Of some terms up to `most` that are codes: first those that begin with a part, and of them the shortest."""
    places = sorted((not code.startswith(part), len(code), code) for code in codes)
    return list(itertools.islice((code for *_, code in places if is_code(code)), most))


class Vocabulary:
    """Words and codes; immutable.

    Args:
        terms: (t,) texts, ascending.
        keys: (k,) uint32, ascending.
        entries: (k,) int32, a place among the terms for each key.
    """

    def __init__(self, terms: pl.Series, keys: np.ndarray, entries: np.ndarray) -> None:
        self.terms = terms
        self._keys = keys
        self._entries = entries

    @classmethod
    def build(cls, tokens: Iterable[str], count: Counter) -> "Vocabulary":
        """The vocabulary of some tokens.

        Args:
            tokens: any, each once; what is neither a word nor a code is left out.
            count: tokens → (n,) in how many items each stands; of very many, the most frequent are kept.
        """
        words, codes = [], []
        for token in tokens:
            if is_word(token):
                words.append(token)
            elif is_code(token):
                codes.append(token)
        terms = sorted([*_most_frequent(words, _MOST_WORDS, count), *_most_frequent(codes, _MOST_CODES, count)])
        pairs: list[np.ndarray] = []
        for first in range(0, len(terms), _CHUNK):
            pairs += _build_pairs(terms[first : first + _CHUNK], first)
        return cls._from_pairs(pl.Series("term", terms, pl.String), pairs)

    @classmethod
    def merge(cls, parts: Sequence["Vocabulary"], count: Counter) -> "Vocabulary":
        """Several vocabularies as one; `count` as in `build`."""
        terms = pl.concat([part.terms for part in parts]).unique().sort()
        has_digit = terms.str.contains(r"\d")
        kept = [
            *_most_frequent(terms.filter(~has_digit).to_list(), _MOST_WORDS, count),
            *_most_frequent(terms.filter(has_digit).to_list(), _MOST_CODES, count),
        ]
        if len(kept) < len(terms):
            terms = pl.Series("term", kept, pl.String).sort()
        places = pl.DataFrame([terms]).with_row_index("place")
        pairs = []
        for part in parts:
            joined = pl.DataFrame([part.terms]).join(places, on="term", how="left", maintain_order="left")
            now = joined["place"].cast(pl.Int64).fill_null(-1).to_numpy()[part._entries]
            pairs.append((part._keys[now >= 0].astype(np.uint64) << np.uint64(32)) | now[now >= 0].astype(np.uint64))
        return cls._from_pairs(terms, pairs)

    @classmethod
    def _from_pairs(cls, terms: pl.Series, pairs: Sequence[np.ndarray]) -> "Vocabulary":
        """From keys and places, as one number each: the key in the upper 32 bits."""
        whole = np.concatenate([np.empty(0, np.uint64), *pairs])
        whole.sort()
        whole = whole[np.append(np.ones(1, bool), whole[1:] != whole[:-1])[: len(whole)]]
        entries = (whole & np.uint64(0xFFFFFFFF)).astype(np.int32)
        return cls(terms, (whole >> np.uint64(32)).astype(np.uint32), entries)

    @classmethod
    def open(cls, folder: Path, name: str) -> "Vocabulary | None":
        """Open what `write` wrote; None where there is none, since an older version wrote the rest.

        Raises:
            OSError, EOFError, ValueError: a file is damaged.
        """
        file, *arrays = (folder / part for part in cls.files(name))
        if not file.exists():
            return None
        try:
            terms = pl.read_ipc(file)["term"]
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{file} is damaged: {error}") from None
        keys, entries = (load_array(array, mapped=True) for array in arrays)
        if len(keys) != len(entries):
            raise ValueError(f"{file} has {len(keys)} keys for {len(entries)} entries")
        return cls(terms, keys, entries)

    def write(self, folder: Path, name: str) -> None:
        """Write all of it into a folder."""
        file, *arrays = (folder / part for part in self.files(name))
        pl.DataFrame([self.terms]).write_ipc(file)
        for array, content in zip(arrays, (self._keys, self._entries), strict=True):
            save_array(array, content)

    @staticmethod
    def files(name: str) -> list[str]:
        """The names of the files that `write` writes."""
        return [f"{name}.terms", f"{name}.keys.npy", f"{name}.entries.npy"]

    def find_similar(self, misspelt: str, edits: int) -> list[str]:
        """The words of which something is a misspelling by at most so many edits; see there."""
        keys = _deletion_keys([misspelt], len(misspelt[:_PREFIX]), edits)
        places = self._find(np.concatenate(list(keys)))[:_MOST_CANDIDATES]
        candidates = [term for term in self.terms.gather(places).to_list() if is_word(term)]
        return find_similar(misspelt, candidates, edits)

    def find_codes(self, part: str, most: int) -> list[str]:
        """Up to `most` codes that have a part of at least three characters; see `choose_codes`."""
        keys = np.concatenate([keys_of_three for keys_of_three, _ in _part_keys([part])])
        starts, ends = np.searchsorted(self._keys, keys), np.searchsorted(self._keys, keys, side="right")
        rarest = int(np.argmin(ends - starts))
        places = self._entries[starts[rarest] : ends[rarest]][:_MOST_COMPARED]
        terms = self.terms.gather(places)
        return choose_codes(part, terms.filter(terms.str.contains(part, literal=True)).to_list(), most)

    def _find(self, keys: np.ndarray) -> np.ndarray:
        """The places of the terms to which some keys lead, each once."""
        starts, ends = np.searchsorted(self._keys, keys), np.searchsorted(self._keys, keys, side="right")
        ends = np.minimum(ends, starts + _MOST_CANDIDATES)
        found = [self._entries[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        _, first = np.unique(merged := np.concatenate(found), return_index=True)
        return merged[np.sort(first)]  # those that share more letters come first


def merge_vocabularies(parts: Sequence[Vocabulary | None], count: Counter) -> Vocabulary | None:
    """Several vocabularies as one; None where one is missing.

    Args:
        count: see `Vocabulary.build`.
    """
    known = [part for part in parts if part is not None]
    return Vocabulary.merge(known, count) if len(known) == len(parts) else None


def _most_frequent(terms: list[str], most: int, count: Counter) -> list[str]:
    if len(terms) <= most:
        return terms
    frequencies = count(terms)
    return [terms[place] for place in np.argsort(-frequencies, kind="stable")[:most].tolist()]


def _build_pairs(terms: Sequence[str], first: int) -> Iterator[np.ndarray]:
    """The keys of some terms, with their places from `first` on; see `Vocabulary._from_pairs`."""
    codes = [place for place, term in enumerate(terms) if _DIGIT.search(term)]
    by_length: dict[tuple[int, int], list[int]] = {}
    for place, term in enumerate(terms):
        if not _DIGIT.search(term):
            by_length.setdefault((min(len(term), _PREFIX), count_edits_allowed(term)), []).append(place)
    for (length, edits), places in by_length.items():
        numbers = np.array(places, np.uint64) + np.uint64(first)
        for keys in _deletion_keys([terms[place] for place in places], length, edits):
            yield (keys.astype(np.uint64) << np.uint64(32)) | numbers
    if codes:
        numbers = np.array(codes, np.uint64) + np.uint64(first)
        for keys, rows in _part_keys([terms[place] for place in codes]):
            yield (keys.astype(np.uint64) << np.uint64(32)) | numbers[rows]


def _deletion_keys(words: Sequence[str], length: int, edits: int) -> Iterator[np.ndarray]:
    """For each choice of letters to leave out, fewest first, the keys of some words.

    Args:
        length: how many first letters each of the words has, up to `_PREFIX`.
    """
    letters = build_letters([word[:_PREFIX] for word in words], _PREFIX)
    for kept in _choices(length, edits):
        yield _hash_columns(letters, kept, _SEED)


def _part_keys(codes: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each place in a code, the keys of the three characters from there on, and the codes that have them."""
    letters = build_letters(codes, max(LONGEST_CODE, max(map(len, codes))))
    for start in range(letters.shape[1] - SHORTEST_PART + 1):
        rows = np.flatnonzero(letters[:, start + SHORTEST_PART - 1])
        if not len(rows):
            return
        yield _hash_columns(letters[rows], range(start, start + SHORTEST_PART), _CODE_SEED), rows


@cache
def _choices(length: int, edits: int) -> tuple[tuple[int, ...], ...]:
    """The places that stay when up to `edits` of `length` letters are left out."""
    places = range(length)
    return tuple(kept for gone in range(edits + 1) for kept in itertools.combinations(places, length - gone))


def _hash_columns(letters: np.ndarray, columns: Iterable[int], seed: np.uint32) -> np.ndarray:
    """(n,) uint32: FNV-1a over some columns, a letter at a time."""
    hashes = np.full(len(letters), seed, np.uint32)
    for column in columns:
        hashes = (hashes ^ letters[:, column]) * _PRIME
    return (hashes ^ (hashes >> np.uint32(15))) * _PRIME


def _is_encodable(token: str) -> bool:
    """Whether a text is Unicode: a lone surrogate is not."""
    return token.isascii() or not any("\ud800" <= char <= "\udfff" for char in token)
