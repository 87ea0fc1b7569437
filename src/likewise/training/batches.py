"""What one step looks at: its pairs, what they are told apart from besides, and what each tower has to encode for that.

A plan is drawn from row numbers and random numbers alone, before anything is encoded. So every process of a distributed
training draws the same plan and encodes its own share of it, and a step whose activations do not fit into memory can be
encoded part by part, twice, with the same crops and the same dropout.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.identity import Codes, Identity
from likewise.config import TrainConfig
from likewise.seeds import Stream, random_stream
from likewise.training.views import Bools, Pairs, RowTexts, distinct_titles, draw_pairs, drop_fields

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingSet:
    """The rows that train: their texts, identities and pictures."""

    rows: Rows
    texts: RowTexts
    identity: Identity
    pictured: Bools  # (all rows,)
    title_negatives: tuple[Codes, Codes]  # text indices and title codes of the distinct titles

    @classmethod
    def of(cls, rows: Rows, texts: RowTexts, identity: Identity, pictured: Bools) -> "TrainingSet":
        """Collect; rows that show nothing in any pair stay, and simply give no pair."""
        return cls(rows, texts, identity, pictured, distinct_titles(texts, identity.title, rows))

    def has_field(self, field: str, rows: Rows) -> Bools:
        """(n,) bool: which of some rows have a field."""
        present: Bools = self.pictured[rows] if field == "image" else self.texts.field(field)[rows] >= 0
        return present

    def has_pairs(self) -> bool:
        """Whether any row gives a pair at all."""
        return len(draw_pairs(self.texts, self.rows, self.pictured[self.rows], np.random.default_rng(0)).kind) > 0


@dataclass(frozen=True)
class Items:
    """Items as they are shown: text indices, −1 where a text is hidden, and whether the picture is seen; each (n,)."""

    row: Rows
    title: Codes
    description: Codes
    picture: Bools

    def __getitem__(self, places: slice) -> "Items":
        return Items(self.row[places], self.title[places], self.description[places], self.picture[places])

    def values(self, field: str) -> Rows:
        """(n,) what a field's tower encodes: text indices, or rows whose picture it is; −1 where it is not seen."""
        if field == "image":
            return np.where(self.picture, self.row, -1)
        return self.title if field == "title" else self.description


@dataclass(frozen=True)
class Job:
    """What one tower encodes in a step: distinct values in ascending order.

    Attributes:
        tower: "query" or a field.
        values: (n,) text indices, or the rows of pictures.
        mirrored: (n,) which pictures are seen mirrored.
        seed: of crops and dropout.
        start: the place of the first value in the whole job.
    """

    tower: str
    values: Rows
    mirrored: Bools
    seed: int
    start: int = 0

    def parts(self, size: int | None) -> Iterator["Job"]:
        """The job in parts of at most `size` values, each with random numbers of its own."""
        for start in range(0, len(self.values), size or max(len(self.values), 1)):
            part = slice(start, start + (size or len(self.values)))
            yield dataclasses.replace(self, values=self.values[part], mirrored=self.mirrored[part], start=start)

    @property
    def random_seed(self) -> int:
        """Of this part."""
        return int(np.random.SeedSequence([self.seed, self.start]).generate_state(1)[0])


@dataclass(frozen=True)
class Plan:
    """One step.

    Attributes:
        pairs: of all processes, those of one process together.
        row: (pairs,) the row that each pair was made of.
        shares: how many of the pairs belong to each process. own: which belong to this one.
        further: other items, which answer nothing.
        title_negatives: text indices and title codes of distinct titles.
        fields: of the items.
        seed: of what jobs draw.
    """

    pairs: Pairs
    row: Rows
    shares: list[int]
    own: slice
    further: Items
    title_negatives: tuple[Codes, Codes]
    fields: tuple[str, ...]
    seed: int

    @property
    def items(self) -> Items:
        """The item side of this process's pairs."""
        pairs = self.pairs
        return Items(self.row, pairs.title, pairs.description, pairs.picture)[self.own]

    @cached_property
    def jobs(self) -> list[Job]:
        """What this process has to encode, one job for each tower."""
        shown = [self.items, self.further]
        asked = self.pairs.query[self.own]
        values = {"query": [asked, self.title_negatives[0]]}
        values |= {field: [items.values(field) for items in shown] for field in self.fields}
        if "image" in values:
            values["image"].append(self.row[self.own][asked < 0])
        distinct = {tower: np.unique(np.concatenate(parts)) for tower, parts in values.items()}
        return [self._job(number, tower, found[found >= 0]) for number, (tower, found) in enumerate(distinct.items())]

    def _job(self, number: int, tower: str, values: Rows) -> Job:
        mirrored = _coins(values, self.seed) if tower == "image" else np.zeros(len(values), bool)
        return Job(tower, values, mirrored, int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))


def _coins(rows: Rows, seed: int) -> Bools:
    """(n,) half of them true: the same for a row in whichever process it is (the mixing function of SplitMix64)."""
    mixed = (rows.astype(np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(63)).astype(bool)


def draw_plan(
    data: TrainingSet,
    batch: Rows,
    config: TrainConfig,
    step: int,
    *,
    fields: tuple[str, ...],
    cheap_texts: bool,
    cheap_pictures: bool,
    process: int = 0,
    processes: int = 1,
) -> Plan:
    """Decide what a step shows.

    Args:
        data: what there is.
        batch: (n,) rows, of all processes.
        config: negatives, title_negatives, seed.
        step: decides, with the seed, every random choice.
        fields: of the items.
        cheap_texts, cheap_pictures: more of them than the batch needs cost next to nothing.
        process, processes: each process takes a part of the batch, as even as can be.
    """
    rng = random_stream(config.seed, Stream.STEP, step)
    pairs = draw_pairs(data.texts, batch, data.pictured[batch], rng)
    bounds = np.linspace(0, len(batch), processes + 1).round()[1:-1]
    owner = np.searchsorted(bounds, pairs.row, side="right")
    if processes > 1:
        order = np.argsort(owner, kind="stable")
        pairs, owner = pairs[order], owner[order]
    starts = np.searchsorted(owner, np.arange(processes + 1)).tolist()
    further = _further_items(data, config.negatives - len(batch) if cheap_pictures else 0, rng)
    title_negatives = _title_negatives(data.title_negatives, config.title_negatives if cheap_texts else 0, rng)
    return Plan(
        pairs,
        batch[pairs.row],
        shares=np.diff(starts).tolist(),
        own=slice(starts[process], starts[process + 1]),
        further=further,
        title_negatives=title_negatives,
        fields=fields,
        seed=int(rng.integers(2**32)),
    )


def _further_items(data: TrainingSet, wanted: int, rng: np.random.Generator) -> Items:
    """Other training rows, seen through random fields, that fill a small batch up with negatives."""
    wanted = min(wanted, len(data.rows))
    rows = rng.choice(data.rows, wanted, replace=False) if wanted > 0 else np.empty(0, np.int64)
    texts = data.texts
    present = np.stack([texts.title[rows] >= 0, texts.description[rows] >= 0, data.pictured[rows]], axis=1)
    rows, present = rows[present.any(axis=1)], present[present.any(axis=1)]
    shown = drop_fields(present, rng)
    title = np.where(shown[:, 0], texts.title[rows], -1)
    return Items(rows, title, np.where(shown[:, 1], texts.description[rows], -1), shown[:, 2])


def _title_negatives(title_negatives: tuple[Codes, Codes], most: int, rng: np.random.Generator) -> tuple[Codes, Codes]:
    """Text indices and title codes of distinct titles."""
    indices, title_codes = title_negatives
    if len(indices) <= most:
        return title_negatives
    chosen = rng.choice(len(indices), most, replace=False)
    return indices[chosen], title_codes[chosen]
