"""Puts an inquiry to a run and its rivals, the items seen through all of their fields and through parts of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likewise.errors import UserError
from likewise.evaluation.baselines import bm25_scores
from likewise.evaluation.comparison import Evaluated, compare
from likewise.evaluation.embeddings import SeenItems, query_vectors
from likewise.evaluation.metrics import Scores, cosine_scores
from likewise.evaluation.ranks import Found, look_up
from likewise.evaluation.results import Comparison, RunMetrics, SubsetResult, Threshold
from likewise.evaluation.task import Inquiry
from likewise.evaluation.threshold import calibrate_threshold, measure_threshold
from likewise.model.cached_features import cache_pictures
from likewise.model.checkpoint import load_picture_map
from likewise.model.model import Model


class Sight:
    """An inquiry as one model sees it; all that is left to do is to fuse fields and to compare vectors."""

    def __init__(self, inquiry: Inquiry, model: Model, fields: Sequence[str] | None = None) -> None:
        self._inquiry = inquiry
        self.items = SeenItems(model, inquiry.catalog, fields or inquiry.fields)
        self.words = query_vectors(model, inquiry.catalog, inquiry.texts, inquiry.pictures)

    def answers(self, fields: Sequence[str]) -> tuple[Scores, list[np.ndarray]]:
        """The cosine of every query with every candidate, the items seen through `fields`, and the right answers.

        An item with none of the fields cannot be found, and as a query it is not asked.
        """
        items = self.items.through(fields)
        if self._inquiry.direction == "items":
            return cosine_scores(self.words, items), self._inquiry.relevant
        empty, none = np.isnan(items[:, 0]), np.empty(0, np.int64)
        relevant = [none if lost else row for lost, row in zip(empty, self._inquiry.relevant, strict=True)]
        return cosine_scores(np.nan_to_num(items), self.words), relevant

    def measure(self, name: str, fields: Sequence[str]) -> Evaluated:
        """The model on these questions, the items seen through `fields`."""
        scores, relevant = self.answers(fields)
        return self._inquiry.evaluate(name, scores, relevant)


@dataclass(frozen=True)
class Examination:
    """A run's results, and how its model sees the items, from which a report's exhibits are made."""

    inquiry: Inquiry
    comparison: Comparison
    sight: Sight
    relevant: list[np.ndarray]  # the answers, the items seen through all fields
    found: Found  # by the trained model, likewise
    threshold: Threshold | None

    def figures(self) -> dict[str, Any]:
        """The results as JSON: the trained model's metrics first, then the rivals, the verdict and the ablations."""
        first, *parts = (self._figures_on(subset) for subset in self.comparison.subsets)
        threshold = self.threshold.model_dump(mode="json") if self.threshold is not None else None
        return first | {"threshold": threshold} | ({"ablations": parts} if parts else {})

    def _figures_on(self, subset: SubsetResult) -> dict[str, Any]:
        result = subset.model_dump(mode="json")
        systems = {system["name"]: system["metrics"] for system in result["systems"]}
        return {
            "view": subset.subset,
            "on": subset.label,
            "queries": subset.queries,
            "candidates": subset.candidates,
            "metrics": systems.pop("trained"),
            "rivals": systems,
            "metric": self.comparison.metric,
            "strongest_rival": subset.rival,
            "difference": result["differences"].get(self.comparison.metric),
            "verdict": self.comparison.verdict_on(subset),
        }


def examine(run: Path, model: Model, inquiry: Inquiry, *, ablations: bool = False) -> Examination:
    """Measure a run beside its rivals: its encoders untrained, the closed-form picture map, and BM25.

    Args:
        run: the run folder, which holds the picture map and the threshold.
        model: the run's model.
        ablations: also through each field alone, and with each left out.
    """
    device: Any = model.device.type
    untrained = Model.create(model.settings, device, model.precision)
    if "image" in inquiry.fields:
        cache_pictures(untrained, inquiry.catalog)  # for the ridge, too, and for the model where its encoder is frozen
    views = list(inquiry.views(ablations=ablations))
    sight = Sight(inquiry, model)
    systems = [_through(views, "trained", sight), _through(views, "untrained", Sight(inquiry, untrained))]
    picture_map = load_picture_map(run)
    if picture_map is not None:
        with untrained.network.with_picture_map(*picture_map):
            systems.append(_through(views, "ridge", Sight(inquiry, untrained)))
    subsets = []
    for place, (key, words, fields) in enumerate(views):
        trained, *rivals = (system[place] for system in systems)
        bm25 = _bm25(inquiry, fields)
        subsets.append(
            compare(
                key,
                inquiry.label(words),
                trained,
                [*rivals, bm25] if bm25 else rivals,
                metric=inquiry.metric,
                candidates=inquiry.candidates,
            )
        )
    scores, relevant = sight.answers(inquiry.fields)
    found = look_up(scores, relevant, inquiry.exclude)
    comparison = Comparison(metric=inquiry.metric, subsets=subsets)
    return Examination(inquiry, comparison, sight, relevant, found, _threshold(run, found))


def _threshold(run: Path, found: Found) -> Threshold | None:
    """The threshold that the run's training chose, measured on these queries; without one it is chosen on them."""
    try:
        calibrated = RunMetrics.read(run).threshold
    except UserError:  # a model without its training's figures can be measured, too
        calibrated = None
    if calibrated is None:
        return calibrate_threshold(found.right, found.wrong)
    return measure_threshold(calibrated.score, found.right, found.wrong)


def _through(views: Sequence[tuple[str, str, tuple[str, ...]]], name: str, sight: Sight) -> list[Evaluated]:
    return [sight.measure(name, fields) for _, _, fields in views]


def _bm25(inquiry: Inquiry, fields: Sequence[str]) -> Evaluated | None:
    documents = inquiry.documents(fields)
    if documents is None:
        return None
    pair = (inquiry.texts, documents) if inquiry.direction == "items" else (documents, inquiry.texts)
    return inquiry.evaluate("BM25", bm25_scores(*pair), inquiry.relevant)
