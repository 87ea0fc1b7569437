"""What single words add to the cosine of a query with a hit: the query's words, and those of the item's texts.

The share of a word is what the cosine loses without it. Words depend on each other, so unlike the shares of fields
these do not add up to the score. In a hybrid search they are shares of the cosine, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from likewise.catalog.text import find_word_spans
from likewise.retrieval.items import Explanation, QueryWord, TextWord, WordsOfText
from likewise.retrieval.occluding import OccludingModel, check_occluding
from likewise.retrieval.query import Query, Term
from likewise.retrieval.query_vector import QueryModel, QueryParts
from likewise.stores.base import Record, Store

MOST_QUERY_WORDS = 32
_NOTHING = ""  # the text of a query of which nothing is left; it has no direction
MOST_WORDS = 256  # of one text of an item


@dataclass(frozen=True)
class QueryWithout:
    """The vectors of a query without each of its words.

    Attributes:
        words: the first ones of its texts, wanted and not wanted, in order.
        vectors: (words, dim) of unit norm.
    """

    words: tuple[str, ...]
    vectors: np.ndarray

    @classmethod
    def encode(cls, query: Query, parts: QueryParts, model: QueryModel) -> "QueryWithout":
        """Encode the texts without each of their words, all at once.

        Args:
            parts: the encoded query.
        """
        variants = list(_leave_out(query))[:MOST_QUERY_WORDS]
        known = {_NOTHING: np.zeros(parts.dim, np.float32)} | dict(parts.texts)
        unknown = {term.value for _, one in variants for term in (*one.texts, *one.minus)} - known.keys()
        if unknown:
            texts = sorted(unknown)
            known |= dict(zip(texts, model.encode_queries(texts), strict=True))
        extended = replace(parts, texts=known)
        vectors = [extended.mix(variant)[0] for _, variant in variants]
        return cls(tuple(word for word, _ in variants), np.array(vectors, np.float32).reshape(-1, parts.dim))

    def measure(self, item: np.ndarray, query: np.ndarray) -> tuple[QueryWord, ...]:
        """The shares of the query's words in its cosine with an item; both are (dim,) of unit norm."""
        losses = (query - self.vectors) @ item
        return tuple(QueryWord(word, float(loss)) for word, loss in zip(self.words, losses, strict=True))


def explain_words(
    query: Query,
    parts: QueryParts,
    vector: np.ndarray,
    model: object,
    store: Store,
    explained: Mapping[str, Explanation],
) -> dict[str, Explanation]:
    """Explanations of hits, by id, with the shares of words.

    Args:
        parts: the encoded query, and `vector` (dim,) what they make.
        model: of the index.
        explained: the explanations without words.

    Raises:
        UserError: the model cannot say what single words add.
    """
    occluding = check_occluding(model)
    fields = store.schema.field_vectors
    without = QueryWithout.encode(query, parts, cast(QueryModel, model))
    found = dict(explained)
    for record in store.fetch(list(explained), field_vectors=True):
        if record is None or not record.field_vectors:
            continue
        vectors = [record.field_vectors.get(name, np.full(parts.dim, np.nan, np.float32)) for name in fields]
        (item,) = occluding.fuse_fields(np.array([vectors], np.float32), fields)
        found[record.id] = replace(
            explained[record.id],
            query_words=without.measure(item, vector),
            words=measure_item_words(occluding, record, vector, fields),
        )
    return found


def measure_item_words(
    model: OccludingModel, record: Record, query: np.ndarray, fields: Sequence[str]
) -> tuple[WordsOfText, ...]:
    """The words of an item's texts and their shares.

    Args:
        record: with its columns and its field vectors.
        query: (dim,) of unit norm.
        fields: those that the index keeps vectors of.
    """
    vectors: Mapping[str, np.ndarray] = record.field_vectors or {}
    measured = []
    for field in fields:
        cell = record.fields.get(field)
        if field not in model.prose_fields or field not in vectors or cell is None or not str(cell).strip():
            continue
        text = str(cell)
        ahead = len(text) - len(text.lstrip())
        spans = find_word_spans(text.strip(), MOST_WORDS)
        losses = model.measure_words(field, text.strip(), spans, query, vectors)
        words = tuple(
            TextWord(start + ahead, end + ahead, float(loss)) for (start, end), loss in zip(spans, losses, strict=True)
        )
        measured.append(WordsOfText(field, text, words))
    return tuple(measured)


def _leave_out(query: Query) -> Iterator[tuple[str, Query]]:
    """Each word of a query's texts, and the query without it; without its last word, a text is no part of it."""
    for place, term in enumerate(query.texts):
        for word, rest in _shorten(term):
            texts = (*query.texts[:place], *rest, *query.texts[place + 1 :])
            if texts or query.images or query.sounds or query.likes:
                yield word, replace(query, texts=texts, hybrid=None)
            else:
                yield word, replace(query, texts=(Term(_NOTHING, 1.0),), hybrid=None)
    for place, term in enumerate(query.minus):
        for word, rest in _shorten(term):
            yield word, replace(query, minus=(*query.minus[:place], *rest, *query.minus[place + 1 :]), hybrid=None)


def _shorten(term: Term[str]) -> Iterator[tuple[str, tuple[Term[str], ...]]]:
    for start, end in find_word_spans(term.value, MOST_QUERY_WORDS):
        rest = " ".join((term.value[:start] + " " + term.value[end:]).split())
        yield term.value[start:end], (replace(term, value=rest),) if any(map(str.isalnum, rest)) else ()
