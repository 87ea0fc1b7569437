"""Matryoshka: recall@10 of vectors that are cut short, trained for it and not, on groceries and on OpenMoji."""

import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from measuring import likewise, options, record

from likewise.catalog.catalog import Catalog
from likewise.evaluation.comparison import relevance_by_key
from likewise.evaluation.metrics import cosine_scores, per_query_metrics
from likewise.model.model import Model

_DIMS = (512, 256, 128, 64)


def main() -> None:
    arguments = options(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        likewise("sample", "openmoji", folder / "openmoji")
        catalogues = {
            "grocery": (arguments.data, {"split": "split"}, 'split == "test"'),
            "openmoji": (_in_parts(folder / "openmoji" / "openmoji.csv"), {"split": "part"}, 'part == "test"'),
        }
        figures = {
            name: {
                kind: _recall(folder, data, where, settings | {"matryoshka": dims}, f"{name}-{len(dims)}")
                for kind, dims in (("trained for it", _DIMS[1:]), ("not trained for it", ()))
            }
            for name, (data, settings, where) in catalogues.items()
        }
    ratios = {
        name: round(found["trained for it"][128] / found["trained for it"][512], 3) for name, found in figures.items()
    }
    record("matryoshka", {"recall@10 by dimensions": figures, "128 by 512 dimensions (at least 0.98)": ratios})


def _in_parts(catalogue: Path) -> Path:
    """The catalogue with a column that says which rows are only asked for."""
    table = pl.read_csv(catalogue)
    parts = np.random.default_rng(0).choice(["train", "val", "test"], len(table), p=[0.7, 0.1, 0.2])
    table.with_columns(pl.Series("part", parts)).write_csv(catalogue)
    return catalogue


def _recall(folder: Path, data: Path, where: str, settings: dict[str, object], run: str) -> dict[int, float]:
    """Titles look for items seen by everything else; a title's answers are all items that bear it."""
    config = folder / f"{run}.yaml"
    config.write_text(json.dumps(settings), encoding="utf-8")
    likewise("train", data, "--output", folder / run, "--config", config, "--cache", folder / "cache")
    model = Model.load(folder / run)
    catalog = Catalog.read(data, where=where, cache=folder / "cache")
    titles = catalog.texts("title")
    distinct = list(dict.fromkeys(title for title in titles if title))
    queries, items = model.encode_queries(distinct), model.encode_items(catalog, ["description", "image"])
    relevant = relevance_by_key(distinct, titles)
    return {
        dim: round(
            float(np.nanmean(per_query_metrics(cosine_scores(*_cut(queries, items, dim)), relevant)["recall@10"])), 4
        )
        for dim in _DIMS
    }


def _cut(queries: np.ndarray, items: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    short = (vectors[:, :dim] / np.linalg.norm(vectors[:, :dim], axis=1, keepdims=True) for vectors in (queries, items))
    return tuple(short)


if __name__ == "__main__":
    main()
