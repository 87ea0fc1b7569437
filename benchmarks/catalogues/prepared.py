"""Every catalogue of the comparison, ready to be read by all systems: the same rows, the same split."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from catalogues.stamps import write_stamps
from likewise.catalog.catalog import Catalog
from likewise.catalog.identity import Identity
from likewise.catalog.samples import write_openmoji
from likewise.training.split import split_rows

# A fifth is reported on: likewise's own tenth would leave too few questions to tell apart.
_VALIDATION, _TEST = 0.1, 0.2
_SEED = 0  # one split for all seeds of training, so that every query can be averaged over them


def prepare(name: str, folder: Path, grocery: Path, most_rows: int | None = None) -> Path:
    """Write one of `CATALOGUES` as a CSV with id, title, description, image_url and split; return its path.

    Args:
        name: "grocery", "openmoji" or "stamps".
        folder: receives the CSV, and pictures that have to be drawn first.
        grocery: products.csv of the Grocery Store Dataset.
        most_rows: at most so many rows, drawn at random from every part of the split.

    Raises:
        UserError: what the catalogue is made from is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = CATALOGUES[name](folder, grocery)
    if most_rows is not None and most_rows < len(table):
        table = _thinned(table, most_rows)
    target = folder / "catalogue.csv"
    table.write_csv(target)
    return target


def _grocery(folder: Path, source: Path) -> pl.DataFrame:
    """With the publishers' split; the iconic pictures train."""
    catalog = Catalog.read(source, cache=folder)
    root = f"{source.parent.absolute()}/"
    picture = (pl.lit(root) + pl.col("image").list.first()).alias("image_url")
    return catalog.table.select("id", "title", "description", picture, "split")


def _openmoji(folder: Path, _: Path) -> pl.DataFrame:
    return split_by_identity(write_openmoji(folder / "openmoji"), folder)


def _stamps(folder: Path, _: Path) -> pl.DataFrame:
    return split_by_identity(write_stamps(folder / "stamps.csv"), folder)


CATALOGUES: dict[str, Callable[[Path, Path], pl.DataFrame]] = {
    "grocery": _grocery,
    "openmoji": _openmoji,
    "stamps": _stamps,
}


def split_by_identity(source: Path, folder: Path) -> pl.DataFrame:
    """A catalogue's rows with a column `split`, drawn as likewise draws it: equal pictures never stand on two sides."""
    catalog = Catalog.read(source, cache=folder / "cache")
    split = split_rows(catalog, Identity.read(catalog), column=None, validation=_VALIDATION, test=_TEST, seed=_SEED)
    names = ["train"] * len(catalog)
    for rows, name in ((split.validation, "val"), (split.test, "test")):
        for row in rows:
            names[row] = name
    pictures = [str(shown[0].path.absolute()) if shown else None for shown in catalog.pictures]
    return catalog.table.select("id", "title", "description").with_columns(
        pl.Series("image_url", pictures, pl.String), pl.Series("split", names)
    )


def _thinned(table: pl.DataFrame, most_rows: int) -> pl.DataFrame:
    share = most_rows / len(table)
    order = pl.int_range(pl.len()).shuffle(seed=_SEED).over("split")
    return table.filter(order < (pl.len().over("split") * share).ceil().cast(pl.Int64))
