"""Words of a query that the catalogue does not know, corrected to words that it knows.

A word is corrected where all of this holds:

* no item has it, and neither has a rule of the synonyms;
* it is no part of a token with a digit, has at least three letters, and is of a script with spaces between words;
* the model's tokenizer does not have it as one piece: it is then no word that the model could tell the meaning of;
* an item has a word that is one edit away (two, if that word has eight letters or more): a letter too many, too few,
  another one, or two that have changed places. The fewest edits count first, then the number of items.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

from likewise.retrieval.items import Correction
from likewise.retrieval.lexical.bm25 import BM25Index
from likewise.retrieval.lexical.synonyms import NO_SYNONYMS
from likewise.retrieval.lexical.tokenizing import find_plain_words
from likewise.retrieval.query import Query

_MOST_WORDS = 8  # unknown words of a query that are looked up; a text with more is no query with a typo
_LONGEST_TEXT = 1_000  # characters


@runtime_checkable
class WordModel(Protocol):
    """The part of a model that knows whole words."""

    def knows_word(self, word: str) -> bool:
        """Whether a word is one piece for the model's tokenizer."""


def correct_query(query: Query, words: Callable[[], BM25Index], model: object) -> tuple[Query, tuple[Correction, ...]]:
    """A query with its texts corrected, and what was corrected; as it is where it asks for none of it.

    Args:
        words: those of the index; called for a hybrid search only.
        model: of the index; the words that a `WordModel` knows stay as they are.
    """
    hybrid = query.hybrid
    if hybrid is None or not hybrid.correct:
        return query, ()
    index = words()
    synonyms = hybrid.synonyms or NO_SYNONYMS

    def is_meant(word: str) -> bool:
        return word in synonyms.words or (isinstance(model, WordModel) and model.knows_word(word))

    texts = [correct_text(term.value, index, is_meant) for term in query.texts]
    corrections = tuple(
        Correction(term.value, text) for term, text in zip(query.texts, texts, strict=True) if text != term.value
    )
    if not corrections:
        return query, ()
    terms = tuple(replace(term, value=text) for term, text in zip(query.texts, texts, strict=True))
    return replace(query, texts=terms), corrections


def correct_text(text: str, words: BM25Index, is_meant: Callable[[str], bool]) -> str:
    """A text whose unknown words are corrected; the text itself where there is nothing to correct.

    Args:
        is_meant: whether a word that no item has stays as it is.
    """
    if len(text) > _LONGEST_TEXT:
        return text
    plain = unicodedata.normalize("NFKC", text)
    unknown = [
        (start, end, word)
        for start, end, word in find_plain_words(plain)
        if not words.count_items(word) and not is_meant(word)
    ]
    pieces, last = [], 0
    for start, end, word in unknown[:_MOST_WORDS]:
        suggested = words.suggest(word)
        if suggested is not None:
            pieces += [plain[last:start], suggested]
            last = end
    return "".join([*pieces, plain[last:]]) if pieces else text
