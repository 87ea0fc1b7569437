"""Is a difference more than luck? Percentile bootstrap over identities, paired between two systems.

Queries for the same identity succeed and fail together, so whole identities are drawn, not single queries: an interval
over queries alone would be too narrow wherever a catalogue repeats itself (Field and Welsh, "Bootstrapping clustered
data", 2007).
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, BeforeValidator, ConfigDict

Verdict = Literal["better", "no difference", "worse"]
# JSON has no NaN: it is written as null, and read back here.
Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]

FEWEST_GROUPS = 10  # below it the percentiles of a bootstrap are too narrow to be trusted
RESAMPLES = 2000
_LEVELS = (2.5, 97.5)
_CHUNK_DRAWS = 4_000_000


class Interval(BaseModel):
    """A mean and its 95 % bootstrap interval; NaN where there was nothing to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Number
    low: Number
    high: Number
    groups: int  # identities that it rests on

    @property
    def few_groups(self) -> bool:
        """Too few identities for the interval to be trusted."""
        return self.groups < FEWEST_GROUPS

    @property
    def half_width(self) -> float:
        """Half of the distance between the ends: the figure behind a ±."""
        return (self.high - self.low) / 2


def bootstrap_interval(
    values: ArrayLike, groups: Sequence[object] | np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Mean of `values` with a 95 % interval.

    Args:
        values: (q,) one figure for each query; NaN values are left out.
        groups: (q,) the identity of each query; equal ones are drawn together.
        seed: of the draws: the same seed, values and groups give the same interval.
        resamples: how many catalogues of the same size are drawn.
    """
    return bootstrap_intervals(np.asarray(values)[:, None], groups, seed=seed, resamples=resamples)[0]


def bootstrap_intervals(
    values: np.ndarray, groups: Sequence[object] | np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Interval]:
    """`bootstrap_interval` of every column of `values` (q, m), drawn together at the cost of one."""
    values = np.asarray(values, dtype=np.float64)
    codes = group_codes(groups)
    if len(codes) != len(values):
        raise ValueError(f"{len(values)} values but {len(codes)} groups")
    present = ~np.isnan(values)
    members = codes.max(initial=-1) + 1
    sums, counts = np.zeros((2, members, values.shape[1]))
    np.add.at(sums, codes, np.where(present, values, 0.0))
    np.add.at(counts, codes, present)
    filled = counts.any(axis=1)
    sums, counts = sums[filled], counts[filled]
    means = _resampled_means(sums, counts, seed, resamples)
    intervals = []
    for column in range(values.shape[1]):
        known = means[~np.isnan(means[:, column]), column]
        low, high = np.percentile(known, _LEVELS) if len(known) else (np.nan, np.nan)
        total = counts[:, column].sum()
        mean = sums[:, column].sum() / total if total else np.nan
        intervals.append(Interval(mean=mean, low=low, high=high, groups=int((counts[:, column] > 0).sum())))
    return intervals


def _resampled_means(sums: np.ndarray, counts: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """(resamples, columns) means over draws of the groups (groups, columns) with replacement."""
    members = len(sums)
    means = np.full((resamples, sums.shape[1]), np.nan)
    if not members:
        return means
    random = np.random.default_rng(seed)
    step = max(1, _CHUNK_DRAWS // members)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        draws = random.integers(members, size=(rows, members)) + np.arange(rows)[:, None] * members
        times = np.bincount(draws.ravel(), minlength=rows * members).reshape(rows, members).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means[start : start + rows] = (times @ sums) / (times @ counts)
    return means


def verdict(difference: Interval) -> Verdict:
    """What a paired difference shows: "better" or "worse" where its interval leaves out zero, else "no difference".

    With too few identities (`Interval.few_groups`) nothing is shown, whatever the interval says.
    """
    if difference.few_groups:
        return "no difference"
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "no difference"


def group_codes(groups: Sequence[object] | np.ndarray) -> np.ndarray:
    """(q,) int64 codes from 0 for the distinct values of `groups`, in order of appearance."""
    seen: dict[object, int] = {}
    values = groups.tolist() if isinstance(groups, np.ndarray) else groups
    return np.fromiter((seen.setdefault(value, len(seen)) for value in values), dtype=np.int64, count=len(groups))
