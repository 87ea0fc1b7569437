"""The order of the rows: complete, reproducible, and with few repeated identities in a batch."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.training.sampler import epoch_batches, steps_per_epoch


def batches_of(identities, batch_size, seed=0, epoch=0, rows=None):
    rows = np.arange(len(identities)) if rows is None else rows
    return list(epoch_batches(rows, np.array(identities, np.int64), batch_size, seed, epoch))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(-1, 12), min_size=2, max_size=80), st.integers(2, 20), st.integers(0, 3))
def test_every_row_once_an_epoch_and_no_lone_rows(identities, batch_size, epoch):
    batches = batches_of(identities, batch_size, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(identities)))
    assert len(batches) == steps_per_epoch(len(identities), batch_size)
    assert min(map(len, batches)) >= 2, "a lone row has no negatives"
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert max(map(len, batches)) <= 1.5 * batch_size + 1


def test_only_the_given_rows_are_drawn():
    rows = np.array([3, 5, 8, 9, 11])
    batches = batches_of(range(20), 2, rows=rows)
    assert sorted(np.concatenate(batches).tolist()) == rows.tolist()


def test_the_order_is_a_function_of_seed_and_epoch():
    identities = [number % 30 for number in range(100)]

    def order(seed, epoch):
        return np.concatenate(batches_of(identities, 16, seed, epoch)).tolist()

    first = order(0, 0)
    np.random.seed(5)  # the global state must not matter
    assert order(0, 0) == first
    assert order(0, 1) != first
    assert order(1, 0) != first


@pytest.mark.parametrize(("identities", "copies", "batch_size"), [(40, 3, 12), (25, 8, 10), (16, 10, 16), (100, 2, 64)])
def test_one_row_of_an_identity_a_batch_while_that_is_possible(identities, copies, batch_size):
    rows = list(range(identities)) * copies
    for epoch in range(3):
        for batch in batches_of(rows, batch_size, epoch=epoch):
            assert len({rows[row] for row in batch}) == len(batch)


def test_an_identity_too_frequent_for_that_never_fills_a_batch():
    identities = [0] * 50 + list(range(1, 51))
    for epoch in range(5):
        batches = batches_of(identities, 10, epoch=epoch)
        others = [sum(identities[row] != 0 for row in batch) for batch in batches]
        assert sum(others) == 50 and min(others) >= 1, "a batch of one thing alone teaches nothing"


def test_rows_without_an_identity_never_clash():
    batches = batches_of([-1] * 40, 8)
    assert Counter(map(len, batches)) == {8: 5}
