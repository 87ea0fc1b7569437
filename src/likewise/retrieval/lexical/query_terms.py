"""The words that a query looks for in a lexical index."""

from collections.abc import Iterable
from dataclasses import dataclass

from likewise.catalog.text import split_words
from likewise.retrieval.lexical.synonyms import Phrase, Synonyms
from likewise.retrieval.lexical.tokenizing import LONGEST_TEXT, lexical_tokens, whole_codes


@dataclass(frozen=True)
class QueryTerm:
    """A word of a query.

    Attributes:
        weight: of the text in which it stands, summed up; that of a word that should not be there is negative.
        parts: where it is a code that has parts, those that are words of the query, too: they will do where nothing is
            written as the whole code. Empty for other words.
        alternatives: phrases that count like the word itself where all of their words stand.
    """

    token: str
    weight: float
    parts: frozenset[str] = frozenset()
    alternatives: tuple[Phrase, ...] = ()


def parse_terms(texts: Iterable[tuple[str, float]], synonyms: Synonyms) -> list[QueryTerm]:
    """The words of some texts, each once; whole codes come before their parts.

    Args:
        texts: each with its weight.
    """
    weights: dict[str, float] = {}
    wholes: dict[str, frozenset[str]] = {}
    alternatives: dict[str, dict[Phrase, None]] = {}
    for text, weight in texts:
        for code, parts in whole_codes(text).items():
            wholes[code] = wholes.get(code, frozenset()) | parts
        for token in lexical_tokens(text):
            weights[token] = weights.get(token, 0.0) + weight
        if weight > 0 and synonyms.phrases:
            for phrase, others in synonyms.find(split_words(text[:LONGEST_TEXT])):
                for token in phrase:
                    alternatives.setdefault(token, {}).update(dict.fromkeys(others))
    terms = [
        QueryTerm(token, weight, wholes.get(token, frozenset()), tuple(alternatives.get(token, ())))
        for token, weight in weights.items()
    ]
    return sorted(terms, key=lambda term: not term.parts)
