"""Columns as fields, compared with the same columns appended to the description as words: Tux Paint's stamps.

The stamps' main folder is a category and its further folders are tags; a brand (category) and a price (number) are
made up, each fixed for its item; a column of noise has nothing to do with anything. Five folds by identity.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from catalogues.prepared import fold_by_identity
from catalogues.stamps import write_stamps
from measuring import record

from likewise.catalog.catalog import Catalog, default_cache
from likewise.config import ModelSettings, TrainConfig
from likewise.evaluation.metrics import cosine_scores, per_query_metrics
from likewise.evaluation.significance import bootstrap_interval
from likewise.model.model import Model
from likewise.training.train import train

_BRANDS = ("Acme", "Bellini", "Corvus", "Dunlin", "Espada", "Fjord", "Garnet", "Hokkaido")
_TYPED = {"subject": "category", "folders": "tags", "brand": "category", "price": "number", "noise": "category"}
_OWN = {"title": "text", "description": "text", "image": "image"}
_SYSTEMS = ("fields", "words", "neither")
_METRIC = "map"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--systems", nargs="+", default=_SYSTEMS, choices=_SYSTEMS)
    arguments = parser.parse_args()
    scores: dict[str, dict[str, list[np.ndarray]]] = {}
    seconds = dict.fromkeys(arguments.systems, 0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = fold_by_identity(write_stamps(folder / "stamps.csv"), folder)
        for fold, table in enumerate(tables[: arguments.folds]):
            for system in arguments.systems:
                began = time.monotonic()
                model, catalog = _train(_add_columns(table), system, folder / f"{system}-{fold}")
                seconds[system] += time.monotonic() - began
                for question, measured in _measure(model, catalog, system).items():
                    scores.setdefault(question, {}).setdefault(system, []).append(measured)
    figures = {question: _compare(by_system) for question, by_system in scores.items()}
    record(
        "metadata", {"stamps": figures, "seconds of training": {key: round(value) for key, value in seconds.items()}}
    )


def _add_columns(table: pl.DataFrame) -> pl.DataFrame:
    """The stamps with the columns, and without the folders in the description."""
    place = pl.col("id").str.split("/").list.eval(pl.element().str.strip_chars_start("0123456789_"))
    parts = place.list.slice(0, place.list.len() - 1)
    chosen = [int(hashlib.sha256(f"brand {id}".encode()).hexdigest(), 16) for id in table["id"]]
    prices = [5 + 3 * (number % len(_BRANDS)) + (number >> 16) % 100 / 50 for number in chosen]
    noise = [f"lot {int(hashlib.sha256(f'noise {id}'.encode()).hexdigest(), 16) % 20}" for id in table["id"]]
    return table.with_columns(
        pl.col("description").str.replace(r" ?Subject: .*$", "").replace("", None),
        parts.list.first().alias("subject"),
        parts.list.slice(1).list.join("|").replace("", None).alias("folders"),
        pl.Series("brand", [_BRANDS[number % len(_BRANDS)] for number in chosen]),
        pl.Series("price", [f"{price:.2f} €" for price in prices]),
        pl.Series("noise", noise),
    )


def _train(table: pl.DataFrame, system: str, run: Path) -> tuple[Model, Catalog]:
    if system == "words":
        said = [
            pl.format(f"{name.capitalize()}: {{}}.", pl.col(name).str.replace_all("|", ", ", literal=True))
            for name in _TYPED
        ]
        table = table.with_columns(
            pl.concat_str(["description", *said], separator=" ", ignore_nulls=True).alias("description")
        )
    run.mkdir()
    table.write_csv(run / "catalogue.csv")
    catalog = Catalog.read(run / "catalogue.csv", cache=default_cache())
    fields = _OWN | _TYPED if system == "fields" else _OWN
    config = TrainConfig(model=ModelSettings(fields=fields), split="split", refit=False)
    finished = train(catalog, run / "run", config)
    print(system, finished.metrics.seconds, flush=True)
    return Model.load(finished.path), catalog


def _measure(model: Model, catalog: Catalog, system: str) -> dict[str, np.ndarray]:
    """The metric of every query, by the question; the same queries for all systems."""
    tested = catalog.where('split == "test"')
    titles, brands, subjects = tested.texts("title"), tested.texts("brand"), tested.texts("subject")
    vectors = model.encode_fields(tested, [field for field in model.fields if field != "title"])
    everything = vectors.fuse(model.network)
    asked: dict[str, Callable[[int], str]] = {
        "title alone": lambda row: str(titles[row]),
        "title and brand": lambda row: f"{titles[row]}, {brands[row]}",
        "title and subject": lambda row: f"{titles[row]}, {subjects[row]}",
        "subject and brand": lambda row: f"{subjects[row]} by {brands[row]}",
    }
    found = {}
    for question, ask in asked.items():
        texts = [ask(row) for row in range(len(tested))]
        distinct = list(dict.fromkeys(texts))
        relevant = [np.flatnonzero(np.array(texts) == text) for text in distinct]
        queries = model.encode_queries(distinct)
        found[question] = per_query_metrics(cosine_scores(queries, everything), relevant)[_METRIC]
        if question == "title alone" and system == "fields":
            without = vectors.fuse(model.network, [field for field in vectors.fields if field != "noise"])
            found["title alone, noise hidden"] = per_query_metrics(cosine_scores(queries, without), relevant)[_METRIC]
            found["title alone, noise shown"] = found[question]
    return found


def _compare(by_system: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    """The mean of each system, and the paired difference of fields to each other one with its 95 % interval."""
    pooled = {system: np.nan_to_num(np.concatenate(parts)) for system, parts in by_system.items()}
    figures: dict[str, Any] = {system: round(float(values.mean()), 4) for system, values in pooled.items()}
    for other in pooled.keys() - {"fields"} if "fields" in pooled else ():
        gain = bootstrap_interval(pooled["fields"] - pooled[other], np.arange(len(pooled[other])))
        figures[f"fields - {other}"] = [round(value, 4) for value in (gain.mean, gain.low, gain.high)]
    return figures


if __name__ == "__main__":
    main()
