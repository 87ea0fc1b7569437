"""Random streams: every random choice has a named stream, so that no two choices share their numbers."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """What random numbers are drawn for."""

    SPLIT = 1
    SENTENCES = 2
    HELD_OUT_ROWS = 3
    BATCH_ORDER = 4
    STEP = 5
    INITIALIZATION_ROWS = 6
    SPACE_MAP = 8
    HARD_NEGATIVES = 9
    KERNEL_EXAMPLES = 10
    SUSPECTS = 11
    FOLDS = 12
    CALIBRATION = 13
    FITTED_VALUES = 14


def draw_sorted(rows: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows (n,) as they are, or `most` of them in ascending order where there are more."""
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def random_stream(seed: int, stream: Stream, *counters: int) -> np.random.Generator:
    """Open a stream of random numbers; the same arguments give the same numbers.

    Args:
        seed: of the training.
        stream: what the numbers are for.
        counters: such as the epoch or the step; each value begins a new stream.
    """
    return np.random.default_rng([seed, int(stream), *counters])
