"""Calibration of score thresholds: scores of queries with and without their answers, and the rule that splits them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.retrieval.hybrid import Hybrid, ScoreScale, compute_parts
from likewise.retrieval.lexical.bm25 import BM25Index
from likewise.retrieval.lexical.matches import LexicalMatches
from likewise.retrieval.lexical.postings import PostingsBuilder
from likewise.retrieval.lexical.segment import Segment
from likewise.retrieval.lexical.tokenizing import lexical_tokens
from likewise.retrieval.thresholds import SAMPLE, ScoreStatistics, ThresholdRule

FALSE_ALARMS = 0.05
STATISTICS = ("mean", "spread", "tail", "nearest")
_FEWEST_QUERIES = 40  # two of them are 5 %
_FOLDS = 5
_PENALTY = 1.0  # on squared weights of standardised values, with a sum of losses over queries
_ITERATIONS = 50
_BLOCK = 200  # items by vectors and by words whose scores hybrid search combines at first

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationScores:
    """Each row: one query.

    Attributes:
        present: (q,) the best score over an index that holds answers.
        absent: (q,) the same once they are taken out.
        present_statistics, absent_statistics: (q, 4) the `ScoreStatistics`, likewise.
    """

    present: Floats
    absent: Floats
    present_statistics: Floats
    absent_statistics: Floats

    def __len__(self) -> int:
        return len(self.present)

    @classmethod
    def join(cls, parts: Sequence["CalibrationScores"]) -> "CalibrationScores":
        """The queries of several folds."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def select(self, rows: np.ndarray) -> "CalibrationScores":
        """Some of the queries."""
        return CalibrationScores(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class _Collector:
    """Collects the scores of queries, one after the other."""

    def __init__(self, items: np.ndarray, rng: np.random.Generator) -> None:
        self._there = np.flatnonzero(~np.isnan(items[:, 0]))
        self._sample = np.zeros(len(items), bool)
        self._sample[rng.choice(self._there, min(SAMPLE, len(self._there)), replace=False)] = True
        self._present: list[tuple[float, ...]] = []
        self._absent: list[tuple[float, ...]] = []

    def add(
        self, cosines: np.ndarray, relevant: np.ndarray, exclude: np.ndarray, best: Callable[[np.ndarray], float]
    ) -> None:
        """Score a query.

        Args:
            cosines: (n,); NaN for items that nothing is seen of.
            relevant, exclude: positions of its answers, and of what is no candidate.
            best: the best score of the items at some positions.
        """
        kept = np.setdiff1d(self._there, exclude)
        answers = np.intersect1d(relevant, kept)
        others = np.setdiff1d(kept, answers)
        if not len(answers) or not self._sample[others].any():
            return
        for places, rows in ((kept, self._present), (others, self._absent)):
            sampled = cosines[places[self._sample[places]]]
            found = ScoreStatistics.measure(sampled, float(cosines[places].max()))
            rows.append((best(places), found.mean, found.spread, found.tail, found.nearest))

    def collect(self) -> CalibrationScores:
        present, absent = (np.array(rows, np.float64).reshape(-1, 5) for rows in (self._present, self._absent))
        return CalibrationScores(present[:, 0], absent[:, 0], present[:, 1:], absent[:, 1:])


def measure_queries(
    queries: np.ndarray,
    items: np.ndarray,
    relevant: Sequence[np.ndarray],
    exclude: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> CalibrationScores:
    """Search by vectors.

    Args:
        queries: (q, dim) unit vectors.
        items: (n, dim), NaN for those that nothing is seen of.
        relevant, exclude: per query the positions of its answers, and of what is no candidate.
        rng: draws the sample of the items.
    """
    collector = _Collector(items, rng)
    for query, answers, out in zip(queries, relevant, exclude, strict=True):
        cosines = items @ query
        collector.add(cosines, answers, out, lambda places, cosines=cosines: float(cosines[places].max()))
    return collector.collect()


def measure_hybrid_queries(
    queries: np.ndarray,
    texts: Sequence[str],
    items: np.ndarray,
    documents: Sequence[str],
    relevant: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> CalibrationScores:
    """Search by vectors and words, as `Hybrid()` combines them.

    Args:
        texts: of the queries.
        documents: of the items.
    """
    collector, none = _Collector(items, rng), np.empty(0, np.int64)
    builder = PostingsBuilder()
    builder.add([str(row) for row in range(len(items))], (lexical_tokens(text) for text in documents))
    words = BM25Index([Segment("texts", builder.build(vocabulary=False), np.ones(len(items), bool))])
    for query, text, answers in zip(queries, texts, relevant, strict=True):
        matches, cosines = words.match([(text, 1.0)]), items @ query
        collector.add(
            cosines,
            answers,
            none,
            lambda places, cosines=cosines, matches=matches: _best_hybrid(cosines, matches, places),
        )
    return collector.collect()


def _best_hybrid(cosines: np.ndarray, matches: LexicalMatches, places: np.ndarray) -> float:
    """The best score that hybrid search gives to the items at some positions."""
    by_words = matches.all_scores[places]
    near = np.argsort(-cosines[places], kind="stable")[:_BLOCK]
    matching = np.argsort(-by_words, kind="stable")[:_BLOCK]
    found = np.union1d(near, matching[by_words[matching] > 0])
    ids = [str(row) for row in places[found].tolist()]
    low, high = cosines[places[near[-1]]], cosines[places[near[0]]]
    scale = ScoreScale(float(low), float(high), matches.full_match_score(ids))
    vectors, words = compute_parts(cosines[places[found]], by_words[found], Hybrid(), scale)
    return float((vectors + words).max())


def fit_rule(scores: CalibrationScores) -> ThresholdRule | None:
    """Fit the threshold of a kind of query; None where there are too few queries.

    Logistic regression on the best score and its statistics tells searches with an answer from searches without one.
    Where its value is the least that `FALSE_ALARMS` of the former stay below, there lies the threshold. That is chosen,
    and compared with a flat threshold, on queries that the regression has not seen; the flat one stays unless more
    searches are flagged.

    Args:
        scores: of queries that the model has not seen.
    """
    count = len(scores)
    if count < _FEWEST_QUERIES:
        return None
    folds = np.arange(count) % _FOLDS
    flat, corrected = np.zeros((2, count)), np.zeros((2, count))  # margins: present, absent
    for fold in range(_FOLDS):
        out = folds == fold
        coefficients = _fit_coefficients(scores.select(~out))
        asked = scores.select(out)
        corrected[:, out] = _margins(asked, coefficients)
    flat[:] = scores.present, scores.absent
    shifts = [float(np.quantile(margins[0], FALSE_ALARMS)) for margins in (flat, corrected)]
    flagged = [float((margins[1] < shift).mean()) for margins, shift in zip((flat, corrected), shifts, strict=True)]
    better = flagged[1] > flagged[0]
    coefficients = _fit_coefficients(scores) if better else np.zeros(len(STATISTICS))
    margins, shift = (corrected, shifts[1]) if better else (flat, shifts[0])
    return ThresholdRule(
        shift,
        *coefficients.tolist(),
        false_alarms=float((margins[0] < shift).mean()),
        flagged=max(flagged),
        flagged_by_flat=flagged[0],
        queries=count,
    )


def _margins(scores: CalibrationScores, coefficients: Floats) -> Floats:
    """(2, q) what the best score has above a threshold without intercept, with answers and without."""
    present = scores.present - scores.present_statistics @ coefficients
    return np.stack([present, scores.absent - scores.absent_statistics @ coefficients])


def _fit_coefficients(scores: CalibrationScores) -> Floats:
    """(4,) coefficients of the statistics; 0 where a higher score does not say that there is an answer."""
    best = np.concatenate([scores.present, scores.absent])
    statistics = np.concatenate([scores.present_statistics, scores.absent_statistics])
    values = np.column_stack([best, statistics])
    spread = values.std(axis=0)
    spread[spread < 1e-9] = np.inf
    if np.allclose(best, statistics[:, -1]):  # in a search by vectors the best score is the nearest item's
        spread[-1] = np.inf
    values = (values - values.mean(axis=0)) / spread
    labels = np.repeat([1.0, 0.0], len(scores))
    weights = _fit_logistic_regression(values, labels) / spread
    return -weights[1:] / weights[0] if weights[0] > 0 else np.zeros(len(STATISTICS))


def _fit_logistic_regression(values: Floats, labels: Floats) -> Floats:
    """(k,) weights by Newton's method, with an intercept that goes free and is not returned."""
    design = np.column_stack([values, np.ones(len(values))])
    penalty = np.full(design.shape[1], _PENALTY)
    penalty[-1] = 1e-6
    weights = np.zeros(design.shape[1])
    for _ in range(_ITERATIONS):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (chance - labels) + penalty * weights
        hessian = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    return weights[:-1]
