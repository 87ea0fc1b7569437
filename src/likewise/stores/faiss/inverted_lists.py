"""Few rows that count, in an index of lists: those in the lists around a query are compared at once.

Where one row in a hundred counts, FAISS would look up ninety-nine ids for every code that it compares. Here the rows of
a selection are sorted by their lists once, so that a search touches no others.
"""

from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import faiss
import numpy as np

from likewise.stores.faiss.faiss_calls import search_index
from likewise.stores.faiss.filters import Selection

_faiss: Any = faiss  # its type stubs lack a part of what is used here


class RowsByList:
    """Rows by the list in which they are.

    Args:
        rows: (m,) int64.
        lists: (m,) the list of each.
        count: the number of lists.
    """

    def __init__(self, rows: np.ndarray, lists: np.ndarray, count: int) -> None:
        order = np.argsort(lists, kind="stable")
        self._rows = rows[order]
        self._starts = np.searchsorted(lists[order], np.arange(count + 1))

    def within(self, lists: np.ndarray, least: int) -> np.ndarray:
        """The rows of some lists of each query.

        Args:
            lists: (q, n) int64, numbers of lists; below 0: none.
            least: so many columns at least.

        Returns:
            (q, m) int64; numbers below 0 are gaps.
        """
        starts = self._starts[lists]
        lengths = np.where(lists < 0, 0, self._starts[lists + 1] - starts)
        flat = lengths.ravel()
        first = starts.ravel() - (np.cumsum(flat) - flat)
        found = self._rows[np.repeat(first, flat) + np.arange(flat.sum())]
        met = lengths.sum(axis=1)
        rows = np.full((len(lists), max(int(met.max(initial=0)), least)), -1, np.int64)
        rows[np.arange(rows.shape[1]) < met[:, None]] = found
        return rows


class InvertedLists:
    """Which row is in which list of an index, found out when it is first asked for."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._groups: WeakKeyDictionary[Selection, RowsByList] = WeakKeyDictionary()

    def around(self, queries: np.ndarray, scope: int, among: Selection, least: int) -> np.ndarray:
        """The rows of a selection in the `scope` lists nearest to each query, as `RowsByList.within` gives them."""
        groups = self._groups.get(among)
        if groups is None:
            groups = RowsByList(among.rows, self._list_of_row[among.rows], self._index.nlist)
            self._groups[among] = groups
        return groups.within(search_index(self._index.quantizer, queries, scope), least)

    @cached_property
    def _list_of_row(self) -> np.ndarray:
        found = np.zeros(self._index.ntotal, np.int32)
        lists = self._index.invlists
        for number in range(self._index.nlist):
            size = lists.list_size(number)
            if size:
                found[_faiss.rev_swig_ptr(lists.get_ids(number), size)] = number
        return found
