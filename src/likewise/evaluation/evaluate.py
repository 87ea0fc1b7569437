"""Evaluation of a model against its baselines: one table for every subset of the fields, and a verdict."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from likewise.evaluation.baselines import measure_baselines, name_untrained
from likewise.evaluation.comparison import SystemMetrics, compare
from likewise.evaluation.embeddings import TaskEmbeddings, embed_queries, embed_task
from likewise.evaluation.field_worth import FieldWorth, measure_field_worths
from likewise.evaluation.ranks import Rankings, rank_candidates
from likewise.evaluation.results import START, TRAINED, Comparison, RunMetrics, SubsetResult, Threshold
from likewise.evaluation.subsets import FieldSubset
from likewise.evaluation.task import RetrievalTask
from likewise.evaluation.threshold import calibrate_threshold, measure_threshold
from likewise.evaluation.zero_shot import load_zero_shot, name_zero_shot
from likewise.model.cached_features import cache_pictures
from likewise.model.closed_forms import load_closed_forms, load_start_logits
from likewise.model.model import Model
from likewise.model.run_folder import METRICS


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
        worths: what each field adds to the others; empty without ablations.
    """

    comparison: Comparison
    embeddings: TaskEmbeddings
    subset: FieldSubset
    relevant: list[np.ndarray]
    rankings: Rankings
    threshold: Threshold | None = None
    worths: Sequence[FieldWorth] = ()

    @property
    def task(self) -> RetrievalTask:
        """The queries and their answers."""
        return self.embeddings.task

    def as_dict(self) -> dict[str, Any]:
        """The results as JSON: the trained model's metrics first, then the baselines, the verdict and the ablations."""
        first, *parts = (self._subset_as_dict(subset) for subset in self.comparison.subsets)
        threshold = self.threshold.model_dump(mode="json") if self.threshold is not None else None
        ablations: dict[str, Any] = {"ablations": parts} if parts else {}
        if self.worths:
            ablations["worths"] = [worth.as_dict() for worth in self.worths]
        return first | {"threshold": threshold} | ablations

    def _subset_as_dict(self, subset: SubsetResult) -> dict[str, Any]:
        result = subset.model_dump(mode="json")
        systems = {system["name"]: system["metrics"] for system in result["systems"]}
        return {
            "view": subset.subset,
            "on": subset.label,
            "queries": subset.queries,
            "candidates": subset.candidates,
            "metrics": systems.pop(subset.trained.name),
            "baselines": systems,
            "metric": self.comparison.metric,
            "strongest_baseline": subset.baseline,
            "difference": result["differences"].get(self.comparison.metric),
            "verdict": self.comparison.verdict_on(subset),
            "training_difference": result["gains"].get(self.comparison.metric),
            "training_verdict": self.comparison.training_verdict_on(subset),
        }


def evaluate(
    embeddings: TaskEmbeddings,
    subsets: Sequence[FieldSubset],
    baselines: Mapping[str, Mapping[str, SystemMetrics]],
    *,
    name: str = TRAINED,
    seed: int = 0,
) -> Evaluation | None:
    """Compare a trained model with its baselines on a retrieval task.

    Args:
        embeddings: the task in the model's space.
        subsets: of the fields; the first decides the verdict.
        baselines: by their names and the key of the subset (`measure_baselines`); the one called `START` is the model
            as its training began, to which the trained one is compared by itself, too.
        name: of the model in the tables.
        seed: of the bootstrap.

    Returns:
        The results; None where there is no subset.
    """
    if not subsets:
        return None
    task, trained = embeddings.task, embeddings.evaluate(name, subsets)
    results = [
        compare(
            subset.key,
            subset.label,
            trained[subset.key],
            [by_key[subset.key] for other, by_key in baselines.items() if other != START and subset.key in by_key],
            start=baselines[START][subset.key] if START in baselines else None,
            metric=task.metric,
            candidates=task.candidates,
            seed=seed,
        )
        for subset in subsets
    ]
    scores, relevant = embeddings.score(subsets[0])
    rankings = rank_candidates(scores, relevant, task.exclude)
    comparison, worths = (
        Comparison(metric=task.metric, subsets=results),
        measure_field_worths(trained, task.metric, seed),
    )
    return Evaluation(comparison, embeddings, subsets[0], relevant, rankings, worths=worths)


def evaluate_run(
    run: Path, model: Model, task: RetrievalTask, *, ablations: bool = False, zero_shot: Sequence[str] = ()
) -> Evaluation:
    """Compare a run's model with its untrained encoders, its closed forms, its start, BM25 and zero-shot models.

    The model of a run that was never trained (`create_run`) is compared with BM25 and zero-shot models.

    Args:
        run: the run folder, which holds the closed forms and the threshold.
        model: the run's model.
        task: the queries and their answers.
        ablations: also through each field alone, and without each.
        zero_shot: CLIP or SigLIP models to compare with as well, by Hugging Face id or folder.

    Raises:
        UserError: the run's files are damaged or of another version, or there is no such zero-shot model.
    """
    metrics = RunMetrics.read(run) if (run / METRICS).is_file() else None  # else a model without its training's figures
    published = [load_zero_shot(name, model, task.catalog.cache) for name in zero_shot]
    untrained = create_untrained(model)
    closed_forms = load_closed_forms(run, untrained.network)
    start_logits = load_start_logits(run, untrained.network)
    if "image" in task.fields:
        cache_pictures(untrained, task.catalog)  # for closed forms, too, and for the model where its encoder is frozen
    subsets = task.list_subsets(ablations=ablations)
    baselines = measure_baselines(
        subsets, untrained.network, _build_embedding(untrained, task), task.fields, closed_forms, start_logits
    )
    for name, other in zip(zero_shot, published, strict=True):
        shown = name_zero_shot(name, {TRAINED, *baselines})
        known = [field for field in task.fields if field in other.fields]
        baselines[shown] = embed_task(other, task, known).evaluate(shown, subsets)
    called = TRAINED
    if metrics is not None and not metrics.trained:
        called = name_untrained(untrained.network)
        del baselines[called]
    evaluation = evaluate(embed_task(model, task), subsets, baselines, name=called)
    assert evaluation is not None  # noqa: S101 - for the type checker: the first subset shows all fields
    calibrated = None if metrics is None else metrics.threshold
    return dataclasses.replace(evaluation, threshold=_measure_threshold(calibrated, evaluation.rankings))


def create_untrained(model: Model) -> Model:
    """A model as this one was before any training."""
    device: Any = model.device.type
    known = model.network.class_names
    fitted = {name: encoder for name, encoder in model.encoders.items() if encoder.fitted}
    return Model.create(
        model.settings, device, model.precision, fitted=fitted, class_names=False if known is None else known
    )


def embed_start(run: Path, model: Model, task: RetrievalTask, fields: Sequence[str]) -> TaskEmbeddings | None:
    """A task in the space of a run's model as its training began; None where the run does not hold its start.

    Args:
        run: the run folder.
        model: the run's model.
        task: the queries and their answers.
        fields: of the items.
    """
    untrained = create_untrained(model)
    start = load_closed_forms(run, untrained.network).get(START)
    if start is None:
        return None
    for field, base in start.items():
        untrained.network.set_base_map(field, base)
    with torch.no_grad():
        untrained.network.fusion.field_logits.copy_(load_start_logits(run, untrained.network))
    return embed_task(untrained, task, fields)


def _build_embedding(model: Model, task: RetrievalTask) -> Callable[[Sequence[str]], TaskEmbeddings]:
    """A function that embeds a task through some of its fields; queries without pictures are encoded only once."""
    queries = None if any(task.pictures) else embed_queries(model, task.catalog, task.texts, task.pictures)
    return lambda fields: embed_task(model, task, fields, queries)


def _measure_threshold(calibrated: Threshold | None, rankings: Rankings) -> Threshold | None:
    """The threshold of the training, measured on these queries; without one it is chosen on them."""
    answered = ~np.isnan(rankings.right)
    present, absent = np.fmax(rankings.right, rankings.wrong)[answered], rankings.wrong[answered]
    if calibrated is None:
        return calibrate_threshold(present, absent)
    return measure_threshold(calibrated.score, present, absent)
