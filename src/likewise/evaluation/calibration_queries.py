"""Queries of every kind over items that a model has not seen, and their scores with and without answers.

The index holds such items alone: those that trained answer more sharply, and an answer that the model has not seen
would seem worse than others that it has. A query is one of these:

* words: a logged query, or an item's title, which is hidden from all items then;
* a picture: that of an item. Where most items have others of the same identity, those are its answers, and the item
  itself is left out; otherwise the item itself is, and all pictures are hidden;
* words and picture together, with both hidden in the same way;
* the words in hybrid search.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.identity import Identity
from likewise.evaluation.calibration import CalibrationScores, measure_hybrid_queries, measure_queries
from likewise.evaluation.task import RetrievalTask
from likewise.model.field_embeddings import FieldEmbeddings
from likewise.model.network import Network
from likewise.retrieval.thresholds import KINDS, QueryKind

CalibrationByKind = dict[QueryKind, CalibrationScores]

_MOST_QUERIES = 1_000  # of one kind
_MOSTLY = 0.5  # of the pictures have another one of the same identity
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class HeldOutItems:
    """Items that a model has not seen, and what queries are made of.

    Attributes:
        embeddings: what each field's tower makes of them.
        network: fuses fields, as it is now.
        identity: of the items.
        task: logged queries, or titles, and which of the items answer them.
        titles: of the items, None for those without.
        embed: (n, dim) unit vectors of texts as queries.
    """

    embeddings: FieldEmbeddings
    network: Network
    identity: Identity
    task: RetrievalTask
    titles: Sequence[str | None]
    embed: Callable[[Sequence[str]], NDArray[np.float32]]

    def shown(self, fields: Iterable[str]) -> tuple[str, ...]:
        """Those of some fields that any item has."""
        return tuple(field for field in fields if self.embeddings.has_any([field]).any())


@dataclass(frozen=True)
class _Queries:
    """Queries of one kind: their vectors (q, dim), and per query the positions of its answers and of no candidates.

    Attributes:
        groups: of the queries; those of one group ask for the same thing.
        fields: through which items are seen.
        texts: of the queries, for hybrid search.
    """

    vectors: NDArray[np.float32]
    relevant: Sequence[np.ndarray]
    exclude: Sequence[np.ndarray]
    groups: Sequence[int]
    fields: tuple[str, ...]
    texts: Sequence[str] = ()


def score_queries(held_out: HeldOutItems, rng: np.random.Generator) -> CalibrationByKind:
    """Ask for held-out items in every way that their catalogue allows.

    Args:
        rng: draws up to 1,000 queries of each kind, and the sample over which scores are summarised.
    """
    words = _ask_by_words(held_out, rng)
    asked: dict[QueryKind, _Queries | None] = {"words": words}
    if "image" in held_out.embeddings.fields:
        asked["pictures"] = _ask_by_pictures(held_out, rng, with_titles=False)
        asked["mixed"] = _ask_by_pictures(held_out, rng, with_titles=True)
    scores = CalibrationByKind()
    for kind, queries in asked.items():
        if queries is not None:
            items = held_out.embeddings.fuse(held_out.network, queries.fields)
            scores[kind] = measure_queries(
                queries.vectors, items, queries.relevant, queries.exclude, queries.groups, rng
            )
    documents = None if words is None else replace(held_out.task, fields=words.fields).documents(words.fields)
    if words is not None and documents is not None:
        items = held_out.embeddings.fuse(held_out.network, words.fields)
        scores["hybrid"] = measure_hybrid_queries(words.vectors, words.texts, items, documents, words.relevant, rng)
    return scores


def join_scores(folds: Iterable[CalibrationByKind]) -> CalibrationByKind:
    """The queries of all folds, by kind."""
    every = list(folds)
    known = [kind for kind in KINDS if any(kind in scores for scores in every)]
    return {kind: CalibrationScores.join([scores[kind] for scores in every if kind in scores]) for kind in known}


def _ask_by_words(held_out: HeldOutItems, rng: np.random.Generator) -> _Queries | None:
    task = held_out.task
    asked = _draw(np.array([place for place, rows in enumerate(task.relevant) if len(rows)], np.int64), rng).tolist()
    texts, fields = [str(task.texts[place]) for place in asked], held_out.shown(task.fields)
    if not texts or not fields:
        return None
    relevant = [task.relevant[place] for place in asked]
    return _Queries(held_out.embed(texts), relevant, [_NONE] * len(texts), range(len(texts)), fields, texts)


def _ask_by_pictures(held_out: HeldOutItems, rng: np.random.Generator, *, with_titles: bool) -> _Queries | None:
    """Queries by the items' pictures, and by their titles as well."""
    things, pictures = held_out.identity.thing, held_out.identity.picture
    places, has_others = _choose_pictured(held_out)
    if with_titles:
        places = np.array([place for place in places.tolist() if held_out.titles[place] is not None], np.int64)
    places = _draw(places, rng)
    hidden = {name for name, hide in (("image", not has_others), ("title", with_titles)) if hide}
    fields = held_out.shown(field for field in held_out.embeddings.fields if field not in hidden)
    if not fields or not len(places):
        return None
    vectors = np.asarray(held_out.embeddings.field("image")[places], np.float32)
    if with_titles:
        vectors = vectors + held_out.embed([str(held_out.titles[place]) for place in places.tolist()])
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    relevant, exclude = [], []
    for place in places.tolist():
        same = np.flatnonzero(things == things[place]) if things[place] >= 0 else np.array([place])
        copies = np.flatnonzero(pictures == pictures[place]) if has_others else _NONE
        relevant.append(np.setdiff1d(same, copies))
        exclude.append(copies)
    groups = np.where(things >= 0, things, things.max(initial=-1) + 1 + np.arange(len(things)))[places].tolist()
    return _Queries(vectors, relevant, exclude, groups, fields)


def _choose_pictured(held_out: HeldOutItems) -> tuple[np.ndarray, bool]:
    """The positions of the items whose pictures are queries, and whether other pictures are their answers."""
    things, pictures = held_out.identity.thing, held_out.identity.picture
    pictured = ~np.isnan(held_out.embeddings.field("image")[:, 0])
    known = pictured & (things >= 0)
    different = np.unique(np.stack([things[known], pictures[known]]), axis=1)
    distinct, counts = np.unique(different[0], return_counts=True)
    with_others = pictured & np.isin(things, distinct[counts > 1])
    has_others = bool(with_others.sum() > _MOSTLY * pictured.sum())
    return np.flatnonzero(with_others if has_others else pictured), has_others


def _draw(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return places if len(places) <= _MOST_QUERIES else np.sort(rng.choice(places, _MOST_QUERIES, replace=False))
