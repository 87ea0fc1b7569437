"""Search before any training: pictures found by words through the names of ImageNet's classes, on two catalogues.

Every title of a fold looks for its row among the rows of this fold, five folds by identity, as in `quality.py`. The
preset `lite` as it comes is compared with itself without class names (a random map of pictures), with BM25, and with
chance: k of n rows are among the first k.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from catalogues.prepared import prepare
from judging import Judge
from measuring import GROCERY, HERE, kept, options, record
from peers.clock import Clock
from peers.seen import Seen
from peers.simple import answers
from peers.task import Task

from likewise.config import PRESETS
from likewise.evaluation.baselines import bm25_scores
from likewise.evaluation.comparison import SystemMetrics
from likewise.evaluation.significance import bootstrap_interval
from likewise.model.model import Model

ZERO_SHOT, NAMELESS, BM25 = "zero-shot", "without class names", "BM25"
VIEWS = ("image", "text", "all", "mixed")
_METRICS = ("recall@1", "recall@10", "map")
_CATALOGUES = ("stamps", "openmoji")


def main() -> None:
    arguments = _arguments()
    figures = kept("zero_shot").get("catalogues", {})
    for name in arguments.catalogues:
        figures[name] = measure_catalogue(prepare(name, arguments.folder / name, GROCERY))
    record("zero_shot", {"catalogues": figures})


def measure_catalogue(files: list[Path]) -> dict[str, Any]:
    """Figures of every system by view and metric, pooled over folds: mean, 95 % interval, and what chance gives."""
    tasks = [Task(file, file.parent, Clock(time.time(), 0), 0, 1, file.parent.parent / "cache") for file in files]
    cache = tasks[0].cache
    models = {ZERO_SHOT: Model.create("lite", cache=cache)}
    models[NAMELESS] = Model.create(PRESETS["lite"], cache=cache, class_names=False)
    judge = Judge.of([task.test for task in tasks])
    seen = {system: [[answers(task, model)] for task in tasks] for system, model in models.items()}
    measured = judge.measure(seen | {BM25: [[_search_words(task)] for task in tasks]})
    sizes = [len(task.test) for task in tasks]
    asked = [len(fold.titles.texts) for fold in judge.folds]
    return {
        "queries": sum(asked),
        "rows": sizes,
        "chance": {
            metric: round(float(np.average([_places(metric) / size for size in sizes], weights=asked)), 4)
            for metric in _METRICS
            if metric.startswith("recall@")
        },
        "systems": {
            system: {view: _figures(by_view[view]) for view in VIEWS if view in by_view}
            for system, by_view in measured.items()
        },
    }


def _search_words(task: Task) -> Seen:
    """BM25 over what items say besides their titles; it sees no pictures."""
    questions = task.questions
    documents = questions.documents(("description",)) or [None] * questions.candidates
    scores = bm25_scores(questions.texts, documents)(slice(None))
    return Seen(scores, scores, None)


def _places(metric: str) -> int:
    return int(metric.removeprefix("recall@"))


def _figures(measured: SystemMetrics) -> dict[str, list[float]]:
    """Mean, lower and upper bound by metric."""
    found = {metric: bootstrap_interval(measured.metrics[metric], measured.groups) for metric in _METRICS}
    return {metric: [round(x, 4) for x in (value.mean, value.low, value.high)] for metric, value in found.items()}


def _arguments() -> argparse.Namespace:
    parser = options(str(__doc__))
    parser.add_argument("--catalogues", nargs="+", choices=_CATALOGUES, default=list(_CATALOGUES))
    parser.add_argument("--folder", type=Path, default=HERE / "work", help="where catalogues and features are kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
