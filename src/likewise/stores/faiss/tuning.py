"""How hard a search has to try to find what it should, measured against an exact search over the same vectors."""

import math
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeVar

import numpy as np

from likewise.stores.faiss.approximate import Approximate, SearchParameters
from likewise.stores.faiss.exact import find_nearest
from likewise.stores.faiss.faiss_calls import inner_products
from likewise.stores.faiss.index_types import Kind

NEIGHBOURS = 10
_QUERIES = 800  # one half chooses, the other confirms
_DRIFT = 0.4  # at most so much of another item is in a query
_SURE = 1.28  # standard errors below the mean: nine times out of ten the truth is above
_SAME = 1e-5  # cosines that differ by less are equal
_COMPARED = 4  # efforts that reach the target, of which the fastest is taken
_CONFIRMED = 6  # depths: those who choose may have had an easier half than those who confirm
_NEAR = 1.3  # times as slow as the fastest: what is that near is timed again
_ROUNDS = 3  # of that
_TIMED = 100  # queries
_BATCH = 64
_VISITED = 2048

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Measured:
    """What an parameters leads to.

    Attributes:
        recall: the mean of held-out queries that had no part in the choice.
        met: whether the target is reached.
        seconds: the median of a single search for ten hits.
        seconds_in_batch: the median for each query of a batch.
    """

    parameters: SearchParameters
    recall: float
    met: bool
    seconds: float
    seconds_in_batch: float

    @property
    def cost(self) -> float:
        """What efforts are compared by."""
        return cost(self.seconds, self.seconds_in_batch)


def cost(alone: float, together: float) -> float:
    """Seconds of a search, halfway between those of a single one and those in a batch."""
    return math.sqrt(alone * together)


class Trial:
    """Queries made from the vectors, and what an exact search finds for them.

    A query is a vector that has moved towards another one; the vector itself counts neither as found nor as missed.

    Args:
        vectors: (n, dim) float32 unit vectors, mapped or in memory; at least three.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        random = np.random.default_rng(1)
        count = len(vectors)
        self._vectors = vectors
        self._sources = np.sort(random.choice(count, min(_QUERIES, count), replace=False))
        random.shuffle(self._sources)
        others = np.sort(random.choice(count, len(self._sources)))
        share = random.uniform(0, _DRIFT, (len(self._sources), 1)).astype(np.float32)
        queries = (1 - share) * vectors[self._sources] + share * vectors[others]
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        self.queries = np.ascontiguousarray(queries / np.maximum(lengths, 1e-9))
        self._wanted = min(NEIGHBOURS, count - 1)
        scores, rows = find_nearest(vectors, self.queries, self._wanted + 1)
        scores = np.where(rows == self._sources[:, None], -np.inf, scores)
        self._least = -np.sort(-scores, axis=1)[:, self._wanted - 1] - _SAME

    def recalls(self, index: Approximate, scope: int, depth: int, *, confirming: bool) -> np.ndarray:
        """(half of the queries, depth): the share of the neighbours that are among the first candidates."""
        half = slice(int(confirming), None, 2)
        queries, least, sources = self.queries[half], self._least[half, None], self._sources[half, None]
        rows = index.candidates(np.ascontiguousarray(queries), depth + 1, scope)
        hits = inner_products(self._vectors, np.ascontiguousarray(queries), rows) >= least
        others = np.argsort(rows == sources, axis=1, kind="stable")[:, :depth]
        return np.minimum(np.cumsum(np.take_along_axis(hits, others, axis=1), axis=1) / self._wanted, 1.0)

    def time_search(self, search: Callable[[np.ndarray], object], *, slow: bool = False) -> tuple[float, float]:
        """The median seconds of a query that is searched for alone, and in a batch; a slow search is tried less."""
        batch = min(_BATCH, len(self.queries))
        few, many = (_TIMED // 5, batch) if slow else (_TIMED, 6 * batch)
        return _time(search, self.queries[:few]), _time(search, self.queries[:many], batch)

    @cached_property
    def visit(self) -> float:
        """Seconds that it takes to compare a query with one vector, of many that lie anywhere."""
        random, count = np.random.default_rng(2), min(_VISITED, len(self._vectors))
        rows = iter([np.sort(random.choice(len(self._vectors), count, replace=False)) for _ in range(20)])
        return (
            _time(lambda query: find_nearest(self._vectors, query, NEIGHBOURS, next(rows)), self.queries[:20]) / count
        )


def _time(search: Callable[[np.ndarray], object], queries: np.ndarray, batch: int = 1) -> float:
    spans = []
    for first in range(0, len(queries) - batch + 1, batch):
        start = time.perf_counter()
        search(queries[first : first + batch])
        spans.append(time.perf_counter() - start)
    return float(np.median(spans)) / batch


def tune(index: Approximate, kind: Kind, trial: Trial, count: int, recall: float) -> Measured:
    """The fastest parameters that reaches a recall, or the best there is."""
    deepest = [depth for depth in kind.depths if depth <= count] or [count]
    reaching: list[Measured] = []
    best: tuple[float, SearchParameters] = (-1.0, SearchParameters(1, deepest[-1]))
    seen: list[float] = []
    for scope in kind.scopes(count):
        found = trial.recalls(index, scope, deepest[-1], confirming=False)
        seen.append(float(found[:, -1].mean()))
        if seen[-1] > best[0]:
            best = seen[-1], SearchParameters(scope, deepest[-1])
        enough = [depth for depth in deepest if _surely(found[:, depth - 1]) >= recall][:_CONFIRMED]
        if enough:
            confirmed = trial.recalls(index, scope, enough[-1], confirming=True)
            depth = next((depth for depth in enough if _surely(confirmed[:, depth - 1]) >= recall), None)
            if depth is not None:
                reached = float(confirmed[:, depth - 1].mean())
                reaching.append(_measure(index, trial, SearchParameters(scope, depth), reached, met=True))
        if len(reaching) == _COMPARED:
            break
        if not reaching and len(seen) > 4 and seen[-1] - seen[-5] < 0.001:
            break  # whoever reads more finds no more
    if reaching:
        costs = {measured.parameters: measured.cost for measured in reaching}
        costs = settle_ties(costs, {parameters: partial(_cost, index, trial, parameters) for parameters in costs})
        return min(reaching, key=lambda measured: costs[measured.parameters])
    parameters = best[1]
    confirmed = trial.recalls(index, parameters.probes, parameters.reranked, confirming=True)[:, -1]
    reached = float(confirmed.mean())
    return _measure(index, trial, parameters, reached, met=reached >= recall)


def _surely(recalls: np.ndarray) -> float:
    return float(recalls.mean() - _SURE * recalls.std() / np.sqrt(len(recalls)))


def settle_ties(costs: Mapping[_Key, float], again: Mapping[_Key, Callable[[], float]]) -> dict[_Key, float]:
    """Costs, of which those near the least are measured again, where that can be done.

    What else the machine does meanwhile comes and goes: in turns, it meets all alike.
    """
    near = [key for key in again if costs[key] <= _NEAR * min(costs.values())]
    if len(near) < 2:
        return dict(costs)
    rounds = [[again[key]() for key in near] for _ in range(_ROUNDS)]
    return {**costs, **dict(zip(near, np.median(rounds, axis=0).tolist(), strict=True))}


def _measure(index: Approximate, trial: Trial, parameters: SearchParameters, recall: float, *, met: bool) -> Measured:
    alone, together = _timing(index, trial, parameters)
    return Measured(replace(parameters, equivalent_rows=int(alone / trial.visit)), recall, met, alone, together)


def _timing(index: Approximate, trial: Trial, parameters: SearchParameters) -> tuple[float, float]:
    with_parameters = index.with_parameters(replace(parameters, equivalent_rows=0))
    return trial.time_search(lambda queries: with_parameters.search(queries, NEIGHBOURS, None))


def _cost(index: Approximate, trial: Trial, parameters: SearchParameters) -> float:
    return cost(*_timing(index, trial, parameters))
