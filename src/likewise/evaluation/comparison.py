"""Comparison of a trained model with its baselines on the same queries, paired by query."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from likewise.evaluation.metrics import METRICS, Scores, per_query_metrics
from likewise.evaluation.ranks import rank_histogram
from likewise.evaluation.results import SubsetResult, SystemResult
from likewise.evaluation.significance import Interval, bootstrap_intervals, group_codes


@dataclass(frozen=True)
class SystemMetrics:
    """A system's metrics for every query, ready to be compared."""

    name: str
    metrics: dict[str, np.ndarray]  # (q,) for each of METRICS
    groups: np.ndarray  # (q,) int64 identity of each query


def evaluate_system(
    name: str,
    scores: Scores,
    relevant: Sequence[ArrayLike],
    groups: Sequence[Hashable] | np.ndarray,
    *,
    gains: Sequence[ArrayLike] | None = None,
    exclude: Sequence[ArrayLike] | None = None,
) -> SystemMetrics:
    """Measure one system on one subset.

    Args:
        name: as it stands in the tables, such as "trained", "untrained", "BM25" or "start".
        scores: (q, n) or a function of a slice: `cosine_scores(queries, items)`, `bm25_scores(queries, texts)`.
        relevant, gains, exclude: as in `per_query_metrics`.
        groups: (q,) the identity of each query; the bootstrap draws these.
    """
    metrics = per_query_metrics(scores, relevant, gains, exclude=exclude)
    return SystemMetrics(name, metrics, group_codes(groups))


def compare(
    subset: str,
    label: str,
    trained: SystemMetrics,
    baselines: Sequence[SystemMetrics],
    *,
    start: SystemMetrics | None = None,
    metric: str,
    candidates: int,
    seed: int = 0,
) -> SubsetResult:
    """The trained model against its baselines on one subset.

    The strongest baseline is the one with the highest mean of `metric` on these queries, which favours the baselines.

    Args:
        subset, label: the key of the subset and its description (`subsets.describe`).
        trained, baselines: measured on the same queries.
        start: the model as its training began, which is one more baseline; None: it is not known.
        metric: the headline metric, one of `METRICS`.
        candidates: items that were ranked.
    """
    if start is not None:
        baselines = [*baselines, start]
    systems = [trained, *baselines]
    if any(len(system.groups) != len(trained.groups) for system in systems):
        raise ValueError("systems can only be compared on the same queries")
    strongest = max(baselines, key=lambda baseline: _mean(baseline, metric), default=None)
    columns = [system.metrics[name] for system in systems for name in METRICS]
    for other in (strongest, start):
        if other is not None:
            columns += [trained.metrics[name] - other.metrics[name] for name in METRICS]
    intervals = bootstrap_intervals(np.stack(columns, axis=1), trained.groups, seed=seed)
    by_system = [dict(zip(METRICS, part, strict=True)) for part in _in_parts(intervals, len(METRICS))]
    differences = by_system[len(systems) :]  # to the strongest baseline, then to the start
    return SubsetResult(
        subset=subset,
        label=label,
        queries=int((~np.isnan(trained.metrics[metric])).sum()),
        candidates=candidates,
        systems=[
            SystemResult(name=system.name, metrics=metrics, ranks=rank_histogram(system.metrics["mrr"]))
            for system, metrics in zip(systems, by_system, strict=False)
        ],
        baseline=strongest.name if strongest is not None else None,
        differences=differences[0] if strongest is not None else {},
        gains=differences[-1] if start is not None else {},
    )


def _mean(system: SystemMetrics, metric: str) -> float:
    known = system.metrics[metric][~np.isnan(system.metrics[metric])]
    return float(known.mean()) if len(known) else 0.0


def _in_parts(intervals: list[Interval], size: int) -> list[list[Interval]]:
    return [intervals[start : start + size] for start in range(0, len(intervals), size)]


def headline_metric(relevant: Sequence[ArrayLike], *, graded: bool = False) -> str:
    """The metric that decides: recall@10, or nDCG@10 where relevance is graded or most queries have several answers.

    With more than ten answers recall@10 cannot reach 1, and it says nothing of their order.
    """
    counts = np.array([np.size(row) for row in relevant])
    several = bool((counts > 1).sum() * 2 > (counts > 0).sum())
    return "ndcg@10" if graded or several else "recall@10"


def relevance_by_key(
    query_keys: Sequence[Hashable | None], candidate_keys: Sequence[Hashable | None]
) -> list[np.ndarray]:
    """For every query the ascending positions of the candidates with an equal key; none where the key is None."""
    codes = {key: code for code, key in enumerate(dict.fromkeys(key for key in candidate_keys if key is not None))}
    known = [-1 if key is None else codes[key] for key in candidate_keys]
    order = np.argsort(known, kind="stable")
    bounds = np.searchsorted(np.asarray(known)[order], np.arange(len(codes) + 1)) if known else np.zeros(1, int)
    none = np.empty(0, dtype=np.int64)
    parts = [order[bounds[code] : bounds[code + 1]] for code in range(len(codes))]
    return [none if key is None or key not in codes else parts[codes[key]] for key in query_keys]
