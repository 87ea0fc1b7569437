"""How well a tokenizer knows the language of a text: words of a language that it has not seen are spelt out.

A tokenizer learns its pieces from the texts that its model learned from. Common words of these languages are one
piece, or few; words of other languages fall into pieces of two letters, into single letters or bytes, or are unknown
altogether.
"""

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

_SHORT_WORD = 4  # letters; shorter words are short pieces in any language
_LETTERS_PER_PIECE = 3.0  # English in an English model has 4 to 5, other languages in it below 3
_SYLLABLES_PER_PIECE = 1.0  # Chinese, Japanese and Korean: a piece of one sign may be a word
_SIGNS = ((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


def unknown_shares(backend: Tokenizer, unknown_id: int | None, texts: Sequence[str]) -> NDArray[np.float32]:
    """For every text the share of its letters and symbols in words that the tokenizer does not know: (n,) from 0 to 1.

    Args:
        backend: gives offsets into the text, as all tokenizers of the library `tokenizers` do.
        unknown_id: the piece that stands for what has no piece.
        texts: n texts; what lies beyond the tokenizer's maximal length is not looked at.
    """
    shares = np.zeros(len(texts), np.float32)
    for number, (text, encoding) in enumerate(zip(texts, backend.encode_batch(list(texts)), strict=True)):
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        is_unknown = np.array(encoding.ids) == (-1 if unknown_id is None else unknown_id)
        letters = unknown = 0
        for start, end in _words(text):
            covering = (offsets[:, 0] < end) & (offsets[:, 1] > start) & (offsets[:, 0] < offsets[:, 1])
            if not covering.any():
                continue
            letters += end - start
            spelt = _is_spelt_out(text[start:end], int(covering.sum()))
            unknown += (end - start) * bool(spelt or (covering & is_unknown).any())
        shares[number] = unknown / max(letters, 1)
    return shares


def _is_spelt_out(word: str, pieces: int) -> bool:
    if any(first <= ord(word[0]) <= last for first, last in _SIGNS):
        return len(word) / pieces < _SYLLABLES_PER_PIECE
    return len(word) >= _SHORT_WORD and len(word) / pieces < _LETTERS_PER_PIECE


def _words(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every run of letters and the marks on them, and of symbols such as emoji."""
    start = None
    for place, sign in enumerate(text + " "):
        category = unicodedata.category(sign)
        is_letter = category[0] in "LM" or category in ("So", "Sk", "Cf")
        if is_letter and start is None:
            start = place
        elif not is_letter and start is not None:
            yield start, place
            start = None
