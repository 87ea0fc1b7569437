"""The vectors that were asked for last, in one block of memory."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class RecentVectors:
    """A least-recently-used cache of vectors of one width; safe to use from several threads.

    All of them lie in one array, in place of one small array each: those would lie scattered between the large ones
    that an encoder allocates and frees for every text, and so keep the memory of these from being used again. (10,000
    texts encoded one by one took 1.1 GB more.)

    Args:
        most: vectors that are kept; beyond them, those go that nobody has asked for the longest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._places: OrderedDict[Hashable, int] = OrderedDict()
        self._vectors: Vectors | None = None  # (most, width); pages that nothing was written to take no memory
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    def find(self, keys: Sequence[Hashable]) -> list[Vectors | None]:
        """A copy (width,) of the vector of each key, None where it is not known; those found are the last to go."""
        with self._lock:
            found: list[Vectors | None] = []
            for key in keys:
                place = self._places.get(key)
                if place is None or self._vectors is None:
                    found.append(None)
                else:
                    self._places.move_to_end(key)
                    found.append(self._vectors[place].copy())
        return found

    def remember(self, keys: Sequence[Hashable], vectors: Vectors) -> None:
        """Keep the vectors (len(keys), width) of keys, the last ones where they are more than are kept.

        Raises:
            ValueError: there are more or fewer vectors than keys.
        """
        pairs = list(zip(keys, vectors, strict=True))
        if not pairs or not self._most:
            return
        with self._lock:
            if self._vectors is None:
                self._vectors = np.empty((self._most, vectors.shape[1]), np.float32)
            for key, vector in pairs[-self._most :]:
                place = self._places.pop(key, None)
                if place is None:
                    full = len(self._places) == self._most
                    place = self._places.popitem(last=False)[1] if full else len(self._places)
                self._places[key] = place
                self._vectors[place] = vector
