"""A score below which nothing fits: where a search should rather show nothing than its best guess."""

import numpy as np
from numpy.typing import ArrayLike

from likewise.evaluation.results import Threshold


def calibrate_threshold(scores_of_right: ArrayLike, scores_of_best_wrong: ArrayLike) -> Threshold | None:
    """Choose the score that best tells searches with an answer from searches without one.

    A search whose answer is in the catalogue can show its right answer; the same search over a catalogue without that
    answer would show its best wrong one. So the scores of the first are kept and those of the second refused, and the
    threshold is the one with the greatest balanced accuracy, (kept + refused) / 2: Youden's J ("Index for rating
    diagnostic tests", 1950). It lies midway between two observed scores. Of equally good ones the lowest is taken,
    which keeps more right answers.

    Args:
        scores_of_right: (q,) for every query the highest score of a right answer; NaN is left out.
        scores_of_best_wrong: (q,) the highest score of any other item, likewise. `ranks.rank_candidates` gives both.

    Returns:
        The threshold, with its shares on these very scores; None where either side is empty.
    """
    right, wrong = _known(scores_of_right), _known(scores_of_best_wrong)
    if not len(right) or not len(wrong):
        return None
    levels = np.unique(np.concatenate((right, wrong)))
    cuts = np.concatenate(([levels[0]], (levels[1:] + levels[:-1]) / 2))
    kept = 1 - np.searchsorted(right, cuts, side="left") / len(right)
    refused = np.searchsorted(wrong, cuts, side="left") / len(wrong)
    return measure_threshold(float(cuts[np.argmax(kept + refused)]), right, wrong)


def measure_threshold(score: float, scores_of_right: ArrayLike, scores_of_best_wrong: ArrayLike) -> Threshold | None:
    """What a threshold does to other scores than those that it was chosen on; see `calibrate_threshold`."""
    right, wrong = _known(scores_of_right), _known(scores_of_best_wrong)
    if not len(right) or not len(wrong):
        return None
    return Threshold(
        score=score,
        kept=float((right >= score).mean()),
        refused=float((wrong < score).mean()),
        queries=len(right),
    )


def _known(scores: ArrayLike) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64).ravel()
    return np.sort(values[np.isfinite(values)])
