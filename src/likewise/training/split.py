"""Which rows train, which choose the best checkpoint, and which are only looked at in the final report."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.errors import UserError
from likewise.training.identity import Codes, Identity

Rows = NDArray[np.int64]

VALIDATION_NAMES = {"val", "valid", "validation", "dev"}
TEST_NAMES = {"test", "holdout", "held-out"}
ENOUGH_COMPONENTS = 200


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, and one sentence on how they were drawn."""

    train: Rows
    validation: Rows
    test: Rows
    note: str


def split_rows(
    catalog: Catalog, identity: Identity, *, column: str | None, validation: float, test: float, seed: int
) -> Split:
    """Split by the named column, else by connected components so that duplicates never straddle the parts.

    Raises:
        UserError: the column is unknown, or a part that is needed would be empty.
    """
    split = (
        _by_column(catalog, column, test, identity, seed)
        if column is not None
        else _by_identity(identity, validation, test, seed)
    )
    if len(split.train) < 2:
        raise UserError(f"too few rows to train on: {len(split.train)} of {len(catalog)} ({split.note})")
    return split


def _by_column(catalog: Catalog, column: str, test: float, identity: Identity, seed: int) -> Split:
    names = [str(value).strip().lower() for value in catalog.column(column)]
    validation = np.array([row for row, name in enumerate(names) if name in VALIDATION_NAMES], np.int64)
    held_out = np.array([row for row, name in enumerate(names) if name in TEST_NAMES], np.int64)
    if not len(validation) and not len(held_out):
        found = ", ".join(sorted(set(names))[:8])
        raise UserError(
            f"column {column!r} names no validation rows: mark some as 'val' or 'test' (its values are: {found})"
        )
    note = f"split by column {column!r}"
    if not len(held_out) or not len(validation):
        whole = held_out if len(held_out) else validation
        # one held-out part serves both purposes, cut in two so that the report never sees the rows that chose
        validation, held_out = _cut(whole, _units(identity, whole)[0], (0.5, 0.5), seed)[:2]
        note += "; half of its held-out rows choose the checkpoint, the other half are reported"
    train = np.setdiff1d(np.arange(len(names)), np.concatenate([validation, held_out]))
    return Split(train, validation, held_out, note)


def _by_identity(identity: Identity, validation: float, test: float, seed: int) -> Split:
    rows = np.arange(len(identity.component))
    units, note = _units(identity, rows)
    parts = _cut(rows, units, (validation, test), seed)
    return Split(parts[2], parts[0], parts[1], note)


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


def _cut(rows: Rows, units: Codes, shares: tuple[float, float], seed: int) -> tuple[Rows, Rows, Rows]:
    """Fill two parts with whole shuffled units up to their shares; the rest is the third."""
    order = np.random.default_rng([seed, 1]).permutation(np.unique(units))
    rank = np.empty(int(units.max(initial=0)) + 1, np.int64)
    rank[order] = np.arange(len(order))
    position = np.argsort(rank[units], kind="stable")
    first, second = (round(share * len(rows)) for share in shares)
    # a unit goes where its first row falls, so that no unit is cut
    starts = np.zeros(len(rows), np.int64)
    unit_of_position = units[position]
    changed = np.flatnonzero(np.r_[True, unit_of_position[1:] != unit_of_position[:-1]])
    starts[changed] = changed
    starts = np.maximum.accumulate(starts)
    part = np.where(starts < first, 0, np.where(starts < first + second, 1, 2))
    pieces = [np.sort(rows[position[part == number]]) for number in range(3)]
    return pieces[0], pieces[1], pieces[2]
