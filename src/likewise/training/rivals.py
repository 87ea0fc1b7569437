"""The strongest simple rivals on the same questions: the untrained model, BM25, and a closed-form linear map."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from likewise.evaluation.baselines import bm25_scores
from likewise.evaluation.comparison import Evaluated, compare, evaluate_system
from likewise.evaluation.metrics import Scores, cosine_scores
from likewise.evaluation.results import Comparison
from likewise.evaluation.subsets import IMAGE, MIXED, describe, mixed_index
from likewise.model.network import FIELD_MODALITY, Network
from likewise.training.features import Features
from likewise.training.questions import Questions, Towers, network_towers, see, subsets, texts_of
from likewise.training.views import Bools, RowTexts


@dataclass(frozen=True)
class Contest:
    """What every system is asked, and how the rivals did, measured before training."""

    questions: Questions
    texts: RowTexts
    pictured: Bools
    seed: int
    rivals: dict[str, list[Evaluated]] = field(default_factory=dict)  # by subset

    def enter(self, name: str, network: Network, features: Features) -> None:
        """Measure a network, as it is now, as one more rival."""
        for subset, evaluated in self._measure_network(name, network, features).items():
            self.rivals.setdefault(subset, []).append(evaluated)

    def enter_bm25(self, network: Network, features: Features) -> None:
        """Measure BM25 over the texts that each subset shows."""
        towers = network_towers(network, features, self.questions, self.texts, self.pictured)
        for subset, shown in subsets(network.fields, towers):
            if subset != IMAGE:
                scores = self._bm25(network, towers, subset, shown)
                self.rivals.setdefault(subset, []).append(self._measure("BM25", scores))

    def against(self, network: Network, features: Features) -> Comparison | None:
        """The trained network beside its rivals; None where the held-out rows leave nothing to ask."""
        results = [
            compare(
                subset,
                describe(subset, self.questions.hidden),
                trained,
                self.rivals[subset],
                metric=self.questions.metric,
                candidates=len(self.questions.rows),
                seed=self.seed,
            )
            for subset, trained in self._measure_network("trained", network, features).items()
        ]
        return Comparison(metric=self.questions.metric, subsets=results) if results else None

    def _measure_network(self, name: str, network: Network, features: Features) -> dict[str, Evaluated]:
        towers = network_towers(network, features, self.questions, self.texts, self.pictured)
        return {
            subset: self._measure(name, cosine_scores(towers.queries, see(network, towers, subset, shown, self.seed)))
            for subset, shown in subsets(network.fields, towers)
        }

    def _measure(self, name: str, scores: Scores) -> Evaluated:
        questions = self.questions
        return evaluate_system(name, scores, questions.relevant, questions.groups, gains=questions.gains)

    def _bm25(self, network: Network, towers: Towers, subset: str, shown: Sequence[str]) -> Scores:
        words = [name for name in shown if FIELD_MODALITY[name] == "text"]
        columns = [texts_of(self.texts, name, self.questions) for name in words]
        visible = np.ones(len(self.questions.rows), bool)
        if subset == MIXED:
            parts = (see(network, towers, subset, part, self.seed) for part in (words, ["image"]))
            visible = mixed_index(*parts, seed=self.seed)[1]
        texts = self.texts.texts
        documents = [
            " ".join(texts[column[row]] for column in columns if visible[row] and column[row] >= 0)
            for row in range(len(visible))
        ]
        return bm25_scores([texts[index] for index in self.questions.queries], documents)
