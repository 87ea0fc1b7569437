"""Which rows train, which choose the best checkpoint, and which are only looked at in the final report."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.catalog.identity import Codes, Identity
from likewise.errors import UserError
from likewise.seeds import Stream, random_stream

Rows = NDArray[np.int64]

VALIDATION_NAMES = {"val", "valid", "validation", "dev"}
TEST_NAMES = {"test", "holdout", "held-out"}
ENOUGH_COMPONENTS = 200
_FEWEST_LEFT = 2  # rows; a single one has no negatives
_HALVED = "; half of its held-out rows choose the checkpoint, the other half are reported"


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, and one sentence on how they were drawn.

    Attributes:
        reserved: rows that a column of the catalogue marks as test, which never train; a part of the held-out rows.
    """

    train: Rows
    validation: Rows
    test: Rows
    note: str
    reserved: Rows = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def unreserved(self) -> Rows:
        """All rows but those that never train, in order."""
        return np.setdiff1d(np.concatenate([self.train, self.validation, self.test]), self.reserved)


def split_rows(
    catalog: Catalog, identity: Identity, *, column: str | None, validation: float, test: float, seed: int
) -> Split:
    """Split by the named column, else by connected components so that duplicates never straddle the parts.

    Raises:
        UserError: the column is unknown, or a part that is needed would be empty.
    """
    split = (
        _by_column(catalog, column, identity, seed)
        if column is not None
        else _by_identity(identity, validation, test, seed)
    )
    if len(split.train) < 2:
        raise UserError(f"too few rows to train on: {len(split.train)} of {len(catalog)} ({split.note})")
    return split


def join_validation(split: Split) -> Split:
    """The same split without validation rows, for a training that cross-validates: they train, unless reserved."""
    train = np.union1d(split.train, np.setdiff1d(split.validation, split.reserved))
    test = np.setdiff1d(np.union1d(split.test, split.validation), train)
    note = split.note
    if note.endswith(_HALVED):
        half = "" if len(split.reserved) else "; half of its held-out rows are reported"
        note = note.removesuffix(_HALVED) + half
    return dataclasses.replace(split, train=train, validation=np.empty(0, np.int64), test=test, note=note)


def group_rows(identity: Identity) -> Codes:
    """(rows,) codes of the groups that `split_rows` keeps together when it splits a whole catalogue."""
    return _units(identity, np.arange(len(identity.component)))[0]


def deal_groups(groups: Codes, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of every row, for cross-validation: whole groups, the largest first, each to the fold with fewest rows.

    Args:
        groups: (n,) codes; rows with the same code stay together.
        folds: how many.
        seed: of the order of groups of one size.

    Returns:
        (n,) from 0 to folds - 1.
    """
    distinct, group_of_row, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = random_stream(seed, Stream.FOLDS).permutation(len(distinct))
    fold_of_group = np.empty(len(distinct), np.int64)
    rows = np.zeros(folds, np.int64)
    for number in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of_group[number] = rows.argmin()
        rows[rows.argmin()] += sizes[number]
    return fold_of_group[group_of_row]


def _by_column(catalog: Catalog, column: str, identity: Identity, seed: int) -> Split:
    names = [str(value).strip().lower() for value in catalog.column(column)]
    validation = np.array([row for row, name in enumerate(names) if name in VALIDATION_NAMES], np.int64)
    held_out = np.array([row for row, name in enumerate(names) if name in TEST_NAMES], np.int64)
    if not len(validation) and not len(held_out):
        found = ", ".join(sorted(set(names))[:8])
        raise UserError(
            f"column {column!r} names no validation rows: mark some as 'val' or 'test' (its values are: {found})"
        )
    note, reserved = f"split by column {column!r}", held_out
    if not len(held_out) or not len(validation):
        whole = held_out if len(held_out) else validation
        # one held-out part serves both purposes, cut in two so that the report never sees the rows that chose
        validation, held_out = _cut(whole, _units(identity, whole)[0], (0.5,), seed)
        note += _HALVED
    train = np.setdiff1d(np.arange(len(names)), np.concatenate([validation, held_out]))
    return Split(train, validation, held_out, note, reserved)


def _by_identity(identity: Identity, validation: float, test: float, seed: int) -> Split:
    rows = np.arange(len(identity.component))
    units, note = _units(identity, rows)
    first, second, rest = _cut(rows, units, (validation, test), seed)
    return Split(rest, first, second, note)


def _units(identity: Identity, rows: Rows) -> tuple[Codes, str]:
    """What must stay on one side: whole components; rows with equal pictures where there are few components."""
    components = identity.component[rows]
    count = len(np.unique(components))
    if count >= ENOUGH_COMPONENTS:
        return components, f"split by identity: {count:,} groups of equal pictures or texts stay whole"
    pictures = identity.picture[rows]
    alone = pictures < 0
    units = np.where(alone, pictures.max(initial=0) + 1 + np.arange(len(rows)), pictures)
    return units, (
        f"split by rows, because there are only {count} groups of equal texts (fewer than {ENOUGH_COMPONENTS}); "
        "rows with equal pictures stay together"
    )


def _cut(rows: Rows, units: Codes, shares: Sequence[float], seed: int) -> list[Rows]:
    """Fill one part per share with whole shuffled units; the rest of the rows is one part more, the last.

    A unit too large for what is left of a share goes to the rest. A part that would be empty gets the smallest unit of
    the rest, as long as two rows stay there.
    """
    distinct, unit_of_row, sizes = np.unique(units, return_inverse=True, return_counts=True)
    order = random_stream(seed, Stream.SPLIT).permutation(len(distinct))
    rest = len(shares)
    part_of_unit = np.full(len(distinct), rest)
    room = [round(share * len(rows)) for share in shares]
    for unit in order:
        part = next((number for number, free in enumerate(room) if sizes[unit] <= free), rest)
        part_of_unit[unit] = part
        if part < rest:
            room[part] -= sizes[unit]
    for part, share in enumerate(shares):
        left = order[part_of_unit[order] == rest]
        if share > 0 and len(left) and not (part_of_unit == part).any():
            smallest = left[sizes[left].argmin()]
            if sizes[left].sum() - sizes[smallest] >= _FEWEST_LEFT:
                part_of_unit[smallest] = part
    part_of_row = part_of_unit[unit_of_row]
    return [np.sort(rows[part_of_row == number]) for number in range(rest + 1)]
