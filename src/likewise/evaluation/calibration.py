"""Calibration of score thresholds: scores of queries with and without their answers, and the rule that splits them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.retrieval.hybrid import Hybrid, ScoreScale, compute_parts
from likewise.retrieval.lexical.bm25 import BM25Index
from likewise.retrieval.lexical.matches import LexicalMatches
from likewise.retrieval.lexical.postings import PostingsBuilder
from likewise.retrieval.lexical.segment import Segment
from likewise.retrieval.lexical.tokenizing import lexical_tokens
from likewise.retrieval.thresholds import SAMPLE, STATISTICS, ScoreStatistics, ThresholdRule

FALSE_ALARMS = 0.05
_CORRECTIONS: tuple[tuple[str, ...], ...] = ((), ("mean", "spread", "item_mean", "item_spread"))
_NEAREST = STATISTICS.index("nearest")
_LEAST_WEIGHT = 0.5  # of the score itself, compared with that of the nearest item, so that hits of a query differ
_FEWEST_QUERIES = 40  # two of them are 5 %
_FEWEST_SAMPLED = 2
_FOLDS = 5
_PENALTY = 3.0  # on squared weights of standardised values, with a sum of losses over queries
_ITERATIONS = 50
_BLOCK = 200  # items by vectors and by words whose scores hybrid search combines at first

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationScores:
    """Each row: one query.

    Attributes:
        present: (q,) the best score over an index that holds answers.
        absent: (q,) the same once they are taken out.
        present_statistics, absent_statistics: (q, 5) the `ScoreStatistics`, likewise.
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


class _Collector:
    """Collects the scores of queries, one after the other."""

    def __init__(self, items: np.ndarray, rng: np.random.Generator) -> None:
        self._items = items
        self._there = np.flatnonzero(~np.isnan(items[:, 0]))
        self._sample = np.zeros(len(items), bool)
        self._sample[rng.choice(self._there, min(SAMPLE, len(self._there)), replace=False)] = True
        self._present: list[tuple[float, ...]] = []
        self._absent: list[tuple[float, ...]] = []
        self._groups: list[int] = []

    def add(
        self,
        cosines: np.ndarray,
        relevant: np.ndarray,
        exclude: np.ndarray,
        group: int,
        best: Callable[[np.ndarray], tuple[int, float]],
    ) -> None:
        """Score a query.

        Args:
            cosines: (n,); NaN for items that nothing is seen of.
            relevant, exclude: positions of its answers, and of what is no candidate.
            group: of the query.
            best: the best of the items at some positions, and its score.
        """
        kept = np.setdiff1d(self._there, exclude)
        answers = np.intersect1d(relevant, kept)
        others = np.setdiff1d(kept, answers)
        if not len(answers) or np.count_nonzero(self._sample[others]) < _FEWEST_SAMPLED:
            return
        self._groups.append(group)
        for places, rows in ((kept, self._present), (others, self._absent)):
            sampled = places[self._sample[places]]
            item, score = best(places)
            of_item = self._items[sampled[sampled != item]] @ self._items[item]
            found = ScoreStatistics.measure(cosines[sampled], float(cosines[places].max()), of_item)
            rows.append((score, *astuple(found)))

    def collect(self) -> CalibrationScores:
        width = 1 + len(STATISTICS)
        present, absent = (np.array(rows, np.float64).reshape(-1, width) for rows in (self._present, self._absent))
        groups = np.array(self._groups, np.int64)
        return CalibrationScores(present[:, 0], absent[:, 0], present[:, 1:], absent[:, 1:], groups)


def measure_queries(
    queries: np.ndarray,
    items: np.ndarray,
    relevant: Sequence[np.ndarray],
    exclude: Sequence[np.ndarray],
    groups: Sequence[int],
    rng: np.random.Generator,
) -> CalibrationScores:
    """Search by vectors.

    Args:
        queries: (q, dim) unit vectors.
        items: (n, dim), NaN for those that nothing is seen of.
        relevant, exclude: per query the positions of its answers, and of what is no candidate.
        groups: one for each query; those of one group ask for the same thing.
        rng: draws the sample of the items.
    """
    collector = _Collector(items, rng)
    for query, answers, out, group in zip(queries, relevant, exclude, groups, strict=True):
        cosines = items @ query

        def find_best(places: np.ndarray, cosines: np.ndarray = cosines) -> tuple[int, float]:
            return _find_best(cosines[places], places)

        collector.add(cosines, answers, out, group, find_best)
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
    for group, (query, text, answers) in enumerate(zip(queries, texts, relevant, strict=True)):
        matches, cosines = words.match([(text, 1.0)]), items @ query

        def find_best(
            places: np.ndarray, cosines: np.ndarray = cosines, matches: LexicalMatches = matches
        ) -> tuple[int, float]:
            return _find_best_hybrid(cosines, matches, places)

        collector.add(cosines, answers, none, group, find_best)
    return collector.collect()


def _find_best(scores: np.ndarray, places: np.ndarray) -> tuple[int, float]:
    first = int(scores.argmax())
    return int(places[first]), float(scores[first])


def _find_best_hybrid(cosines: np.ndarray, matches: LexicalMatches, places: np.ndarray) -> tuple[int, float]:
    """The item that hybrid search puts first among those at some positions, and its score."""
    by_words = matches.all_scores[places]
    near = np.argsort(-cosines[places], kind="stable")[:_BLOCK]
    matching = np.argsort(-by_words, kind="stable")[:_BLOCK]
    found = np.union1d(near, matching[by_words[matching] > 0])
    ids = [str(row) for row in places[found].tolist()]
    low, high = cosines[places[near[-1]]], cosines[places[near[0]]]
    scale = ScoreScale(float(low), float(high), matches.full_match_score(ids))
    vectors, words = compute_parts(cosines[places[found]], by_words[found], Hybrid(), scale)
    return _find_best(vectors + words, places[found])


def fit_rule(scores: CalibrationScores) -> ThresholdRule | None:
    """Fit the threshold of a kind of query; None where there are too few queries.

    Logistic regression on the best score and some statistics tells searches with an answer from searches without one.
    The threshold is where `FALSE_ALARMS` of the former stay below. Cross-validation over the queries says with which
    statistics most of the latter do; without any, it is a flat threshold.

    Args:
        scores: of queries that the model has not seen.
    """
    if len(scores) < _FEWEST_QUERIES:
        return None
    chosen, margins = _choose_correction(scores)
    cut = float(np.quantile(margins[0], FALSE_ALARMS))  # of queries that the regression has not seen
    line = _Line.fit(scores, chosen)
    flat = np.stack([scores.present, scores.absent])
    return ThresholdRule(
        intercept=cut - line.intercept,
        **dict(zip(STATISTICS, (-line.weights).tolist(), strict=True)),
        flat=float(np.quantile(scores.present, FALSE_ALARMS)),
        false_alarms=float((margins[0] < cut).mean()),
        flagged=float(_flag(margins, FALSE_ALARMS).mean()),
        flagged_by_flat=float(_flag(flat, FALSE_ALARMS).mean()),
        queries=len(scores),
    )


def _choose_correction(scores: CalibrationScores) -> tuple[tuple[str, ...], Floats]:
    """The names of the statistics that flag most, and the margins that they give to queries of other folds.

    A flat threshold stays unless another rule flags more by at least a standard error (Breiman et al.,
    "Classification and regression trees", 1984).
    """
    flat, *others = [(names, _cross_fit(scores, names)) for names in _list_corrections(scores)]
    chosen, most = flat, 0.0
    for names, margins in others:
        gain = _flag_on_average(margins) - _flag_on_average(flat[1])
        if gain.mean() > max(most, gain.std() / math.sqrt(len(gain))):
            chosen, most = (names, margins), float(gain.mean())
    return chosen


def _list_corrections(scores: CalibrationScores) -> list[tuple[str, ...]]:
    """The names of the statistics that may correct; in a search by vectors the best score is the nearest item's."""
    if np.allclose(scores.present, scores.present_statistics[:, _NEAREST]):
        return list(_CORRECTIONS)
    return [(), *((*names, "nearest") for names in _CORRECTIONS)]


def _cross_fit(scores: CalibrationScores, names: tuple[str, ...]) -> Floats:
    """(2, q) margins of queries, present and absent, each by a regression on the other folds."""
    margins = np.empty((2, len(scores)))
    groups, of_query = np.unique(scores.group, return_inverse=True)
    folds = (np.random.default_rng(0).permutation(len(groups)) % _FOLDS)[of_query]
    for fold in range(_FOLDS):
        out = folds == fold
        margins[:, out] = _Line.fit(scores.select(~out), names).margins(scores.select(out))
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
    """What tells searches with an answer from others: best score + statistics · weights + intercept, above 0 or not.

    Attributes:
        weights: (statistics,); 0 for those that do not count, and all of them 0 where a higher score does not say that
            there is an answer.
    """

    weights: Floats
    intercept: float

    @classmethod
    def fit(cls, scores: CalibrationScores, names: tuple[str, ...]) -> "_Line":
        """Fit it on some statistics; without any, the line is the best score itself."""
        none = cls(np.zeros(len(STATISTICS)), 0.0)
        if not names:
            return none
        columns = [0, *(1 + STATISTICS.index(name) for name in names)]
        present = np.column_stack([scores.present, scores.present_statistics])[:, columns]
        absent = np.column_stack([scores.absent, scores.absent_statistics])[:, columns]
        values = np.concatenate([present, absent])
        spread, mean = values.std(axis=0), values.mean(axis=0)
        spread[spread < 1e-9] = np.inf
        fitted = _fit_logistic_regression((values - mean) / spread, np.repeat([1.0, 0.0], len(scores)))
        if "nearest" in names:
            fitted[0] = max(fitted[0], _LEAST_WEIGHT * abs(fitted[1 + names.index("nearest")]))
        fitted = fitted / spread
        if fitted[0] <= 0:
            return none
        weights = np.zeros(1 + len(STATISTICS))
        weights[columns] = fitted / fitted[0]
        return cls(weights[1:], -float(mean @ weights[columns]))

    def margins(self, scores: CalibrationScores) -> Floats:
        """(2, q) the values with answers and without."""
        present = scores.present + scores.present_statistics @ self.weights
        return np.stack([present, scores.absent + scores.absent_statistics @ self.weights]) + self.intercept


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
