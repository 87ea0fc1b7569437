"""Items that trained and items that came later, in one index: do those that trained push the others out of sight?

Queries are the titles of items that no training has seen. They are asked twice: in an index of such items alone, and in
one of the same size in which every second item trained. `quality.py` measures this for likewise and for its start.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers.task import FIELDS, Task

from likewise.catalog.catalog import Catalog
from likewise.evaluation.metrics import cosine_scores, per_query_metrics
from likewise.model.model import Model

Vectors = NDArray[np.float32]

ALONE, MIXED = "index of later items", "half of the items trained"
LEAST_RATIO = 0.95
_METRIC = "recall@10"
_DRAWS = 4  # of the items that trained
_RESAMPLES = 2000


def measure(task: Task, model: Model) -> dict[str, list[float]]:
    """recall@10 of every title of the test rows, in both indexes.

    An item is seen without its title, which is asked for.
    """
    shown = [field for field in FIELDS if field != "title"]
    trained, later = task.given, task.test
    return compare(
        model.encode_queries([title or "" for title in later.texts("title")]),
        model.encode_items(later, shown),
        model.encode_items(trained, shown),
        _number_titles(later, trained),
        seed=task.seed,
    )


def _number_titles(*catalogs: Catalog) -> list[NDArray[np.int64]]:
    """The number of every row's title, the same for equal ones; −1 for none."""
    numbers: dict[str, int] = {}
    found = []
    for catalog in catalogs:
        titles = [(title or "").strip().lower() for title in catalog.texts("title")]
        found.append(np.array([numbers.setdefault(title, len(numbers)) if title else -1 for title in titles]))
    return found


def compare(
    queries: Vectors, later: Vectors, trained: Vectors, titles: Sequence[NDArray[np.int64]], seed: int
) -> dict[str, list[float]]:
    """recall@10 by title, in an index of items that came later, and in one of which half of the items trained.

    Each half of the later items takes its turn beside as many drawn ones that trained. In both indexes the answers are
    the later items of that half; other items with the title are right, too, and are passed over.

    Args:
        queries: (later, dim) of the titles of later items.
        later, trained: (items, dim); there are at least half as many that trained.
        titles: (later,) and (trained,) their numbers; −1 is not asked for.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    of_later, of_trained = titles
    asked, first = np.unique(of_later[of_later >= 0], return_index=True)
    asked_queries = queries[np.flatnonzero(of_later >= 0)[first]]
    sums, counts = np.zeros((2, len(asked))), np.zeros(len(asked))
    for _ in range(_DRAWS):
        order = rng.permutation(len(later))
        for half in (order[: len(later) // 2], order[len(later) // 2 :]):
            others = np.setdiff1d(order, half)
            drawn = rng.choice(len(trained), len(others), replace=False)
            answers = [half[of_later[half] == title] for title in asked]
            items = later.copy()
            alone = _recall(asked_queries, items, answers, [others[of_later[others] == title] for title in asked])
            items[others] = trained[drawn]
            mixed = _recall(asked_queries, items, answers, [others[of_trained[drawn] == title] for title in asked])
            present = np.array([len(rows) > 0 for rows in answers])
            sums += np.where(present, np.stack([alone, mixed]), 0.0)
            counts += present
    return {name: (found / counts).tolist() for name, found in zip((ALONE, MIXED), sums, strict=True)}


def _recall(
    queries: Vectors, items: Vectors, answers: list[NDArray[np.int64]], passed_over: list[NDArray[np.int64]]
) -> NDArray[np.float64]:
    return per_query_metrics(cosine_scores(queries, items), answers, exclude=passed_over)[_METRIC]


def summarise(figures: Sequence[dict[str, list[float]]]) -> dict[str, Any]:
    """The means over the queries of all folds and seeds, and their ratio with a 95 % interval over queries."""
    alone, mixed = (np.concatenate([part[name] for part in figures]) for name in (ALONE, MIXED))
    draws = np.random.default_rng(0).integers(len(alone), size=(_RESAMPLES, len(alone)))
    ratios = mixed[draws].mean(axis=1) / alone[draws].mean(axis=1)
    return {
        f"{_METRIC}, {ALONE}": round(float(alone.mean()), 4),
        f"{_METRIC}, {MIXED}": round(float(mixed.mean()), 4),
        f"ratio (at least {LEAST_RATIO})": round(float(mixed.mean() / alone.mean()), 4),
        "interval": [round(float(bound), 4) for bound in np.percentile(ratios, (2.5, 97.5))],
    }


def describe(name: str, summary: dict[str, Any]) -> str:
    """One sentence."""
    alone, mixed, ratio, (low, high) = summary.values()
    return (
        f"{name}: items that came later are found with a recall@10 of {mixed:.3f} where half of the index trained, and "
        f"of {alone:.3f} in an index of as many later items: {ratio:.3f} [{low:.3f}, {high:.3f}] of it "
        f"(at least {LEAST_RATIO})."
    )
