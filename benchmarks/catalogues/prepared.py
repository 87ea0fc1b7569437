"""Every catalogue of the comparison as CSV files that all systems read: one for each fold, its test rows marked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from catalogues.stamps import write_stamps
from catalogues.units import write_units
from likewise.catalog.catalog import Catalog
from likewise.catalog.identity import Identity
from likewise.catalog.samples import write_openmoji
from likewise.training.split import deal_groups, split_rows

FOLDS = 5
_VALIDATION = 0.1  # of the rows outside the test fold
_SEED = 0  # the same folds for all seeds of training, so that every query can be averaged over them


def prepare(name: str, folder: Path, grocery: Path) -> list[Path]:
    """Write the folds of one of `CATALOGUES` as CSVs with id, title, description, image_url and split.

    Args:
        name: such as "stamps".
        folder: receives the CSVs, and pictures that have to be drawn first.
        grocery: products.csv of the Grocery Store Dataset.

    Returns:
        The files, one for each fold; a catalogue with a split of its publishers has one.

    Raises:
        UserError: what the catalogue is made from is missing.
    """
    files = []
    for number, table in enumerate(CATALOGUES[name](folder, grocery), start=1):
        target = folder / f"fold-{number}" / "catalogue.csv"
        target.parent.mkdir(parents=True, exist_ok=True)
        table.write_csv(target)
        files.append(target)
    return files


def _grocery(folder: Path, source: Path) -> list[pl.DataFrame]:
    """One fold, with the publishers' split; the iconic pictures train."""
    catalog = Catalog.read(source, cache=folder)
    root = f"{source.parent.absolute()}/"
    picture = (pl.lit(root) + pl.col("image").list.first()).alias("image_url")
    return [catalog.table.select("id", "title", "description", picture, "split")]


def _openmoji(folder: Path, _: Path) -> list[pl.DataFrame]:
    return fold_by_identity(write_openmoji(folder / "openmoji"), folder)


def _stamps(folder: Path, _: Path) -> list[pl.DataFrame]:
    folder.mkdir(parents=True, exist_ok=True)
    return fold_by_identity(write_stamps(folder / "stamps.csv"), folder)


def _units(folder: Path, _: Path) -> list[pl.DataFrame]:
    folder.mkdir(parents=True, exist_ok=True)
    return fold_by_identity(write_units(folder / "units.csv"), folder)


CATALOGUES: dict[str, Callable[[Path, Path], list[pl.DataFrame]]] = {
    "grocery": _grocery,
    "openmoji": _openmoji,
    "stamps": _stamps,
    "units": _units,
}
UNSEEN = ("units",)  # nothing was chosen with a look at them


def fold_by_identity(source: Path, folder: Path, folds: int = FOLDS) -> list[pl.DataFrame]:
    """The rows of a catalogue once for each fold, with a column `split`: train, val or test.

    Every row is a test row of exactly one fold, and rows of one identity, connected as likewise connects them, are test
    rows of the same fold. Of the other rows a tenth validates, drawn by likewise's own rule.

    Args:
        source: the catalogue.
        folder: receives what reading it caches.
        folds: how many.
    """
    catalog = Catalog.read(source, cache=folder / "cache")
    identity = Identity.read(catalog)
    fold_of_row = deal_groups(identity.component, folds, _SEED)
    pictures = [str(shown[0].path.absolute()) if shown else None for shown in catalog.pictures]
    table = catalog.table.select("id", "title", "description").with_columns(pl.Series("image_url", pictures, pl.String))
    tables = []
    for fold in range(folds):
        names = np.full(len(catalog), "test", object)
        outside = np.flatnonzero(fold_of_row != fold)
        split = split_rows(
            catalog.select(outside), identity.select(outside), column=None, validation=_VALIDATION, test=0.0, seed=_SEED
        )
        names[outside] = "train"
        names[outside[split.validation]] = "val"
        tables.append(table.with_columns(pl.Series("split", names.tolist())))
    return tables
