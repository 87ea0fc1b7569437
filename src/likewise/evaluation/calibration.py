"""Calibration of score thresholds: scores of queries with and without their answers, and the rule that splits them."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

import numpy as np
from numpy.typing import NDArray

from likewise.evaluation.threshold import FALSE_ALARMS
from likewise.retrieval.thresholds import SAMPLE, STATISTICS, ScoreStatistics, ThresholdRule

_USUAL = (0.05, 0.95)  # quantiles of the corrections of calibration queries, beyond which no query's lies
_FEWEST_QUERIES = 40  # two of them are 5 %
_FEWEST_SAMPLED = 2
_FOLDS = 5
_PENALTY = 3.0  # on squared weights of standardised values, with a sum of losses over queries
_ITERATIONS = 50

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationScores:
    """Each row: one query.

    Attributes:
        present: (q,) the best score over an index that holds answers.
        absent: (q,) the same once they are taken out.
        present_statistics, absent_statistics: (q, 4) the `ScoreStatistics`, likewise.
        group: (q,) int64 codes; queries of one group ask for the same thing.
    """

    present: Floats
    absent: Floats
    present_statistics: Floats
    absent_statistics: Floats
    group: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.present)

    @classmethod
    def join(cls, parts: Sequence["CalibrationScores"]) -> "CalibrationScores":
        """The queries of several folds, whose groups differ."""
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__}
        starts = np.cumsum([0, *(part.group.max(initial=-1) + 1 for part in parts)])
        shifted = [part.group + start for part, start in zip(parts, starts, strict=False)]
        return cls(**joined | {"group": np.concatenate(shifted)})

    def select(self, rows: np.ndarray) -> "CalibrationScores":
        """Some of the queries."""
        return CalibrationScores(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class CalibrationQueries:
    """Queries of one kind.

    Attributes:
        vectors: (q, dim) of unit length.
        relevant, exclude: per query the positions of its answers among the items, and of what is no candidate.
        groups: one for each query; those of one group ask for the same thing.
    """

    vectors: NDArray[np.float32]
    relevant: Sequence[np.ndarray]
    exclude: Sequence[np.ndarray]
    groups: Sequence[int]

    def __len__(self) -> int:
        return len(self.vectors)


def measure_queries(
    queries: CalibrationQueries, items: np.ndarray, rng: np.random.Generator, *, answers: np.ndarray | None = None
) -> CalibrationScores:
    """Search with and without the answers; a query that has none, or an index without others, is left out.

    Args:
        items: (n, dim), NaN for those that nothing is seen of.
        rng: draws the sample of the items.
        answers: (n, dim) the items as they are seen where they answer a query, which was made of something that they
            show; None: as they are seen otherwise.
    """
    vectors = items if answers is None else np.concatenate([items, answers])
    first_answer = 0 if answers is None else len(items)
    there, is_answer = ~np.isnan(items[:, 0]), ~np.isnan(vectors[first_answer:, 0])
    sample = np.zeros(len(items), bool)
    places = np.flatnonzero(there)
    sample[rng.choice(places, min(SAMPLE, len(places)), replace=False)] = True
    present, absent, groups = list[tuple[float, ...]](), list[tuple[float, ...]](), list[int]()
    for row, query in enumerate(queries.vectors):
        candidates = there.copy()
        candidates[queries.relevant[row]] = candidates[queries.exclude[row]] = False
        others = np.flatnonzero(candidates)
        right = np.setdiff1d(queries.relevant[row], queries.exclude[row])
        right = right[is_answer[right]]
        if not len(right) or np.count_nonzero(sample[others]) < _FEWEST_SAMPLED:
            continue
        cosines = vectors @ query
        sampled, sampled_right = others[sample[others]], first_answer + right[sample[right]]
        everything = np.concatenate([others, first_answer + right])
        present.append(_summarise(cosines, vectors, everything, np.concatenate([sampled, sampled_right])))
        absent.append(_summarise(cosines, vectors, others, sampled))
        groups.append(queries.groups[row])
    (best, statistics), (best_absent, absent_statistics) = _split(present), _split(absent)
    return CalibrationScores(best, best_absent, statistics, absent_statistics, np.array(groups, np.int64))


def _summarise(cosines: np.ndarray, vectors: np.ndarray, places: np.ndarray, sample: np.ndarray) -> tuple[float, ...]:
    """The best score of a search among some vectors, and its `ScoreStatistics` over some of these."""
    best = int(places[cosines[places].argmax()])
    of_item = vectors[sample[sample != best]] @ vectors[best]
    return float(cosines[best]), *astuple(ScoreStatistics.measure(cosines[sample], of_item))


def _split(rows: list[tuple[float, ...]]) -> tuple[Floats, Floats]:
    table = np.array(rows, np.float64).reshape(-1, 1 + len(STATISTICS))
    return table[:, 0], table[:, 1:]


def fit_rule(scores: CalibrationScores) -> ThresholdRule | None:
    """Fit the threshold of a kind of query; None where there are too few queries.

    Logistic regression on the best score and some statistics tells searches with an answer from searches without one.
    The threshold is where `FALSE_ALARMS` of the former stay below. Cross-validation over the queries says whether more
    of the latter do than with a flat threshold.

    Args:
        scores: of queries that the model has not seen.
    """
    if len(scores) < _FEWEST_QUERIES:
        return None
    flat, margins, line = np.stack([scores.present, scores.absent]), _cross_fit(scores), _Line.fit(scores)
    # a flat threshold stays unless the other flags more by a standard error (Breiman et al., "Classification and
    # regression trees", 1984)
    gain = _flag_on_average(margins) - _flag_on_average(flat)
    if gain.mean() <= max(0.0, gain.std() / math.sqrt(len(gain))):
        margins, line = flat, _Line()
    cut = float(np.quantile(margins[0], FALSE_ALARMS))  # of queries that the regression has not seen
    return ThresholdRule(
        intercept=cut + line.intercept,
        **dict(zip(STATISTICS, line.weights.tolist(), strict=True)),
        least=cut + line.least,
        greatest=cut + line.greatest,
        flat=float(np.quantile(scores.present, FALSE_ALARMS)),
        false_alarms=float((margins[0] < cut).mean()),
        flagged=float(_flag(margins, FALSE_ALARMS).mean()),
        flagged_by_flat=float(_flag(flat, FALSE_ALARMS).mean()),
        queries=len(scores),
    )


def _cross_fit(scores: CalibrationScores) -> Floats:
    """(2, q) margins of queries, present and absent, each by a regression on the other folds."""
    margins = np.empty((2, len(scores)))
    groups, of_query = np.unique(scores.group, return_inverse=True)
    folds = (np.random.default_rng(0).permutation(len(groups)) % _FOLDS)[of_query]
    for fold in range(_FOLDS):
        out = folds == fold
        margins[:, out] = _Line.fit(scores.select(~out)).margins(scores.select(out))
    return margins


def _flag_on_average(margins: Floats) -> Floats:
    """(q,) at how many of several shares of false alarms, up to `FALSE_ALARMS` twice, a search is flagged."""
    shares = np.linspace(0.2, 2.0, 10) * FALSE_ALARMS
    return np.mean([_flag(margins, share) for share in shares], axis=0, dtype=np.float64)


def _flag(margins: Floats, false_alarms: float) -> NDArray[np.bool_]:
    """(q,) which searches without an answer lie below as many of those with one."""
    return np.asarray(margins[1] < np.quantile(margins[0], false_alarms))


@dataclass(frozen=True)
class _Line:
    """What has to be taken from the best score before it tells searches with an answer from others; at first, nothing.

    Attributes:
        weights: (statistics,); all of them 0 where a higher score does not say that there is an answer.
        least, greatest: what is taken lies within these.
    """

    weights: Floats = field(default_factory=lambda: np.zeros(len(STATISTICS)))
    intercept: float = 0.0
    least: float = 0.0
    greatest: float = 0.0

    @classmethod
    def fit(cls, scores: CalibrationScores) -> "_Line":
        """Fit it on the statistics."""
        statistics = np.concatenate([scores.present_statistics, scores.absent_statistics])
        values = np.column_stack([np.concatenate([scores.present, scores.absent]), statistics])
        spread, mean = values.std(axis=0), values.mean(axis=0)
        spread[spread < 1e-9] = np.inf
        fitted = _fit_logistic_regression((values - mean) / spread, np.repeat([1.0, 0.0], len(scores))) / spread
        if fitted[0] <= 0:
            return cls()
        weights = -fitted[1:] / fitted[0]
        intercept = float(mean[0] - mean[1:] @ weights)
        return cls(weights, intercept, *np.quantile(intercept + statistics @ weights, _USUAL).tolist())

    def margins(self, scores: CalibrationScores) -> Floats:
        """(2, q) what is left of the best scores with answers and without."""
        best = np.stack([scores.present, scores.absent])
        statistics = np.stack([scores.present_statistics, scores.absent_statistics])
        return np.asarray(best - np.clip(self.intercept + statistics @ self.weights, self.least, self.greatest))


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
