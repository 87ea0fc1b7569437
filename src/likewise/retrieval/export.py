"""Tables as files for other tools: item embeddings, similar items."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from likewise.catalog.columns import check_ids
from likewise.errors import UserError
from likewise.files import prepare_file, replace_file


def prepare_target(path: Path) -> None:
    """Make and try the folder of a file that will be written later, so that a mistake shows before the long work.

    Raises:
        UserError: the file cannot lie there.
    """
    prepare_file(path)
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")


def write_vectors(path: Path, ids: Sequence[str], vectors: np.ndarray) -> int:
    """Write a Parquet file with the columns id (String) and vector (Array of float32), atomically.

    Args:
        path: the file.
        ids: n ids.
        vectors: (n, dim) float32; NaN rows are left out.

    Returns:
        The number of rows written.

    Raises:
        UserError: an id comes twice, or the file cannot be written.
    """
    check_ids(ids)
    kept = np.flatnonzero(~np.isnan(vectors[:, 0]))
    column = pl.Series("vector", vectors[kept], dtype=pl.Array(pl.Float32, vectors.shape[1]))
    write_parquet(path, pl.DataFrame([pl.Series("id", [ids[row] for row in kept.tolist()], dtype=pl.String), column]))
    return len(kept)


def write_parquet(path: Path, table: pl.DataFrame) -> None:
    """Write a Parquet file; an old one is replaced atomically.

    Raises:
        UserError: the file cannot be written.
    """
    prepare_target(path)
    with replace_file(path, pl.exceptions.PolarsError) as temporary:
        table.write_parquet(temporary)
