"""Rows of a selection are met by their lists: exactly those, each once."""

import faiss
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from likewise.stores.faiss.filters import Selection
from likewise.stores.faiss.inverted_lists import InvertedLists, RowsByList


@given(st.lists(st.integers(0, 4), max_size=30), st.lists(st.lists(st.integers(-1, 4), min_size=3, max_size=3)))
def test_exactly_the_rows_of_the_lists_come_back(list_of_row, asked):
    rows = np.arange(len(list_of_row)) * 3
    groups = RowsByList(rows, np.array(list_of_row, np.int32), 5)
    for wanted in asked:
        wanted = list(dict.fromkeys(wanted))
        found = groups.within(np.array([wanted], np.int64), least=2)
        assert found.shape[1] >= 2
        expected = [row for row, number in zip(rows.tolist(), list_of_row, strict=True) if number in wanted]
        assert sorted(found[found >= 0].tolist()) == expected


def test_queries_of_a_batch_are_told_apart():
    groups = RowsByList(np.array([10, 11, 12, 13]), np.array([0, 1, 1, 2]), 3)
    found = groups.within(np.array([[0], [1], [2]]), least=1)
    assert found.tolist() == [[10, -1], [11, 12], [13, -1]]


def test_rows_that_count_are_those_near_the_query():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((2000, 16)).astype(np.float32)
    index = faiss.index_factory(16, "IVF20,SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    mask = random.random(2000) < 0.02
    lists = InvertedLists(index)
    everywhere = lists.around(vectors[:3], 20, Selection(mask), least=1)
    for found in everywhere:
        assert sorted(found[found >= 0].tolist()) == np.flatnonzero(mask).tolist()
    among = Selection(mask)
    nearest = index.quantizer.search(vectors[:3], 2)[1]
    inside = {row: number for number in range(20) for row in _ids(index, number)}
    for found, near in zip(lists.around(vectors[:3], 2, among, least=1), nearest, strict=True):
        expected = [row for row in np.flatnonzero(mask).tolist() if inside[row] in near]
        assert sorted(found[found >= 0].tolist()) == expected


def _ids(index, number):
    return faiss.rev_swig_ptr(index.invlists.get_ids(number), index.invlists.list_size(number)).tolist()
