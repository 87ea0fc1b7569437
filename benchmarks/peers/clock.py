"""Training by the clock: every system has the same seconds, from the start of its process to the end of training."""

import math
import resource
import time
from collections.abc import Callable

_WARMUP = 0.1
_MARGIN = 1.2  # the last look at validation may take so much longer than the longest so far


class Clock:
    """The budget of one system.

    Args:
        started: when its process was started, in seconds since 1970, so that imports count.
        budget: seconds until training has to be over.
        threads: with a number, not the wall's seconds count, but those of the processor, shared by so many threads:
            on a machine that others use, too, the wall's would measure these others.
    """

    def __init__(self, started: float, budget: float, threads: int | None = None) -> None:
        self.started = started
        self.budget = budget
        self.threads = threads

    @property
    def spent(self) -> float:
        """Seconds since the start; finished child processes count."""
        if self.threads is None:
            return time.time() - self.started
        return processor_seconds() / self.threads

    @property
    def left(self) -> float:
        """Seconds until the end, negative past it."""
        return self.budget - self.spent


def processor_seconds() -> float:
    """Of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


class Pace:
    """How far a training is, when it should look at validation, and when it has to stop.

    Args:
        clock: the budget; what is left of it now is the training's.
        looks: how often validation is looked at, evenly spread, the end included.
    """

    def __init__(self, clock: Clock, looks: int = 8) -> None:
        self._clock = clock
        self._begin = clock.spent
        self._looks = looks
        self._taken = 0
        self._longest = 0.0

    @property
    def progress(self) -> float:
        """From 0 to 1; 1 leaves just enough time for the last look."""
        whole = self._clock.budget - self._begin - self._longest * _MARGIN
        return min(1.0, (self._clock.spent - self._begin) / whole) if whole > 0 else 1.0

    def due(self) -> bool:
        """Whether it is time to look at validation."""
        return self.progress >= (self._taken + 1) / self._looks

    def look(self, score: Callable[[], float]) -> float:
        """Look, and remember how long that takes."""
        before = self._clock.spent
        found = score()
        self._longest = max(self._longest, self._clock.spent - before)
        self._taken = max(self._taken + 1, math.floor(self.progress * self._looks))
        return found


def cosine(progress: float) -> float:
    """Share of the learning rate: linear warm-up, then half a cosine down to 0."""
    return _warm(progress, lambda rest: 0.5 * (1 + math.cos(math.pi * rest)))


def linear(progress: float) -> float:
    """Share of the learning rate: linear warm-up, then a line down to 0."""
    return _warm(progress, lambda rest: 1 - rest)


def _warm(progress: float, after: Callable[[float], float]) -> float:
    if progress < _WARMUP:
        return (progress + 1e-3) / (_WARMUP + 1e-3)
    return after((progress - _WARMUP) / (1 - _WARMUP))
