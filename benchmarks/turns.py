"""Searches timed in turns, so that whatever else the machine does meets all sides alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

ROUNDS = 7
_SECONDS = 0.8  # of one side in one round, about
_FEWEST, _MOST = 6, 200


@dataclass(frozen=True)
class Times:
    """How long one side's calls took.

    Attributes:
        seconds: (rounds, calls).
        size: queries in a call.
    """

    seconds: np.ndarray
    size: int

    def figures(self) -> dict[str, float]:
        """Milliseconds of a call and queries per second."""
        milliseconds = 1e3 * self.seconds
        return {
            "p50 ms": round(float(np.median(milliseconds)), 4),
            "p95 ms": round(float(np.percentile(milliseconds, 95)), 4),
            "queries per second": round(self.size / float(np.median(self.seconds.mean(axis=1)))),
        }

    def ratio(self, other: "Times") -> float:
        """How many times as long as the other's: of each round's medians, the median."""
        return float(np.median(self._medians / other._medians))

    def milliseconds_more(self, other: "Times") -> float:
        """How much longer than the other's, in the same way."""
        return 1e3 * float(np.median(self._medians - other._medians))

    @property
    def _medians(self) -> np.ndarray:
        return np.median(self.seconds, axis=1)


def in_turns(sides: Mapping[str, Callable[[np.ndarray], object]], queries: np.ndarray, size: int) -> dict[str, Times]:
    """Time calls with `size` queries each; in every round all sides answer the same ones, and another one begins."""
    batches = [queries[start : start + size] for start in range(0, len(queries) - size + 1, size)]
    slowest = max(_seconds(search, batch) for search in sides.values() for batch in batches[:3])
    calls = int(np.clip(_SECONDS / slowest, _FEWEST, _MOST))
    taken: dict[str, list[list[float]]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(ROUNDS):
        chosen = [batches[(number * calls + call) % len(batches)] for call in range(calls)]
        for name in (*names[number % len(names) :], *names[: number % len(names)]):
            taken[name].append([_seconds(sides[name], batch) for batch in chosen])
    return {name: Times(np.array(rounds), size) for name, rounds in taken.items()}


def _seconds(search: Callable[[np.ndarray], object], batch: np.ndarray) -> float:
    started = time.perf_counter()
    search(batch)
    return time.perf_counter() - started
