"""Quality on the Grocery Store Dataset (official split), and what missing pictures and descriptions cost."""

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import polars as pl
from measuring import likewise, options, record

_TEST = 'split == "test"'
_AIMS = (("photo → title", "recall@1"), ("title → photos", "map"))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--best", action="store_true", help="--effort best --budget 40m instead of the defaults")
    parser.add_argument("--no-refit", action="store_true", help="the models as they were before the fit on all rows")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.best:
            figures = {}
            for seed in arguments.seeds:  # each is kept, as the next takes most of an hour
                figures[seed] = _best(arguments.data, folder / str(seed), seed)
                means = {", ".join(aim): _mean(figures.values(), *aim) for aim in _AIMS}
                record(
                    "grocery_best",
                    {"official split, --effort best --budget 40m, by seed": figures, "mean of the seeds": means},
                )
            return
        if arguments.no_refit:
            figures = {seed: _train_and_measure(arguments.data, folder, seed, "--no-refit") for seed in arguments.seeds}
            record("grocery_no_refit", {"official split, --no-refit, by seed": figures})
            return
        figures = {seed: _train_and_measure(arguments.data, folder, seed) for seed in arguments.seeds}
        gaps = _with_gaps(arguments.data, folder)
    record("grocery", {"official split, defaults of frozen, by seed": figures, "with gaps": gaps})


def _mean(seeds: Iterable[Mapping[str, Any]], question: str, metric: str) -> float:
    """Of the trained model's figure."""
    return round(mean(seed[question][metric]["trained"] for seed in seeds), 4)


def _best(data: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Each seed in a folder of its own: what encoding costs is part of the budget."""
    folder.mkdir()
    return _train_and_measure(data, folder, seed, "--effort", "best", "--budget", "40m")


def _train_and_measure(data: Path, folder: Path, seed: int, *others: str) -> dict[str, Any]:
    run = folder / f"run-{seed}"
    command = ("train", data, "--output", run, "--split", "split", "--seed", str(seed), "--cache", folder / "cache")
    trained = likewise(*command, *others)
    return {"photo → title": _photo_to_title(run, data, folder)} | {
        "title → photos": _ask(run, data, folder, "--queries", "column:title", "--fields", "image", metric="map"),
        "seconds of train": round(trained.seconds, 1),
    }


def _photo_to_title(run: Path, data: Path, folder: Path) -> dict[str, Any]:
    """recall@1 is accuracy here: every photo has one title among 81."""
    return _ask(run, data, folder, "--answers", "column:title", "--fields", "image", metric="recall@1")


def _ask(run: Path, data: Path, folder: Path, *question: str, metric: str) -> dict[str, Any]:
    command = ("evaluate", run, "--data", data, "--where", _TEST, "--json", "--cache", folder / "cache", *question)
    result = json.loads(likewise(*command).output)
    systems = {"trained": result["metrics"], **result["baselines"]}
    return {
        metric: {name: round(metrics[metric]["mean"], 4) for name, metrics in systems.items()},
        "95 % interval of trained": [round(systems["trained"][metric][end], 4) for end in ("low", "high")],
        "verdict": result["verdict"],
    }


def _with_gaps(data: Path, folder: Path) -> dict[str, Any]:
    """Half of the pictures and a tenth of the descriptions removed at random: train, report, index and search."""
    table = pl.read_csv(data)
    rng = np.random.default_rng(0)
    root = str(data.parent.absolute()) + "/"
    no_picture, no_description = rng.random(len(table)) < 0.5, rng.random(len(table)) < 0.1
    gaps = folder / "gaps.csv"
    table.with_columns(
        pl.when(pl.Series(no_picture)).then(None).otherwise(root + pl.col("image_url")).alias("image_url"),
        pl.when(pl.Series(no_description)).then(None).otherwise(pl.col("description")).alias("description"),
    ).write_csv(gaps)
    run = folder / "run-gaps"
    likewise("train", gaps, "--output", run, "--split", "split", "--cache", folder / "cache")
    likewise("index", run, "--data", gaps, "--cache", folder / "cache")
    found = json.loads(likewise("search", run, "a ripe banana", "--json").output)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    subsets = {
        subset["label"]: {
            name: round(subset["systems"][0]["metrics"][name]["mean"], 4) for name in ("recall@10", "ndcg@10", "map")
        }
        for subset in metrics["comparison"]["subsets"]
    }
    return {
        "report of the run": subsets,
        "photo → title": _photo_to_title(run, gaps, folder),
        "search for 'a ripe banana' gives": [hit["title"] for hit in found[:3]],
        "picture-only items in a mixed index": _mixed_index(run, data, folder),
    }


def _mixed_index(run: Path, data: Path, folder: Path) -> dict[str, float]:
    """recall@10 of the picture-only items: in an index of their own, and among as many items that have only text.

    In both, a title's answers are the picture-only items with that title, and text-only items with it are passed over
    (they are right answers, too); what counts is whether other texts push pictures out of sight.
    """
    from likewise.catalog.catalog import Catalog
    from likewise.evaluation.metrics import cosine_scores, per_query_metrics
    from likewise.model.model import Model

    catalog = Catalog.read(data, where=_TEST, cache=folder / "cache")
    model = Model.load(run)
    titles = list(dict.fromkeys(catalog.texts("title")))
    queries = model.encode_queries(titles)
    by_picture = np.random.default_rng(0).random(len(catalog)) < 0.5
    pictures = model.encode_items(catalog, fields=["image"])
    texts = model.encode_items(catalog, fields=["title", "description"])
    owners = np.array([titles.index(title) for title in catalog.texts("title")])
    relevant = [np.flatnonzero(by_picture & (owners == number)) for number in range(len(titles))]
    passed_over = [np.flatnonzero(~by_picture & (owners == number)) for number in range(len(titles))]
    alone = np.where(by_picture[:, None], pictures, np.nan)
    mixed = np.where(by_picture[:, None], pictures, texts)
    figures = {
        name: float(
            np.nanmean(per_query_metrics(cosine_scores(queries, items), relevant, exclude=passed_over)["recall@10"])
        )
        for name, items in (("picture-only index", alone), ("mixed index", mixed))
    }
    figures["ratio (at least 0.8)"] = figures["mixed index"] / figures["picture-only index"]
    return {name: round(figure, 4) for name, figure in figures.items()}


if __name__ == "__main__":
    main()
