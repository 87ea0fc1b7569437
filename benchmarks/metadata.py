"""Columns as fields, compared with the same columns appended to the description as words, on two catalogues.

Tux Paint's stamps, five folds by identity: the main folder is a category, further folders are tags. The Grocery Store
Dataset, ten photos of each product, five folds of the photos of every product: its category. On both a brand (category)
and a price (number) are made up, each fixed for its item; a column of noise has nothing to do with anything.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from catalogues.prepared import FOLDS, fold_by_identity
from catalogues.stamps import write_stamps
from measuring import GROCERY, record

from likewise.catalog.catalog import Catalog, default_cache
from likewise.config import ModelSettings, TrainConfig
from likewise.evaluation.field_worth import FieldWorth
from likewise.evaluation.metrics import cosine_scores, per_query_metrics
from likewise.evaluation.significance import bootstrap_interval
from likewise.model.cached_features import cache_pictures
from likewise.model.model import Model
from likewise.training.train import train

_BRANDS = ("Acme", "Bellini", "Corvus", "Dunlin", "Espada", "Fjord", "Garnet", "Hokkaido")
_OWN = {"title": "text", "description": "text", "image": "image"}
_MADE_UP = {"brand": "category", "price": "number", "noise": "category"}
_SYSTEMS = ("fields", "words", "neither")
_METRIC = "map"
_ADDS = ", what is added by "
_PHOTOS = 10  # of each product


@dataclass(frozen=True)
class _Source:
    """A catalogue with typed columns, once for each fold.

    Attributes:
        read: (folder) → the tables, with a column `split`.
        subject: the column of the main category.
        typed: the kinds of the columns that the catalogue has; those that are made up come on top.
    """

    read: Callable[[Path], list[pl.DataFrame]]
    subject: str
    typed: dict[str, str]

    @property
    def columns(self) -> dict[str, str]:
        """All columns by their kinds."""
        return self.typed | _MADE_UP


@dataclass(frozen=True)
class _Measured:
    """A metric of every query (queries,), and the title that each query is about."""

    values: np.ndarray
    titles: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalogues", nargs="+", default=list(_SOURCES), choices=list(_SOURCES))
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--systems", nargs="+", default=_SYSTEMS[:2], choices=_SYSTEMS)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="every query is averaged over their trainings"
    )
    parser.add_argument("--runs", type=Path, help="a folder for the runs; those that it holds are not trained again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.runs or Path(name)
        figures = {
            catalogue: _measure_catalogue(
                _SOURCES[catalogue], folder / catalogue, arguments.systems, arguments.folds, arguments.seeds
            )
            for catalogue in arguments.catalogues
        }
    record("metadata", figures)


def _measure_catalogue(
    source: _Source, folder: Path, systems: list[str], folds: int, seeds: list[int]
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, list[_Measured]]] = {}
    seconds: dict[str, list[float]] = {system: [] for system in systems}
    for fold, table in enumerate(source.read(folder)[:folds]):
        table = _make_up_columns(table)
        for system in systems if fold % 2 else systems[::-1]:  # in turns
            asked: dict[str, list[_Measured]] = {}
            for seed in seeds:
                model, catalog, spent = _train(source, table, system, folder / f"{system}-{fold}-{seed}", seed)
                seconds[system].append(spent)
                for question, measured in _ask(source, model, catalog, system).items():
                    asked.setdefault(question, []).append(measured)
            for question, parts in asked.items():
                mean = _Measured(np.mean([part.values for part in parts], axis=0), parts[0].titles)
                found.setdefault(question, {}).setdefault(system, []).append(mean)
        print(fold, json.dumps(_summarize(found, seconds), ensure_ascii=False), flush=True)
    return _summarize(found, seconds)


def _summarize(found: dict[str, dict[str, list[_Measured]]], seconds: dict[str, list[float]]) -> dict[str, Any]:
    spent = {system: round(sum(parts), 1) for system, parts in seconds.items()}
    times: dict[str, Any] = {"processor seconds of training": spent}
    if "fields" in spent and spent.get("words"):
        times["fields / words"] = round(spent["fields"] / spent["words"], 3)
    figures = {}
    for question, by_system in found.items():
        column = question.partition(_ADDS)[2]
        figures[question] = _judge(column, by_system["fields"]) if column else _compare(by_system)
    return figures | times


def _read_stamps(folder: Path) -> list[pl.DataFrame]:
    place = pl.col("id").str.split("/").list.eval(pl.element().str.strip_chars_start("0123456789_"))
    parts = place.list.slice(0, place.list.len() - 1)
    return [
        table.with_columns(
            pl.col("description").str.replace(r" ?Subject: .*$", "").replace("", None),
            parts.list.first().alias("subject"),
            parts.list.slice(1).list.join("|").replace("", None).alias("folders"),
        )
        for table in fold_by_identity(write_stamps(folder / "stamps.csv"), folder)
    ]


def _read_grocery(folder: Path) -> list[pl.DataFrame]:
    """Photos of a product are dealt to the folds one after the other, and one in ten of the others validates."""
    root = f"{GROCERY.parent.absolute()}/"
    number = pl.int_range(pl.len()).over("title")
    table = (
        pl.read_csv(GROCERY)
        .filter(pl.col("split") != "iconic")
        .sample(fraction=1.0, shuffle=True, seed=0)
        .filter(number < _PHOTOS)
        .with_columns(pl.lit(root) + pl.col("image_url"), number=number)
    )
    drawn = [_hash(f"part {id}") % 10 == 0 for id in table["id"]]
    others = pl.when(pl.Series(drawn)).then(pl.lit("val")).otherwise(pl.lit("train"))
    return [
        table.with_columns(split=pl.when(pl.col("number") % FOLDS == fold).then(pl.lit("test")).otherwise(others))
        for fold in range(FOLDS)
    ]


_SOURCES = {
    "stamps": _Source(_read_stamps, "subject", {"subject": "category", "folders": "tags"}),
    "grocery": _Source(_read_grocery, "category", {"category": "category"}),
}


def _make_up_columns(table: pl.DataFrame) -> pl.DataFrame:
    chosen = [_hash(f"brand {id}") for id in table["id"]]
    prices = [5 + 3 * (number % len(_BRANDS)) + (number >> 16) % 100 / 50 for number in chosen]
    return table.with_columns(
        pl.Series("brand", [_BRANDS[number % len(_BRANDS)] for number in chosen]),
        pl.Series("price", [f"{price:.2f} €" for price in prices]),
        pl.Series("noise", [f"lot {_hash(f'noise {id}') % 20}" for id in table["id"]]),
    )


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def _train(source: _Source, table: pl.DataFrame, system: str, folder: Path, seed: int) -> tuple[Model, Catalog, float]:
    """The trained model, its catalogue, and the processor seconds of the training, pictures apart."""
    if system == "words":
        said = [
            pl.format(f"{name.capitalize()}: {{}}.", pl.col(name).str.replace_all("|", ", ", literal=True))
            for name in source.columns
        ]
        table = table.with_columns(
            pl.concat_str(["description", *said], separator=" ", ignore_nulls=True).alias("description")
        )
    folder.mkdir(exist_ok=True)
    table.write_csv(folder / "catalogue.csv")
    catalog = Catalog.read(folder / "catalogue.csv", cache=default_cache())
    times = folder / "seconds.json"
    if not times.exists():
        cache_pictures(Model.create(cache=catalog.cache), catalog)
        fields = _OWN | source.columns if system == "fields" else _OWN
        config = TrainConfig(model=ModelSettings(fields=fields), split="split", refit=False, seed=seed)
        began = time.process_time()
        finished = train(catalog, folder / "run", config, restart=(folder / "run").exists())
        spent = time.process_time() - began
        print(system, round(spent, 1), finished.metrics.seconds, flush=True)
        times.write_text(json.dumps(spent))
    return Model.load(folder / "run"), catalog, json.loads(times.read_text())


def _ask(source: _Source, model: Model, catalog: Catalog, system: str) -> dict[str, _Measured]:
    """The metric of every query, by the question; the same queries for all systems."""
    tested = catalog.where('split == "test"')
    titles, brands, subjects = tested.texts("title"), tested.texts("brand"), tested.texts(source.subject)
    vectors = model.encode_fields(tested, [field for field in model.fields if field != "title"])
    everything = vectors.fuse(model.network)
    asked: dict[str, Callable[[int], str]] = {
        "title alone": lambda row: str(titles[row]),
        "title and brand": lambda row: f"{titles[row]}, {brands[row]}",
        f"title and {source.subject}": lambda row: f"{titles[row]}, {subjects[row]}",
        f"{source.subject} and brand": lambda row: f"{subjects[row]} by {brands[row]}",
    }
    found = {}
    for question, ask in asked.items():
        texts = [ask(row) for row in range(len(tested))]
        distinct = {text: row for row, text in reversed(list(enumerate(texts)))}
        relevant = [np.flatnonzero(np.array(texts) == text) for text in distinct]
        about = [str((titles if "title" in question else subjects)[row]) for row in distinct.values()]
        queries = model.encode_queries(list(distinct))

        def measure(
            items: np.ndarray, queries: Any = queries, relevant: Any = relevant, about: Any = about
        ) -> _Measured:
            values = per_query_metrics(cosine_scores(queries, items), relevant)[_METRIC]
            return _Measured(np.nan_to_num(values), about)

        found[question] = measure(everything)
        if question.startswith("title") and system == "fields":
            for column in source.columns:
                others = vectors.fuse(model.network, [field for field in vectors.fields if field != column])
                shown = found[question]
                found[f"{question}{_ADDS}{column}"] = _Measured(shown.values - measure(others).values, about)
    return found


def _judge(column: str, parts: list[_Measured]) -> dict[str, Any]:
    """What a column adds, with its 95 % interval, and the sentence that `evaluate --ablations` says of it."""
    titles = [title for part in parts for title in part.titles]
    worth = FieldWorth(column, _METRIC, bootstrap_interval(np.concatenate([part.values for part in parts]), titles))
    return {
        "adds": [round(value, 4) for value in (worth.gain.mean, worth.gain.low, worth.gain.high)],
        "is said": worth.sentence,
    }


def _compare(by_system: dict[str, list[_Measured]]) -> dict[str, Any]:
    """The mean of each system, and the paired difference of fields to each other one with its 95 % interval."""
    values = {system: np.concatenate([part.values for part in parts]) for system, parts in by_system.items()}
    titles = [title for part in next(iter(by_system.values())) for title in part.titles]
    figures: dict[str, Any] = {system: round(float(found.mean()), 4) for system, found in values.items()}
    for other in values.keys() - {"fields"} if "fields" in values else ():
        gain = bootstrap_interval(values["fields"] - values[other], titles)
        figures[f"fields - {other}"] = [round(value, 4) for value in (gain.mean, gain.low, gain.high)]
    return figures


if __name__ == "__main__":
    main()
