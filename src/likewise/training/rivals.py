"""The strongest simple rivals on the same questions: the untrained model, BM25, and a closed-form linear map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from likewise.evaluation.baselines import RidgeMap, bm25_scores, fit_ridge, mean_of_present
from likewise.evaluation.comparison import Evaluated, compare, evaluate_system
from likewise.evaluation.metrics import Scores, cosine_scores
from likewise.evaluation.results import Comparison
from likewise.evaluation.subsets import IMAGE, MIXED, describe, mixed_index
from likewise.model.network import FIELD_MODALITY, Network
from likewise.training.features import Features
from likewise.training.questions import Questions, Towers, network_towers, see, subsets, texts_of
from likewise.training.views import Bools, RowTexts

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

_MOST_ROWS = 20_000  # of the ridge: more rows than that change a linear map of a thousand features very little
_CHUNK = 256


@dataclass(frozen=True)
class Contest:
    """The rivals' results, measured before training, and what the trained network is measured on later."""

    questions: Questions
    texts: RowTexts
    pictured: Bools
    rivals: dict[str, list[Evaluated]]  # by subset
    seed: int

    def against(self, network: Network, features: Features) -> Comparison | None:
        """The trained network beside its rivals; None where the held-out rows leave nothing to ask."""
        towers = network_towers(network, features, self.questions, self.texts, self.pictured)
        results = [
            compare(
                subset,
                describe(subset, self.questions.hidden),
                self._measure("trained", cosine_scores(towers.queries, see(network, towers, subset, shown, self.seed))),
                self.rivals[subset],
                metric=self.questions.metric,
                candidates=len(self.questions.rows),
                seed=self.seed,
            )
            for subset, shown in subsets(network.fields, towers)
        ]
        return Comparison(metric=self.questions.metric, subsets=results) if results else None

    def _measure(self, name: str, scores: Scores) -> Evaluated:
        return evaluate_system(name, scores, self.questions.relevant, self.questions.groups)

    def enter_untrained(self, network: Network, features: Features, picture_map: RidgeMap | None) -> None:
        """Measure all rivals; `network` must not have been trained yet."""
        towers = network_towers(network, features, self.questions, self.texts, self.pictured)
        mapped = None
        if picture_map is not None and "image" in towers.fields:
            mapped = picture_map(picture_summaries(network, features, self.questions.rows, self.pictured))
        for subset, shown in subsets(network.fields, towers):
            items = see(network, towers, subset, shown, self.seed)
            entered = [self._measure("untrained", cosine_scores(towers.queries, items))]
            if subset != IMAGE:
                entered.append(self._measure("BM25", self._bm25(subset, shown, towers)))
            if mapped is not None and "image" in shown:
                entered.append(self._measure("ridge", self._ridge(subset, shown, towers, mapped)))
            self.rivals[subset] = entered

    def _bm25(self, subset: str, shown: Sequence[str], towers: Towers) -> Scores:
        """BM25 over the texts that the subset shows."""
        columns = [texts_of(self.texts, field, self.questions) for field in shown if FIELD_MODALITY[field] == "text"]
        visible = np.ones(len(self.questions.rows), bool)
        if subset == MIXED:
            text, image = self._halves(shown, towers, towers.fields["image"])
            visible = mixed_index(text, image, seed=self.seed)[1]
        words = self.texts.texts
        documents = [
            " ".join(words[column[row]] for column in columns if visible[row] and column[row] >= 0)
            for row in range(len(visible))
        ]
        return bm25_scores([words[index] for index in self.questions.queries], documents)

    def _ridge(self, subset: str, shown: Sequence[str], towers: Towers, mapped: Vectors) -> Scores:
        """The text encoder's own space, with pictures mapped into it in closed form, and the mean of an item's fields."""
        text, image = self._halves(shown, towers, mapped)
        if subset == MIXED:
            items = mixed_index(text, image, seed=self.seed)[0]
        else:
            items = mean_of_present(text, image)
        return cosine_scores(towers.queries, items)

    @staticmethod
    def _halves(shown: Sequence[str], towers: Towers, image: Vectors) -> tuple[Vectors, Vectors]:
        words = [towers.fields[field] for field in shown if FIELD_MODALITY[field] == "text"]
        return (mean_of_present(*words) if words else np.full_like(image, np.nan)), image


def fit_picture_map(
    network: Network, features: Features, texts: RowTexts, rows: Rows, pictured: Bools, seed: int
) -> RidgeMap | None:
    """Ridge from picture features to the untrained text space of the titles; None where too few rows have both."""
    complete = rows[pictured[rows] & (texts.title[rows] >= 0)]
    if len(complete) < 2 or "image" not in network.fields:
        return None
    if len(complete) > _MOST_ROWS:
        complete = np.sort(np.random.default_rng([seed, 6]).choice(complete, _MOST_ROWS, replace=False))
    with torch.inference_mode():
        targets = network.query(features.texts(texts.title[complete], "query")).cpu().numpy()
    return fit_ridge(picture_summaries(network, features, complete, pictured), targets)


def picture_summaries(network: Network, features: Features, rows: Rows, pictured: Bools) -> Vectors:
    """(n, width) what the picture head's base map reads; NaN for a row without a picture."""
    head = network.heads["image"]
    encoder_width = head.base.in_features  # type: ignore[union-attr]
    summaries = np.full((len(rows), int(encoder_width)), np.nan, np.float32)  # type: ignore[arg-type]
    places = np.flatnonzero(pictured[rows])
    with torch.inference_mode():
        for start in range(0, len(places), _CHUNK):
            part = places[start : start + _CHUNK]
            summaries[part] = head.summary(features.pictures(rows[part])).cpu().numpy()  # type: ignore[operator]
    return summaries


def start_from(network: Network, picture_map: RidgeMap) -> None:
    """Let the picture tower begin at the closed-form map, where its encoder does not share the text encoder's space."""
    if network.aligned:
        return
    bias = picture_map.y_mean - picture_map.x_mean @ picture_map.weights
    weight = torch.from_numpy(picture_map.weights.T.astype(np.float32))
    network.heads["image"].base.start_from(weight, torch.from_numpy(bias.astype(np.float32)))  # type: ignore[union-attr, operator]
