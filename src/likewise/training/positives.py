"""Positives: which embeddings of a batch match, and which are too alike to be negatives, as integer codes.

Two vectors that share a code of one kind in SAME are positives: an anchor carries the identities that its kind of
view looks at, and an item answers by all that it has. Two that share one of a kind in RELATED are neither the same nor
negatives of each other. (See losses.py for how losses use them.)
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from likewise.catalog.identity import Codes
from likewise.evaluation.judgments.query_log import QueryLog
from likewise.training.batches import KINDS, Batch, ItemViews, Rows, TrainingPairs, TrainingSet
from likewise.training.losses import CodedEmbeddings

_NOTHING = -1
_TITLE, _SENTENCE, _PICTURE, _QUERY = range(len(KINDS))
# "prototype": a title that stands for all its rows answers their pictures, and items that do not show it.
_SAME = ("row", "named", "title", "description", "picture", "query", "prototype")
_IDENTITIES = ("named", "title", "description", "picture", "component")
# "words": text queries pass title negatives over, since both are words that ask.
_RELATED = (*_IDENTITIES, "words")
_QUERIES_OF_A_ROW = 16  # that are known to fit it besides the one that it was drawn with


@dataclass(frozen=True)
class IdentityCodes:
    """The codes of n vectors: same (n, kinds) and related (n, other kinds), int64."""

    same: Codes
    related: Codes

    def attach(self, vectors: Tensor) -> CodedEmbeddings:
        """The vectors (n, dim) with these codes, on their device."""
        return CodedEmbeddings(
            vectors, *(torch.from_numpy(table).to(vectors.device) for table in (self.same, self.related))
        )


def code_anchors(data: TrainingSet, batch: Batch) -> IdentityCodes:
    """Codes of the anchors of a batch's pairs."""
    rows, pairs, identity = batch.row, batch.pairs, data.identity
    is_picture, is_query = pairs.kind == _PICTURE, pairs.kind == _QUERY
    same = _table(
        _SAME,
        len(rows),
        row=rows,
        named=identity.named[rows],
        title=_where((pairs.kind == _TITLE) | is_picture, identity.title[rows]),
        description=_where(pairs.kind == _SENTENCE, identity.description[rows]),
        picture=_where(is_picture, identity.picture[rows]),
        query=_where(is_query, pairs.query),
        prototype=_where(is_picture, identity.title[rows]),
    )
    queries = _where(is_query, pairs.query)[:, None].repeat(_most_queries(data), axis=1)
    return IdentityCodes(same, _related(data, rows, queries, words=_where(~is_picture, np.zeros_like(rows))))


def code_items(data: TrainingSet, batch: Batch) -> IdentityCodes:
    """Codes of the items of a batch's pairs."""
    rows, pairs, identity = batch.row, batch.pairs, data.identity
    same = _table(
        _SAME,
        len(rows),
        row=rows,
        named=identity.named[rows],
        title=identity.title[rows],
        description=identity.description[rows],
        picture=identity.picture[rows],
        query=pairs.row_query,
        prototype=_where(pairs.title < 0, identity.title[rows]),
    )
    return IdentityCodes(same, _related_items(data, rows, pairs))


def code_extra_negatives(data: TrainingSet, batch: Batch) -> IdentityCodes:
    """Codes of the extra negatives, which answer nothing."""
    rows = batch.extra_negatives.row
    return IdentityCodes(_table(_SAME, len(rows)), _related_items(data, rows, batch.extra_negatives))


def code_title_negatives(data: TrainingSet, batch: Batch) -> IdentityCodes:
    """Codes of the titles that are negatives of pictures and items."""
    titles = batch.title_negatives[1]
    related = _table(_RELATED, len(titles), title=titles, words=np.zeros_like(titles))
    queries = np.full((len(titles), _most_queries(data)), _NOTHING)
    return IdentityCodes(_table(_SAME, len(titles), prototype=titles), np.concatenate([related, queries], axis=1))


def _related(data: TrainingSet, rows: Rows, queries: Codes, **columns: Codes) -> Codes:
    """The codes of rows by their identities, but for the columns that are given; queries take columns of their own."""
    found = {name: getattr(data.identity, name)[rows] for name in _IDENTITIES} | columns
    return np.concatenate([_table(_RELATED, len(rows), **found), queries], axis=1)


def _related_items(data: TrainingSet, rows: Rows, shown: TrainingPairs | ItemViews) -> Codes:
    """Many things may share a description, such as "Birds": only an item that shows nothing else is any of them."""
    described = _where((shown.title < 0) & ~shown.picture & ~shown.shows_further, data.identity.description[rows])
    return _related(data, rows, list_queries(data.texts.query_log, rows, _most_queries(data)), description=described)


def _table(names: tuple[str, ...], count: int, **columns: Codes) -> Codes:
    """(count, names): the columns in their places, nothing where there is none."""
    table = np.full((count, len(names)), _NOTHING)
    for name, codes in columns.items():
        table[:, names.index(name)] = codes
    return table


def _where(condition: np.ndarray, codes: Codes) -> Codes:
    return np.where(condition, codes, _NOTHING)


def _most_queries(data: TrainingSet) -> int:
    return min(data.most_queries, _QUERIES_OF_A_ROW)


def list_queries(log: QueryLog, rows: Rows, most: int) -> Codes:
    """(rows, most) the queries of each row, those of the greatest weight, −1 where there are fewer."""
    table = np.full((len(rows), most), -1)
    for place, row in enumerate(rows.tolist() if table.size else []):
        entries = slice(log.starts[row], log.starts[row + 1])
        best = np.argsort(-log.weight[entries], kind="stable")[:most]
        table[place, : len(best)] = log.text[entries][best]
    return table
