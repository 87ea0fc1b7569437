"""Evaluation of a model against its baselines: one table for every subset of the fields, and a verdict."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likewise.errors import UserError
from likewise.evaluation.baselines import measure_baselines
from likewise.evaluation.comparison import SystemMetrics, compare
from likewise.evaluation.embeddings import TaskEmbeddings, embed_task
from likewise.evaluation.ranks import Rankings, rank_candidates
from likewise.evaluation.results import Comparison, RunMetrics, SubsetResult, Threshold
from likewise.evaluation.subsets import FieldSubset
from likewise.evaluation.task import RetrievalTask
from likewise.evaluation.threshold import calibrate_threshold, measure_threshold
from likewise.model.cached_features import cache_pictures
from likewise.model.checkpoint import load_picture_map
from likewise.model.model import Model


@dataclass(frozen=True)
class Evaluation:
    """The results of a model on a retrieval task, and what they were computed from.

    Attributes:
        comparison: metrics of the model and its baselines.
        embeddings: the task in the model's space.
        subset: the first of the field subsets; the attributes below are those of the items seen through it.
        relevant: per query the positions of its answers.
        rankings: of the model.
        threshold: a score below which nothing fits; None where there is none.
    """

    comparison: Comparison
    embeddings: TaskEmbeddings
    subset: FieldSubset
    relevant: list[np.ndarray]
    rankings: Rankings
    threshold: Threshold | None = None

    @property
    def task(self) -> RetrievalTask:
        """The queries and their answers."""
        return self.embeddings.task

    def as_dict(self) -> dict[str, Any]:
        """The results as JSON: the trained model's metrics first, then the baselines, the verdict and the ablations."""
        first, *parts = (self._subset_as_dict(subset) for subset in self.comparison.subsets)
        threshold = self.threshold.model_dump(mode="json") if self.threshold is not None else None
        return first | {"threshold": threshold} | ({"ablations": parts} if parts else {})

    def _subset_as_dict(self, subset: SubsetResult) -> dict[str, Any]:
        result = subset.model_dump(mode="json")
        systems = {system["name"]: system["metrics"] for system in result["systems"]}
        return {
            "view": subset.subset,
            "on": subset.label,
            "queries": subset.queries,
            "candidates": subset.candidates,
            "metrics": systems.pop("trained"),
            "baselines": systems,
            "metric": self.comparison.metric,
            "strongest_baseline": subset.baseline,
            "difference": result["differences"].get(self.comparison.metric),
            "verdict": self.comparison.verdict_on(subset),
        }


def evaluate(
    embeddings: TaskEmbeddings,
    subsets: Sequence[FieldSubset],
    baselines: Mapping[str, Sequence[SystemMetrics]],
    *,
    seed: int = 0,
) -> Evaluation | None:
    """Compare a trained model with its baselines on a retrieval task.

    Args:
        embeddings: the task in the model's space.
        subsets: of the fields; the first decides the verdict.
        baselines: by the key of the subset (`measure_baselines`).
        seed: of the bootstrap.

    Returns:
        The results; None where there is no subset.
    """
    if not subsets:
        return None
    task, trained = embeddings.task, embeddings.evaluate("trained", subsets)
    results = [
        compare(
            subset.key,
            subset.label,
            trained[subset.key],
            baselines.get(subset.key, ()),
            metric=task.metric,
            candidates=task.candidates,
            seed=seed,
        )
        for subset in subsets
    ]
    scores, relevant = embeddings.score(subsets[0])
    rankings = rank_candidates(scores, relevant, task.exclude)
    return Evaluation(Comparison(metric=task.metric, subsets=results), embeddings, subsets[0], relevant, rankings)


def evaluate_run(run: Path, model: Model, task: RetrievalTask, *, ablations: bool = False) -> Evaluation:
    """Compare a run's model with its untrained encoders, the closed-form picture map and BM25.

    Args:
        run: the run folder, which holds the picture map and the threshold.
        model: the run's model.
        task: the queries and their answers.
        ablations: also through each field alone, and without each.
    """
    device: Any = model.device.type
    untrained = Model.create(model.settings, device, model.precision)
    if "image" in task.fields:
        cache_pictures(untrained, task.catalog)  # for the ridge, too, and for the model where its encoder is frozen
    subsets = task.list_subsets(ablations=ablations)
    baselines = measure_baselines(
        subsets, untrained.network, lambda: embed_task(untrained, task), picture_map=load_picture_map(run)
    )
    evaluation = evaluate(embed_task(model, task), subsets, baselines)
    assert evaluation is not None  # noqa: S101 - for the type checker: the first subset shows all fields
    return dataclasses.replace(evaluation, threshold=_measure_threshold(run, evaluation.rankings))


def _measure_threshold(run: Path, rankings: Rankings) -> Threshold | None:
    """The threshold that the run's training chose, measured on these queries; without one it is chosen on them."""
    try:
        calibrated = RunMetrics.read(run).threshold
    except UserError:  # a model without its training's figures can be measured, too
        calibrated = None
    if calibrated is None:
        return calibrate_threshold(rankings.right, rankings.wrong)
    return measure_threshold(calibrated.score, rankings.right, rankings.wrong)
