"""Searches whose answer is not in the index: how many are flagged, by one flat threshold and by one for each query.

python benchmarks/nothing_fits.py [--folds 2] [--epochs 0] [--folder DIR]

A model is trained on all rows but those of a test fold and not fitted again on others, so it knows no test row. The
index holds all rows. Queries are made of the test rows as docs/evaluation.md says: titles and single words, pictures,
titles with pictures; a title or picture that is asked is hidden from its answers. Each query is asked twice: with its
answers in the index, and with all of them taken out. A search is flagged if its best hit lies below the threshold, and
with answers that is a false alarm. With --epochs 0, models are the closed-form starts, which need no training.

Two things are measured. At 5 % false alarms on the test queries themselves: the share of searches without an answer
that are flagged, by the flat threshold, by the run's rule, and the difference with a 95 % interval (paired bootstrap
over identities; both thresholds are put at 5 % in every draw). As stored: the false alarms and the share flagged with
the thresholds of the run, which have seen none of these queries.

Then people ask: a model of all of OpenMoji, as `make demo` trains it, is asked for 60 things of everyday life that it
has something for, in words that need not stand in any item, and for 30 that it has nothing for; by words, and in hybrid
search. The queries were written before the thresholds, by hand, and which is which is a matter of judgement. Last, what
`min_score="auto"` adds to a search over many items, in processor time.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from catalogues.prepared import CATALOGUES, prepare
from clustered import DIM, Clustered
from measuring import options, record

import likewise as lw
from likewise.catalog.identity import Identity
from likewise.catalog.samples import write_openmoji
from likewise.evaluation.calibration import CalibrationScores
from likewise.evaluation.calibration_queries import CalibrationByKind, CalibrationItems, score_queries
from likewise.evaluation.task import build_title_task
from likewise.evaluation.threshold import FALSE_ALARMS
from likewise.retrieval.thresholds import RULES, RuleKind, ScoreStatistics, ThresholdRule, Thresholds

_DRAWS = 2_000
_REPEATS = 400
_ANSWERED = """
    rainy day, fruits, laughing, precipitation, mathematics, romance, writing tools, bad weather, living in the ocean,
    music instrument, being sick, wedding, winter sports, farm animals, something to drink, public transport, crying,
    outer space, tools for building, birthday party, money, vegetables, insects, office supplies, time, someone cooking,
    summer holiday, fast food, sleeping, angry, celebration, school, hospital, reptiles, flags of scandinavia,
    ball games, night sky, religious building, clothes for winter, kitchen tools, gardening, hairstyle, horror, luck,
    photography, computer hardware, danger, royalty, sailing, healthy snack, cute animal, evil creature, gift, voting,
    electricity, fishing, measuring, magic, hot drink, love letter"""
_UNANSWERED = """
    carburetor gasket, quarterly tax report, kubernetes deployment, lawn mower blade, usb c cable 2m,
    waterproof running jacket size 42, mortgage refinancing, stainless steel sink strainer, GTX 4090 graphics card,
    replacement vacuum filter, linear algebra textbook second edition, dishwasher tablets, acoustic foam panels,
    HDMI splitter, car insurance quote, python asyncio tutorial, vinyl flooring, printer toner cartridge,
    brake pads front axle, sourdough starter hydration, asdf qwer zxcv, lorem ipsum dolor, photosynthesis rate constant,
    windshield wiper fluid, yoga retreat in portugal, blockchain consensus, ikea billy bookcase,
    memory foam mattress topper, torx screwdriver bits t20, diaper size 3"""


def measure_catalogue(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures of one catalogue, over its first folds."""
    measured: dict[RuleKind, list[tuple[CalibrationScores, ThresholdRule]]] = {}
    files = prepare(name, folder / name, arguments.data)[: arguments.folds]
    for file in files:
        run = _train(file, folder / name / "cache", arguments.epochs)
        thresholds = Thresholds.read(run)
        assert thresholds is not None, f"{run} has no thresholds"
        for kind, scores in _ask(run, file, folder / name / "cache").items():
            if kind in thresholds.rules:
                measured.setdefault(kind, []).append((scores, thresholds.rules[kind]))
    return {"folds": len(files)} | {kind: _summarise(measured[kind]) for kind in RULES if kind in measured}


def _train(file: Path, cache: Path, epochs: int | None) -> Path:
    """A run on the rows outside the test fold, which likewise splits as it does for a user."""
    rows = pl.read_csv(file, infer_schema=False)
    given = file.with_name("given.csv")
    rows.filter(pl.col("split") != "test").drop("split").write_csv(given)
    settings = {} if epochs is None else {"epochs": epochs}
    run = file.with_name("run")
    lw.train(lw.Catalog.read(given, cache=cache), run, lw.TrainConfig(refit=False, **settings), restart=run.exists())
    return run


def _ask(run: Path, file: Path, cache: Path) -> CalibrationByKind:
    """The scores of queries for the test rows, in an index of all rows."""
    rows = pl.read_csv(file, infer_schema=False)
    whole = file.with_name("all.csv")
    rows.drop("split").write_csv(whole)
    catalog, model = lw.Catalog.read(whole, cache=cache), lw.Model.load(run)
    tested = rows.filter(pl.col("split") == "test")["id"].to_list()
    identity = Identity.read(catalog)
    task = build_title_task(catalog, identity, tuple(field for field in model.fields if field != "title"))
    items = CalibrationItems(
        model.encode_fields(catalog, model.fields),
        np.isin(catalog.column("id"), tested),
        model.network,
        identity,
        task,
        catalog.texts("title"),
        model.encode_queries,
    )
    return score_queries(items, np.random.default_rng(1))


def measure_people(folder: Path) -> dict[str, Any]:
    """Searches of OpenMoji that have an answer or none, as people word them: the share flagged, and likely hits."""
    write_openmoji(folder / "sample")
    catalog = lw.Catalog.read(folder / "sample" / "openmoji.csv", cache=folder / "cache")
    run = lw.train(catalog, folder / "people", restart=(folder / "people").exists()).path
    figures: dict[str, Any] = {}
    with lw.Index.build(lw.Model.load(run), catalog, run) as index:
        for kind, hybrid in (("words", None), ("hybrid", lw.Hybrid())):
            for name, queries in (("with an answer", _ANSWERED), ("without", _UNANSWERED)):
                asked = [" ".join(query.split()) for query in queries.split(",")]
                found = [index.search(query, k=10, min_score="auto", hybrid=hybrid) for query in asked]
                figures.setdefault(kind, {})[name] = {
                    "queries": len(asked),
                    "flagged": round(float(np.mean([not hits[0].likely for hits in found])), 3),
                    "likely hits of ten": round(
                        float(np.mean([sum(bool(h.likely) for h in hits) for hits in found])), 2
                    ),
                }
    return figures


def _summarise(folds: list[tuple[CalibrationScores, ThresholdRule]]) -> dict[str, Any]:
    by_rule, flat = (np.concatenate(parts, axis=1) for parts in zip(*map(_margins, folds), strict=True))
    group = CalibrationScores.join([scores for scores, _ in folds]).group
    flagged = {name: _flagged(margins) for name, margins in (("flat", flat), ("per query", by_rule))}
    low, high = np.percentile(_draw_differences(by_rule, flat, group), [2.5, 97.5])
    return {
        "queries": len(group),
        "rule": "per query" if any(rule.intercept != rule.flat for _, rule in folds) else "flat",
        f"flagged at {FALSE_ALARMS:.0%} false alarms": {name: round(share, 4) for name, share in flagged.items()},
        "difference": round(flagged["per query"] - flagged["flat"], 4),
        "95 % interval": [round(float(low), 4), round(float(high), 4)],
        "as stored": {
            name: {
                "false alarms": round(float((margins[0] < 0).mean()), 4),
                "flagged": round(float((margins[1] < 0).mean()), 4),
            }
            for name, margins in (("flat", flat), ("per query", by_rule))
        },
    }


def _margins(fold: tuple[CalibrationScores, ThresholdRule]) -> tuple[np.ndarray, np.ndarray]:
    """(2, q) each: what the best score, with answers and without, has above the run's rule and its flat threshold."""
    scores, rule = fold
    parts = ((scores.present, scores.present_statistics), (scores.absent, scores.absent_statistics))
    thresholds = [[rule.threshold(ScoreStatistics(*row)) for row in rows.tolist()] for _, rows in parts]
    best = np.stack([scores for scores, _ in parts])
    return best - np.array(thresholds), best - rule.flat


def _flagged(margins: np.ndarray) -> float:
    """The share without an answer that lies below 5 % of those with one."""
    return float((margins[1] < np.quantile(margins[0], FALSE_ALARMS)).mean())


def _draw_differences(by_rule: np.ndarray, flat: np.ndarray, group: np.ndarray) -> np.ndarray:
    """How much more the rule flags, for each bootstrap draw of groups of queries."""
    rng, groups = np.random.default_rng(0), np.unique(group)
    members = [np.flatnonzero(group == one) for one in groups]
    differences = np.empty(_DRAWS)
    for draw in range(_DRAWS):
        rows = np.concatenate([members[place] for place in rng.integers(len(groups), size=len(groups))])
        differences[draw] = _flagged(by_rule[:, rows]) - _flagged(flat[:, rows])
    return differences


class _LookedUpQueries:
    """A model whose queries are their own vectors."""

    dim = DIM
    fingerprint = "looked-up"

    def __init__(self, queries: np.ndarray) -> None:
        self._queries = queries

    def encode_queries(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._queries[int(text)] for text in texts])


def measure_cost(count: int, folder: Path) -> dict[str, Any]:
    """Milliseconds of a search with and without a threshold, in turn."""
    clustered = Clustered(0)
    vectors = np.concatenate(list(clustered.blocks(count)))
    model = _LookedUpQueries(clustered.queries(_REPEATS))
    rule = ThresholdRule(0.1, 0.5, 0.5, 0.5, 0.5, 0.0, 1.0, 0.1, 0.05, 0.5, 0.4, 300)
    Thresholds(DIM, {"words": rule}).write(folder)
    items = pl.DataFrame({"id": [f"item-{row}" for row in range(count)]})
    took: dict[str, list[float]] = {"without": [], "with": []}
    with lw.Index.from_vectors(model, vectors, items, run=folder) as index:
        index.search("0", min_score="auto")  # reads rules and sample
        for query in range(_REPEATS):
            for name, least in (("without", None), ("with", "auto")):
                began = time.process_time()
                hits = index.search(str(query), min_score=least)
                took[name].append(1000 * (time.process_time() - began))
            assert hits.threshold is not None
    median = {name: float(np.median(times)) for name, times in took.items()}
    added = [after - before for before, after in zip(took["without"], took["with"], strict=True)]
    return {
        "items": count,
        "search, ms": round(median["without"], 3),
        "search with a threshold, ms": round(median["with"], 3),
        "added, ms (median of pairs)": round(float(np.median(added)), 3),
    }


def _main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--catalogues", nargs="+", choices=CATALOGUES, default=["stamps", "openmoji", "grocery"])
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=0, help="of training; below 0: the default of likewise")
    parser.add_argument("--items", type=int, default=100_000, help="of the index whose searches are timed")
    parser.add_argument("--folder", type=Path, help="keeps what is computed once, such as features")
    arguments = parser.parse_args()
    arguments.epochs = arguments.epochs if arguments.epochs >= 0 else None
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        figures = {name: measure_catalogue(name, arguments, folder) for name in arguments.catalogues}
        figures["people"] = measure_people(folder / "people")
        (Path(temporary) / "timed").mkdir()
        figures["cost"] = measure_cost(arguments.items, Path(temporary) / "timed")
    record("nothing-fits", {"epochs": arguments.epochs, **figures})


if __name__ == "__main__":
    _main()
