"""Vectors that are cut short or kept in bits: what is found, trained for it and not, on groceries and on OpenMoji."""

import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import torch
from measuring import likewise, options, record

from likewise.catalog.catalog import Catalog
from likewise.config import Quantization, TrainConfig
from likewise.evaluation.comparison import relevance_by_key
from likewise.evaluation.metrics import cosine_scores, per_query_metrics
from likewise.model.matryoshka import build_variants
from likewise.model.model import Model

_DIMS = (512, 256, 128, 64)
_BITS: dict[str, Quantization | None] = {"32 bits": None, "8 bits": "int8", "1 bit": "binary"}
_TRAINED: dict[str, dict[str, object]] = {
    "whole vectors": {},
    "short ones, too (matryoshka)": {"matryoshka": _DIMS[1:]},
    "bits, too (quantization: binary)": {"quantization": "binary"},
}
_SEEN = {"text and picture": ("recall@10", ["description", "image"]), "picture alone": ("map", ["image"])}


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
                kind: _found(folder, data, where, settings | asked, f"{name}-{number}")
                for number, (kind, asked) in enumerate(_TRAINED.items())
            }
            for name, (data, settings, where) in catalogues.items()
        }
    record("compression", {"trained for": figures, "128 by 512 dimensions, matryoshka (at least 0.98)": _kept(figures)})


def _kept(figures: dict[str, dict[str, dict[str, dict[str, float]]]]) -> dict[str, float]:
    """The share of recall@10 that is left with a quarter of the dimensions."""
    matryoshka, seen = list(_TRAINED)[1], "text and picture, recall@10"
    return {
        name: round(found[matryoshka][seen]["128 × 32 bits"] / found[matryoshka][seen]["512 × 32 bits"], 3)
        for name, found in figures.items()
    }


def _in_parts(catalogue: Path) -> Path:
    """The catalogue with a column that says which rows are only asked for."""
    table = pl.read_csv(catalogue)
    parts = np.random.default_rng(0).choice(["train", "val", "test"], len(table), p=[0.7, 0.1, 0.2])
    table.with_columns(pl.Series("part", parts)).write_csv(catalogue)
    return catalogue


def _found(folder: Path, data: Path, where: str, settings: dict[str, object], run: str) -> dict[str, dict[str, float]]:
    """Titles look for items seen without their title; a title's answers are all items that bear it."""
    config = folder / f"{run}.yaml"
    config.write_text(json.dumps(settings), encoding="utf-8")
    likewise("train", data, "--output", folder / run, "--config", config, "--cache", folder / "cache")
    model = Model.load(folder / run)
    catalog = Catalog.read(data, where=where, cache=folder / "cache")
    titles = catalog.texts("title")
    distinct = list(dict.fromkeys(title for title in titles if title))
    queries, relevant = model.encode_queries(distinct), relevance_by_key(distinct, titles)
    return {
        f"{seen}, {metric}": _by_form(queries, model.encode_items(catalog, fields), relevant, metric)
        for seen, (metric, fields) in _SEEN.items()
    }


def _by_form(queries: np.ndarray, items: np.ndarray, relevant: list[np.ndarray], metric: str) -> dict[str, float]:
    """Queries and items are both in the form that they are named by."""
    found = {}
    for bits, quantization in _BITS.items():
        forms = build_variants(TrainConfig(matryoshka=_DIMS[1:], quantization=quantization))[-len(_DIMS) :]
        for dim, form in zip(_DIMS, forms, strict=True):
            seen = (form(torch.from_numpy(vectors)).numpy() for vectors in (queries, items))
            mean = np.nanmean(per_query_metrics(cosine_scores(*seen), relevant)[metric])
            found[f"{dim} × {bits}"] = round(float(mean), 4)
    return found


if __name__ == "__main__":
    main()
