"""Which vectors of a step are the same thing, and which are too much alike to be told apart, as integer codes.

Two vectors that share a code of one kind in SAME are the same thing: an anchor asks by the identities that its kind of
view looks at, and an item answers by all that it has. Two that share one of a kind in RELATED are neither the same nor
negatives of each other. (See contrast.py for how losses use them.)
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from likewise.catalog.identity import Codes
from likewise.training.batches import Items, Plan, Rows, TrainingSet
from likewise.training.contrast import Side
from likewise.training.views import KINDS, Pairs

_NOTHING = -1
_TITLE, _SENTENCE, _PICTURE, _QUERY = range(len(KINDS))
# "prototype": a title that stands for all its rows answers their pictures, and items that do not show it.
_SAME = ("row", "named", "title", "description", "picture", "query", "prototype")
_IDENTITIES = ("named", "title", "description", "picture", "component")
# "words": text queries pass title negatives over, since both are words that ask.
_RELATED = (*_IDENTITIES, "words")
_QUERIES_OF_A_ROW = 16  # that are known to fit it besides the one that it was drawn with


@dataclass(frozen=True)
class SideCodes:
    """The codes of n vectors: same (n, kinds) and related (n, other kinds), int64."""

    same: Codes
    related: Codes

    def of(self, vectors: Tensor) -> Side:
        """The vectors (n, dim) with these codes, on their device."""
        return Side(vectors, *(torch.from_numpy(table).to(vectors.device) for table in (self.same, self.related)))


def anchor_codes(data: TrainingSet, plan: Plan) -> SideCodes:
    """Of the anchors of a plan's pairs."""
    rows, pairs, identity = plan.row, plan.pairs, data.identity
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
    queries = _where(is_query, pairs.query)[:, None].repeat(_widest(data), axis=1)
    return SideCodes(same, _related(data, rows, queries, words=_where(~is_picture, np.zeros_like(rows))))


def item_codes(data: TrainingSet, plan: Plan) -> SideCodes:
    """Of the items of a plan's pairs."""
    rows, pairs, identity = plan.row, plan.pairs, data.identity
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
    return SideCodes(same, _related_items(data, rows, pairs))


def further_codes(data: TrainingSet, plan: Plan) -> SideCodes:
    """Of the further items, which answer nothing."""
    rows = plan.further.row
    return SideCodes(_table(_SAME, len(rows)), _related_items(data, rows, plan.further))


def title_negative_codes(data: TrainingSet, plan: Plan) -> SideCodes:
    """Of the titles that pictures and items are told apart from."""
    titles = plan.title_negatives[1]
    related = _table(_RELATED, len(titles), title=titles, words=np.zeros_like(titles))
    queries = np.full((len(titles), _widest(data)), _NOTHING)
    return SideCodes(_table(_SAME, len(titles), prototype=titles), np.concatenate([related, queries], axis=1))


def _related(data: TrainingSet, rows: Rows, queries: Codes, **columns: Codes) -> Codes:
    """The codes of rows by their identities, but for the columns that are given; queries take columns of their own."""
    found = {name: getattr(data.identity, name)[rows] for name in _IDENTITIES} | columns
    return np.concatenate([_table(_RELATED, len(rows), **found), queries], axis=1)


def _related_items(data: TrainingSet, rows: Rows, shown: Pairs | Items) -> Codes:
    """Many things may share a description, such as "Birds": only an item that shows nothing else is any of them."""
    described = _where((shown.title < 0) & ~shown.picture, data.identity.description[rows])
    return _related(data, rows, data.texts.asked.all_of(rows, _QUERIES_OF_A_ROW), description=described)


def _table(names: tuple[str, ...], count: int, **columns: Codes) -> Codes:
    """(count, names): the columns in their places, nothing where there is none."""
    table = np.full((count, len(names)), _NOTHING)
    for name, codes in columns.items():
        table[:, names.index(name)] = codes
    return table


def _where(condition: np.ndarray, codes: Codes) -> Codes:
    return np.where(condition, codes, _NOTHING)


def _widest(data: TrainingSet) -> int:
    return min(data.texts.asked.widest, _QUERIES_OF_A_ROW)
