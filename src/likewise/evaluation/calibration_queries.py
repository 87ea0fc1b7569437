"""Queries of every kind for items that a model has not seen, and their scores with and without answers.

The index holds these items and those that trained, as that of a run does: where an item trained, its vector lies apart
from most others, and where it did not, near to many; what is usual for one index says nothing of another. A query is
one of these:

* words: a logged query; where none was logged, an item's title, or a single word that some items have, as people type;
* a picture: that of an item. Where most items have others of the same identity, those are its answers, and the item
  itself is left out; otherwise the item itself is;
* words and picture together.

The title or picture that is asked is hidden from the answers, and from them alone: all other items are seen as an index
shows them. Answers are items that have not trained, and others that a query has are left out.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.identity import Identity
from likewise.evaluation.calibration import (
    CalibrationQueries,
    CalibrationScores,
    measure_queries,
)
from likewise.evaluation.task import RetrievalTask
from likewise.model.field_embeddings import FieldEmbeddings
from likewise.model.network import Network
from likewise.retrieval.lexical.tokenizing import find_plain_words, lexical_tokens
from likewise.retrieval.thresholds import RULES, RuleKind
from likewise.seeds import draw_sorted

CalibrationByKind = dict[RuleKind, CalibrationScores]

_MOST_QUERIES = 250  # of one origin
_SHORTEST_WORD = 3  # characters; shorter ones ask for little
_RARE = 0.1  # of the items may have a word that is asked for
_MOSTLY = 0.5  # of the pictures have another one of the same identity


@dataclass(frozen=True)
class CalibrationItems:
    """The items of an index, and what queries are made of.

    Attributes:
        embeddings: what each field's tower makes of them.
        unseen: (n,) which of them the model has not seen; queries ask for these.
        network: fuses fields, as it is now.
        identity: of the items.
        task: logged queries, or titles, and which of the items answer them.
        titles: of the items, None for those without.
        embed: (n, dim) unit vectors of texts as queries.
    """

    embeddings: FieldEmbeddings
    unseen: NDArray[np.bool_]
    network: Network
    identity: Identity
    task: RetrievalTask
    titles: Sequence[str | None]
    embed: Callable[[Sequence[str]], NDArray[np.float32]]

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields that any item has."""
        return tuple(field for field in self.embeddings.fields if self.embeddings.has_any([field]).any())

    def fuse(self, fields: Iterable[str]) -> NDArray[np.float32]:
        """(n, dim) the items, seen through some fields."""
        return self.embeddings.fuse(self.network, tuple(fields))


@dataclass(frozen=True)
class _Asked:
    """Queries of one kind, and the fields that their answers show; None where they show what all items do."""

    queries: CalibrationQueries
    answer_fields: tuple[str, ...] | None


def score_queries(items: CalibrationItems, rng: np.random.Generator) -> CalibrationByKind:
    """Ask for the unseen items in every way that their catalogue allows.

    Args:
        rng: draws up to 250 queries of each origin, and the sample over which scores are summarised.
    """
    by_words = [asked for asked in (_ask_by_texts(items, rng), _ask_by_single_words(items, rng)) if asked is not None]
    by_kind: dict[RuleKind, list[_Asked]] = {"words": by_words}
    if "image" in items.embeddings.fields:
        asked = {kind: _ask_by_pictures(items, rng, with_titles=kind == "mixed") for kind in RULES[1:]}
        by_kind |= {kind: [queries] for kind, queries in asked.items() if queries is not None}
    whole, scores = items.fuse(items.fields), CalibrationByKind()
    for kind, queries in by_kind.items():
        if queries:
            scores[kind] = CalibrationScores.join(
                [measure_queries(each.queries, whole, rng, answers=_fuse_answers(items, each)) for each in queries]
            )
    return scores


def _fuse_answers(items: CalibrationItems, asked: _Asked) -> NDArray[np.float32] | None:
    return None if asked.answer_fields is None else items.fuse(asked.answer_fields)


def join_scores(folds: Iterable[CalibrationByKind]) -> CalibrationByKind:
    """The queries of all folds, by kind."""
    every = list(folds)
    known = [kind for kind in RULES if any(kind in scores for scores in every)]
    return {kind: CalibrationScores.join([scores[kind] for scores in every if kind in scores]) for kind in known}


def _ask_by_texts(items: CalibrationItems, rng: np.random.Generator) -> _Asked | None:
    """Logged queries, or titles."""
    task = items.task
    answered = [place for place, rows in enumerate(task.relevant) if items.unseen[rows].any()]
    asked = draw_sorted(np.array(answered, np.int64), _MOST_QUERIES, rng).tolist()
    texts, relevant = [str(task.texts[place]) for place in asked], [task.relevant[place] for place in asked]
    return _hide(items, _ask(items, texts, relevant), frozenset(items.fields) - set(task.fields))


def _ask_by_single_words(items: CalibrationItems, rng: np.random.Generator) -> _Asked | None:
    """Words that some items have, and most have not; none where queries were logged."""
    documents = items.task.documents([field for field in items.fields if items.network.reads_words(field)])
    if documents is None or set(items.fields) <= set(items.task.fields):
        return None
    words: dict[str, str] = {}
    for place in np.flatnonzero(items.unseen).tolist():
        text = documents[place]
        words.update((token, text[start:end]) for start, end, token in find_plain_words(text))
    found: dict[str, list[int]] = {token: [] for token in words if len(token) >= _SHORTEST_WORD}
    for place, text in enumerate(documents):
        for token in found.keys() & lexical_tokens(text):
            found[token].append(place)
    rare = [token for token, places in found.items() if len(places) <= _RARE * len(documents)]
    tokens = [rare[place] for place in draw_sorted(np.arange(len(rare)), _MOST_QUERIES, rng).tolist()]
    relevant = [np.array(found[token], np.int64) for token in tokens]
    return _hide(items, _ask(items, [words[token] for token in tokens], relevant), frozenset())


def _ask(items: CalibrationItems, texts: list[str], relevant: list[np.ndarray]) -> CalibrationQueries:
    """Queries by text; of their answers those count that the model has not seen, and others are no candidates."""
    return CalibrationQueries(
        items.embed(texts) if texts else np.empty((0, 0), np.float32),
        [rows[items.unseen[rows]] for rows in relevant],
        [rows[~items.unseen[rows]] for rows in relevant],
        range(len(texts)),
    )


def _ask_by_pictures(items: CalibrationItems, rng: np.random.Generator, *, with_titles: bool) -> _Asked | None:
    """Queries by the items' pictures, and by their titles as well."""
    things, pictures = items.identity.thing, items.identity.picture
    places, has_others = _choose_pictured(items)
    if with_titles:
        places = np.array([place for place in places.tolist() if items.titles[place] is not None], np.int64)
    places = draw_sorted(places, _MOST_QUERIES, rng)
    vectors = np.asarray(items.embeddings.field("image")[places], np.float32)
    if with_titles and len(places):
        vectors = vectors + items.embed([str(items.titles[place]) for place in places.tolist()])
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    relevant, exclude = [], []
    for place in places.tolist():
        same = np.flatnonzero(things == things[place]) if things[place] >= 0 else np.array([place])
        copies = np.flatnonzero(pictures == pictures[place])
        if not has_others:
            copies = np.setdiff1d(copies, same)
        relevant.append(np.setdiff1d(same[items.unseen[same]], copies))
        exclude.append(np.union1d(same[~items.unseen[same]], copies))
    groups = np.where(things >= 0, things, things.max(initial=-1) + 1 + np.arange(len(things)))[places].tolist()
    hidden = frozenset(name for name, hide in (("image", not has_others), ("title", with_titles)) if hide)
    return _hide(items, CalibrationQueries(vectors, relevant, exclude, groups), hidden)


def _hide(items: CalibrationItems, queries: CalibrationQueries, hidden: frozenset[str]) -> _Asked | None:
    """Queries whose answers do not show some fields; None where there is no query, or nothing left of the answers."""
    left = tuple(field for field in items.fields if field not in hidden)
    if not len(queries) or not left:
        return None
    return _Asked(queries, left if left != items.fields else None)


def _choose_pictured(items: CalibrationItems) -> tuple[np.ndarray, bool]:
    """The positions of the items whose pictures are queries, and whether other pictures are their answers."""
    things, pictures = items.identity.thing, items.identity.picture
    pictured = items.unseen & ~np.isnan(items.embeddings.field("image")[:, 0])
    known = pictured & (things >= 0)
    different = np.unique(np.stack([things[known], pictures[known]]), axis=1)
    distinct, counts = np.unique(different[0], return_counts=True)
    with_others = pictured & np.isin(things, distinct[counts > 1])
    has_others = bool(with_others.sum() > _MOSTLY * pictured.sum())
    return np.flatnonzero(with_others if has_others else pictured), has_others
