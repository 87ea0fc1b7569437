"""Batches: the pairs and extra negatives of one step, and what each tower has to encode for them.

Every row gives up to four pairs a step, each with its own idea of identity:

* its title as a query, against the item without its title;
* a sentence of its description as a query, against the item without that sentence;
* its picture, against the item's texts;
* a query that the row answers, by the catalogue's column `query` or a query log, against the whole item.

The item side of a pair shows all its fields in half of the draws, else a random part of them, so that every
presence pattern is trained.

A batch is drawn from row numbers and random numbers alone, before anything is encoded. So every process of a
distributed training draws the same batch and encodes its own share of it, and a step whose activations do not fit into
memory can be encoded part by part, twice, with the same crops and the same dropout.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.identity import Codes, Identity
from likewise.config import OWN_FIELDS, TrainConfig
from likewise.evaluation.judgments.query_log import QueryLog, Weights
from likewise.seeds import Stream, random_stream
from likewise.training.views import Bools, RowTexts

Rows = NDArray[np.int64]

KINDS = ("title", "sentence", "picture", "query")
_SHOW_ALL = 0.5
_MASK_COPIES = 0.5


@dataclass(frozen=True)
class TrainingSet:
    """The rows that train: their texts, identities and pictures."""

    rows: Rows
    texts: RowTexts
    identity: Identity
    pictured: Bools  # (all rows,)
    title_negatives: tuple[Codes, Codes]  # text indices and title codes of the distinct titles
    things: Codes  # (all rows,) what each row is (`Identity.thing`)
    graded: bool  # whether some answers to logged queries are better than others
    most_queries: int  # that any row answers

    @classmethod
    def build(cls, rows: Rows, texts: RowTexts, identity: Identity, pictured: Bools) -> "TrainingSet":
        """Collect what training rows show; rows that show nothing in any pair stay, and give no pair."""
        titles = list_titles(texts, identity.title, rows)
        log = texts.query_log
        return cls(rows, texts, identity, pictured, titles, identity.thing, log.graded, log.most_queries)

    def has_field(self, field: str, rows: Rows) -> Bools:
        """(n,) bool: which of some rows have a field."""
        present: Bools = self.pictured[rows] if field == "image" else self.texts.field(field)[rows] >= 0
        return present

    def has_pairs(self) -> bool:
        """Whether any row gives a pair at all."""
        return len(draw_pairs(self.texts, self.rows, self.pictured[self.rows], np.random.default_rng(0)).kind) > 0


@dataclass(frozen=True)
class TrainingPairs:
    """The pairs of one step; every array but `further` is (pairs,).

    Attributes:
        kind: index into KINDS.
        row: position in the batch of the row that the pair was made of.
        query: text index of the anchor, −1 where the anchor is the row's picture.
        title, description: text indices that the item side shows, −1 where it does not.
        picture: whether the item side shows the picture.
        further: (pairs, further fields) what the item side shows of other fields, −1 where it does not.
        row_query: the query that the row was drawn with, −1 for none. weight: how well the row answers that.
    """

    kind: NDArray[np.int64]
    row: NDArray[np.int64]
    query: Codes
    title: Codes
    description: Codes
    picture: Bools
    further: Codes
    row_query: Codes
    weight: Weights

    @property
    def shows_further(self) -> Bools:
        """(pairs,) whether the item side shows anything of other fields."""
        return np.asarray((self.further >= 0).any(axis=1))

    def __getitem__(self, places: NDArray[np.int64]) -> "TrainingPairs":
        return TrainingPairs(*(getattr(self, name)[places] for name in self.__dataclass_fields__))


def draw_pairs(
    texts: RowTexts,
    rows: NDArray[np.int64],
    pictured: Bools,
    rng: np.random.Generator,
    kinds: Collection[str] = KINDS,
) -> TrainingPairs:
    """All pairs of a batch.

    Args:
        texts: of the whole catalogue.
        rows: (batch,) row numbers.
        pictured: (batch,) whether the row has a usable picture.
        rng: decides what each item side shows.
        kinds: of `KINDS`, which are drawn.
    """
    title, description, further = texts.title[rows], texts.description[rows], _show_further(texts, rows)
    none = np.full(len(rows), -1)
    asked, weight = _draw_queries(texts.query_log, rows, rng)
    hidden_copies = np.where(rng.random(len(rows)) < _MASK_COPIES, texts.masked[rows], description)
    yes, no = pictured, np.zeros(len(rows), bool)
    candidates = [
        (texts.title[rows], none, hidden_copies, yes),
        (texts.sentence[rows], title, texts.remainder[rows], yes),
        (none, title, description, no),
        (asked, title, description, yes),
    ]
    drawn = []
    for kind, (query, shown_title, shown_description, picture) in enumerate(candidates):
        if KINDS[kind] not in kinds:
            continue
        anchored = pictured if KINDS[kind] == "picture" else query >= 0
        shown = np.column_stack([shown_title >= 0, shown_description >= 0, picture, further >= 0])
        keep = np.flatnonzero(anchored & shown.any(axis=1))
        shown = drop_fields(shown[keep], rng)
        drawn.append(
            TrainingPairs(
                np.full(len(keep), kind),
                keep,
                query[keep],
                np.where(shown[:, 0], shown_title[keep], -1),
                np.where(shown[:, 1], shown_description[keep], -1),
                shown[:, 2],
                np.where(shown[:, 3:], further[keep], -1),
                asked[keep],
                weight[keep],
            )
        )
    names = TrainingPairs.__dataclass_fields__
    return TrainingPairs(*(np.concatenate([getattr(pairs, name) for pairs in drawn]) for name in names))


def drop_fields(present: Bools, rng: np.random.Generator) -> Bools:
    """A random non-empty part of the present fields of each row (n, fields); all of them in half of the rows."""
    scores = np.where(present, rng.random(present.shape), -1.0)
    count = present.sum(axis=1)
    keep = np.where(rng.random(len(present)) < _SHOW_ALL, count, 1 + (rng.random(len(present)) * count).astype(int))
    keep = np.minimum(keep, count)
    rank = (-scores).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return present & (rank < keep[:, None])


def list_titles(texts: RowTexts, title_codes: Codes, rows: NDArray[np.int64]) -> tuple[Codes, Codes]:
    """One text index and one identity code for every distinct title of `rows`."""
    known = rows[texts.title[rows] >= 0]
    found, first = np.unique(title_codes[known], return_index=True)
    return texts.title[known[first]], found


def _draw_queries(log: QueryLog, rows: Rows, rng: np.random.Generator) -> tuple[Codes, Weights]:
    """One query of each row at random, and its weight; −1 and 1 for rows without any."""
    count = log.starts[rows + 1] - log.starts[rows]
    entry = log.starts[rows] + (rng.random(len(rows)) * count).astype(np.int64)
    known = count > 0
    text, weight = np.full(len(rows), -1), np.ones(len(rows))
    text[known], weight[known] = log.text[entry[known]], log.weight[entry[known]]
    return text, weight


@dataclass(frozen=True)
class ItemViews:
    """Items as they are shown: text indices, −1 where a text is hidden, and whether the picture is seen; each (n,).

    `further` is what is shown of other fields, by field.
    """

    row: Rows
    title: Codes
    description: Codes
    picture: Bools
    further: Mapping[str, Codes] = dataclasses.field(default_factory=dict)

    def __getitem__(self, places: slice) -> "ItemViews":
        further = {field: codes[places] for field, codes in self.further.items()}
        return ItemViews(self.row[places], self.title[places], self.description[places], self.picture[places], further)

    @property
    def shows_further(self) -> Bools:
        """(n,) whether anything of other fields is shown."""
        return np.any([np.zeros(len(self.row), bool), *(codes >= 0 for codes in self.further.values())], axis=0)

    def values(self, field: str) -> Rows:
        """(n,) what a field's tower encodes: text indices, numbers of values, or rows (of pictures); −1 for none."""
        if field in self.further:
            return self.further[field]
        if field == "image":
            return np.where(self.picture, self.row, -1)
        return self.title if field == "title" else self.description


@dataclass(frozen=True)
class TowerInput:
    """What one tower encodes in a step: distinct values in ascending order.

    Attributes:
        tower: "query" or a field.
        values: (n,) text indices, or the rows of pictures.
        mirrored: (n,) which pictures are seen mirrored.
        seed: of crops and dropout.
        start: the place of the first value in the whole input.
    """

    tower: str
    values: Rows
    mirrored: Bools
    seed: int
    start: int = 0

    def parts(self, size: int | None) -> Iterator["TowerInput"]:
        """Split the input into parts of at most `size` values, each with its own random seed."""
        for start in range(0, len(self.values), size or max(len(self.values), 1)):
            part = slice(start, start + (size or len(self.values)))
            yield dataclasses.replace(self, values=self.values[part], mirrored=self.mirrored[part], start=start)

    @property
    def random_seed(self) -> int:
        """Of this part."""
        return int(np.random.SeedSequence([self.seed, self.start]).generate_state(1)[0])


@dataclass(frozen=True)
class Batch:
    """One step.

    Attributes:
        pairs: of all processes, those of one process together.
        row: (pairs,) the row that each pair was made of.
        shares: how many of the pairs belong to each process. own: which belong to this one.
        extra_negatives: other items, which answer nothing.
        title_negatives: text indices and title codes of distinct titles.
        fields: of the items.
        per_row: fields whose tower answers for each row (`pair_with_rows`, with `numbers` as their count).
        seed: of what inputs draw.
        known: fields whose vectors are known already, so that no tower encodes them.
    """

    pairs: TrainingPairs
    row: Rows
    shares: list[int]
    own: slice
    extra_negatives: ItemViews
    title_negatives: tuple[Codes, Codes]
    fields: tuple[str, ...]
    per_row: tuple[str, ...]
    numbers: int
    seed: int
    known: tuple[str, ...] = ()

    def values(self, items: ItemViews, field: str) -> Rows:
        """(n,) what a field's tower encodes of some items; −1 where it is not seen."""
        values = items.values(field)
        return pair_with_rows(items.row, values, self.numbers) if field in self.per_row else values

    @property
    def items(self) -> ItemViews:
        """The item side of this process's pairs."""
        pairs = self.pairs
        names = [field for field in self.fields if field not in OWN_FIELDS]
        further = dict(zip(names, pairs.further.T, strict=True))
        return ItemViews(self.row, pairs.title, pairs.description, pairs.picture, further)[self.own]

    @cached_property
    def inputs(self) -> list[TowerInput]:
        """What this process has to encode, one input for each tower."""
        shown = [self.items, self.extra_negatives]
        asked = self.pairs.query[self.own]
        values = {"query": [asked, self.title_negatives[0]]}
        values |= {
            field: [self.values(items, field) for items in shown] for field in self.fields if field not in self.known
        }
        if "image" in values:
            values["image"].append(self.row[self.own][asked < 0])
        distinct = {tower: np.unique(np.concatenate(parts)) for tower, parts in values.items()}
        numbers = {tower: number for number, tower in enumerate(("query", *self.fields))}
        return [self._input(numbers[tower], tower, found[found >= 0]) for tower, found in distinct.items()]

    def _input(self, number: int, tower: str, values: Rows) -> TowerInput:
        mirrored = _coins(values, self.seed) if tower == "image" else np.zeros(len(values), bool)
        return TowerInput(
            tower, values, mirrored, int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        )


def _show_further(texts: RowTexts, rows: Rows) -> Codes:
    """(n, further fields) what some rows have in them."""
    return (
        np.array([codes[rows] for codes in texts.further.values()], np.int64).reshape(len(texts.further), len(rows)).T
    )


def count_numbers(texts: RowTexts) -> int:
    """More than any number of a text or value that a field shows."""
    return max(len(texts.texts), *(len(values) for values in texts.values.values()), 1)


def pair_with_rows(rows: Rows, texts: Codes, count: int) -> Rows:
    """(n,) one number for each row and text or value that it shows, which `split_pairs` undoes; −1 where it shows none.

    Args:
        rows: (n,) of the catalogue.
        texts: (n,) text indices, or numbers of values; −1 for none.
        count: more than the greatest of them.
    """
    return np.where(texts >= 0, rows * count + texts, -1)


def split_pairs(pairs: Rows, count: int) -> tuple[Rows, Codes]:
    """Rows and text indices, (n,) each, of what `pair_with_rows` made of those that show a text."""
    return np.divmod(pairs, count)


def _coins(rows: Rows, seed: int) -> Bools:
    """(n,) half of them true: the same for a row in whichever process it is (the mixing function of SplitMix64)."""
    mixed = (rows.astype(np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(63)).astype(bool)


def draw_batch(
    data: TrainingSet,
    rows: Rows,
    config: TrainConfig,
    step: int,
    *,
    fields: tuple[str, ...],
    cheap_texts: bool,
    cheap_pictures: bool,
    per_row: tuple[str, ...] = (),
    known: tuple[str, ...] = (),
    kinds: Collection[str] = KINDS,
    process: int = 0,
    processes: int = 1,
) -> Batch:
    """Draw the pairs and extra negatives of a step.

    Args:
        data: what there is.
        rows: (n,) of all processes.
        config: filled in; negatives, title_negatives, seed.
        step: decides, with the seed, every random choice.
        fields: of the items.
        cheap_texts, cheap_pictures: more of them than the batch needs cost next to nothing.
        per_row: fields whose tower answers for each row.
        known: fields whose vectors are known already.
        kinds: of pairs, which are drawn.
        process, processes: each process takes a part of the batch, as even as can be.
    """
    rng = random_stream(config.seed, Stream.STEP, step)
    pairs = draw_pairs(data.texts, rows, data.pictured[rows], rng, kinds)
    bounds = np.linspace(0, len(rows), processes + 1).round()[1:-1]
    owner = np.searchsorted(bounds, pairs.row, side="right")
    if processes > 1:
        order = np.argsort(owner, kind="stable")
        pairs, owner = pairs[order], owner[order]
    starts = np.searchsorted(owner, np.arange(processes + 1)).tolist()
    extra_negatives = _draw_extra_negatives(data, config.negatives - len(rows) if cheap_pictures else 0, rng)
    title_negatives = _draw_title_negatives(
        data.title_negatives, (config.title_negatives or 0) if cheap_texts else 0, rng
    )
    return Batch(
        pairs,
        rows[pairs.row],
        shares=np.diff(starts).tolist(),
        own=slice(starts[process], starts[process + 1]),
        extra_negatives=extra_negatives,
        title_negatives=title_negatives,
        fields=fields,
        per_row=per_row,
        numbers=count_numbers(data.texts),
        seed=int(rng.integers(2**32)),
        known=known,
    )


def _draw_extra_negatives(data: TrainingSet, wanted: int, rng: np.random.Generator) -> ItemViews:
    """Other training rows, seen through random fields, that fill a small batch up with negatives."""
    wanted = min(wanted, len(data.rows))
    rows = rng.choice(data.rows, wanted, replace=False) if wanted > 0 else np.empty(0, np.int64)
    texts = data.texts
    own = [texts.title[rows] >= 0, texts.description[rows] >= 0, data.pictured[rows]]
    present = np.column_stack([*own, _show_further(texts, rows) >= 0])
    rows, present = rows[present.any(axis=1)], present[present.any(axis=1)]
    shown = drop_fields(present, rng)
    title = np.where(shown[:, 0], texts.title[rows], -1)
    further = np.where(shown[:, 3:], _show_further(texts, rows), -1)
    named = dict(zip(texts.further, further.T, strict=True))
    return ItemViews(rows, title, np.where(shown[:, 1], texts.description[rows], -1), shown[:, 2], named)


def _draw_title_negatives(
    title_negatives: tuple[Codes, Codes], most: int, rng: np.random.Generator
) -> tuple[Codes, Codes]:
    """Text indices and title codes of distinct titles."""
    indices, title_codes = title_negatives
    if len(indices) <= most:
        return title_negatives
    chosen = rng.choice(len(indices), most, replace=False)
    return indices[chosen], title_codes[chosen]
