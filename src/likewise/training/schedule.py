"""Learning rate schedule."""

import math


def scale_learning_rate(step: int, total: int, warmup: float) -> float:
    """The share of the peak learning rate: linear warm-up, then a cosine down to 0 (Loshchilov and Hutter, 2017).

    Args:
        step: from 0.
        total: steps of the training.
        warmup: the share of the steps in which the rate rises.
    """
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
