"""The order of the rows: a function of seed and epoch alone, so that a resumed run goes on exactly where it stopped."""

import math
from collections import Counter, deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.identity import Codes
from likewise.seeds import Stream, random_stream

Rows = NDArray[np.int64]

_LOOKAHEAD = 8  # batches from which a row may be drawn forward to keep a batch free of repeated identities


def epoch_batches(
    rows: Rows, identities: Codes, batch_size: int, seed: int, epoch: int, neighbours: Rows | None = None
) -> Iterator[Rows]:
    """Batches of one epoch: every row once, rows of one identity far apart, one per batch while that is possible.

    An identity with more rows than there are batches gets its share of each, so that none is left with nothing else.

    Args:
        rows: (n,) row numbers.
        identities: (all rows,) codes; −1 is an identity of its own.
        neighbours: (all rows, k) rows that each row takes along into its batch while they wait, the first ones first;
            −1 for none.
    """
    rng = random_stream(seed, Stream.BATCH_ORDER, epoch)
    waiting = deque(rows[_spread(identities[rows], rng)].tolist())
    left = set(waiting)
    sizes = _sizes(len(rows), batch_size)
    counts = Counter(identities[rows].tolist())
    # one more than its share, so that the last batches are not left with what earlier ones deferred
    most = {code: math.ceil(count / len(sizes)) + (count > len(sizes)) for code, count in counts.items()}
    for size in sizes:
        batch = _Batch(size, identities, most, left)
        deferred: list[int] = []
        for _ in range(min(len(waiting), size * _LOOKAHEAD)):
            if batch.full:
                break
            row = waiting.popleft()
            if row not in left:  # somebody took it along
                continue
            if not batch.take(row):
                deferred.append(row)
            elif neighbours is not None:
                for neighbour in neighbours[row].tolist():
                    batch.take(neighbour)
        waiting.extendleft(reversed(deferred))
        while not batch.full:  # fewer identities than the batch has places
            batch.take(waiting.popleft(), in_any_case=True)
        yield np.array(batch.rows, np.int64)


class _Batch:
    """A batch that is being filled.

    Args:
        size: places in it.
        identities: of all rows. most: rows of an identity that it takes.
        left: rows that are in no batch yet; those taken are removed.
    """

    def __init__(self, size: int, identities: Codes, most: dict[int, int], left: set[int]) -> None:
        self.rows: list[int] = []
        self._size, self._identities, self._most, self._left = size, identities, most, left
        self._seen: Counter[int] = Counter()

    @property
    def full(self) -> bool:
        return len(self.rows) == self._size

    def take(self, row: int, *, in_any_case: bool = False) -> bool:
        """Take a row, unless there is no place, it is taken already, or there are enough of its identity."""
        code = int(self._identities[row])
        enough = code >= 0 and self._seen[code] >= self._most.get(code, 0)
        if self.full or row not in self._left or (enough and not in_any_case):
            return False
        self._seen[code] += 1
        self._left.remove(row)
        self.rows.append(row)
        return True


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
