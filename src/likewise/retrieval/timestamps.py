"""When items were written: times that grow with every write to a store, whatever the clocks of its writers say."""

import time

from likewise.catalog.filters import Compare
from likewise.retrieval.items import BookkeepingColumns
from likewise.stores.base import Store


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1_000


def next_timestamp(store: Store, bookkeeping: BookkeepingColumns, after: int) -> int:
    """A timestamp later than that of every item in a store, whose writers' clocks may differ or have been set back.

    Args:
        after: a timestamp that it has to be later than, too.

    Returns:
        The time by this machine's clock, or else the first microsecond after what is there.
    """

    def is_free(timestamp: int) -> bool:
        return store.count(Compare(bookkeeping.written, ">=", timestamp)) == 0

    taken, free, step = after, max(now(), after + 1), 1
    while not is_free(free):
        taken, free, step = free, free + step, 2 * step
    if step == 1:
        return free
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (taken, middle) if is_free(middle) else (middle, free)
    return free
