"""The order of the rows: a function of seed and epoch alone, so that a resumed run goes on exactly where it stopped."""

import math
from collections import Counter, deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from likewise.training.identity import Codes

Rows = NDArray[np.int64]

_LOOKAHEAD = 8  # batches from which a row may be drawn forward to keep a batch free of repeated identities


def epoch_batches(rows: Rows, identities: Codes, batch_size: int, seed: int, epoch: int) -> Iterator[Rows]:
    """Batches of one epoch: every row once, rows of one identity far apart, one per batch while that is possible.

    An identity with more rows than there are batches gets its share of each, so that none is left with nothing else.

    Args:
        rows: (n,) row numbers.
        identities: (all rows,) codes; −1 is an identity of its own.
    """
    rng = np.random.default_rng([seed, 4, epoch])
    waiting = deque(rows[_spread(identities[rows], rng)].tolist())
    sizes = _sizes(len(rows), batch_size)
    counts = Counter(identities[rows].tolist())
    # one more than its share, so that the last batches are not left with what earlier ones deferred
    most = {code: math.ceil(count / len(sizes)) + (count > len(sizes)) for code, count in counts.items()}
    for size in sizes:
        batch: list[int] = []
        seen: Counter[int] = Counter()
        deferred: list[int] = []
        for _ in range(min(len(waiting), size * _LOOKAHEAD)):
            row = waiting.popleft()
            code = int(identities[row])
            if code >= 0 and seen[code] == most[code]:
                deferred.append(row)
                continue
            seen[code] += 1
            batch.append(row)
            if len(batch) == size:
                break
        waiting.extendleft(reversed(deferred))
        while len(batch) < size:  # fewer identities than the batch has places
            batch.append(waiting.popleft())
        yield np.array(batch, np.int64)


def _sizes(count: int, batch_size: int) -> list[int]:
    """Nearly equal sizes, so that no batch is a lone row without negatives."""
    batches = max(1, min(round(count / batch_size), count // 2))
    return [len(part) for part in np.array_split(np.empty(count), batches)]


def steps_per_epoch(count: int, batch_size: int) -> int:
    """How many batches `epoch_batches` yields."""
    return len(_sizes(count, batch_size))


def _spread(codes: Codes, rng: np.random.Generator) -> Rows:
    """An order in which the rows of an identity lie evenly over the epoch."""
    shuffled = rng.permutation(len(codes))
    code = codes[shuffled]
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.r_[True, code[order][1:] != code[order][:-1]]) if len(code) else np.empty(0, int)
    sizes = np.diff(np.r_[starts, len(code)])
    rank = np.empty(len(code))
    rank[order] = np.arange(len(code)) - np.repeat(starts, sizes)
    size = np.empty(len(code))
    size[order] = np.repeat(sizes, sizes)
    alone = code < 0
    rank[alone], size[alone] = 0, 1
    offset = np.empty(len(code))
    offset[order] = np.repeat(rng.random(len(starts)), sizes)
    offset[alone] = rng.random(int(alone.sum()))
    order_of_rows: Rows = shuffled[np.argsort((rank + offset) / size, kind="stable")]
    return order_of_rows
