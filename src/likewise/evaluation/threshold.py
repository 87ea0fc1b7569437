"""A score below which nothing fits, the same for all queries, and what it does on some of them."""

import numpy as np
from numpy.typing import ArrayLike

from likewise.evaluation.results import Threshold

FALSE_ALARMS = 0.05


def calibrate_threshold(present: ArrayLike, absent: ArrayLike) -> Threshold | None:
    """Choose the score that `FALSE_ALARMS` of the searches with an answer do not reach.

    Args:
        present: (q,) for every query the best score over items that hold an answer; NaN is left out.
        absent: (q,) the best score over the same items without the answers, likewise.

    Returns:
        The threshold, with its shares on these very scores; None where either side is empty.
    """
    with_answer = _known(present)
    return (
        measure_threshold(float(np.quantile(with_answer, FALSE_ALARMS)), present, absent) if len(with_answer) else None
    )


def measure_threshold(score: float, present: ArrayLike, absent: ArrayLike) -> Threshold | None:
    """What a threshold does to other scores than those that it was chosen on; see `calibrate_threshold`."""
    with_answer, without = _known(present), _known(absent)
    if not len(with_answer) or not len(without):
        return None
    return Threshold(
        score=score,
        kept=float((with_answer >= score).mean()),
        refused=float((without < score).mean()),
        queries=len(with_answer),
    )


def _known(scores: ArrayLike) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64).ravel()
    return values[np.isfinite(values)]
