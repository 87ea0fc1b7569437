"""The three parts of a catalogue: duplicates on one side, nothing lost, nothing empty where that can be avoided."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model.shape_catalogue import catalogue_of
from training.identity_codes import identity_of

from likewise.catalog.identity import Identity
from likewise.errors import UserError
from likewise.training.split import ENOUGH_COMPONENTS, join_validation, split_rows


def split_of(identity, *, column=None, validation=0.1, test=0.1, seed=0, catalog=None):
    return split_rows(catalog, identity, column=column, validation=validation, test=test, seed=seed)


def parts_of(split):
    return [split.train.tolist(), split.validation.tolist(), split.test.tolist()]


def assert_whole(split, rows):
    together = sorted(row for part in parts_of(split) for row in part)
    assert together == list(range(rows)), "every row is in exactly one part"


def assert_apart(split, unit):
    parts = [set(unit[part].tolist()) for part in (split.train, split.validation, split.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=3, max_size=60), st.integers(0, 5))
def test_equal_pictures_never_straddle_small_catalogues(pictures, seed):
    identity = identity_of(range(len(pictures)), pictures)
    split = split_of(identity, seed=seed)
    assert_whole(split, len(pictures))
    assert_apart(split, identity.picture)
    assert f"fewer than {ENOUGH_COMPONENTS}" in split.note and "equal pictures stay together" in split.note
    assert len(split.train) >= 2
    if len(set(pictures)) >= 4:
        assert len(split.validation) and len(split.test)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=10, max_size=300), st.integers(0, 5), st.data())
def test_components_never_straddle_large_catalogues(repeated, seed, data):
    titles = [*range(ENOUGH_COMPONENTS + 50), *repeated]
    pictures = data.draw(st.lists(st.integers(-1, 30), min_size=len(repeated), max_size=len(repeated)))
    identity = identity_of(titles, [-1] * (ENOUGH_COMPONENTS + 50) + pictures)
    split = split_of(identity, seed=seed)
    assert_whole(split, len(titles))
    if len(set(identity.component.tolist())) >= ENOUGH_COMPONENTS:
        assert_apart(split, identity.component)
        assert "stay whole" in split.note


def test_one_giant_group_of_duplicates_trains():
    titles = [0] * 800 + list(range(1, 301))
    for seed in range(5):
        split = split_of(identity_of(titles), seed=seed)
        assert len(split.train) > 800
        assert 80 <= len(split.validation) <= 130 and 80 <= len(split.test) <= 130


@pytest.mark.parametrize(("rows", "parts"), [(2, [2, 0, 0]), (3, [2, 1, 0])])
def test_two_rows_are_left_to_train_on_before_anything_is_held_out(rows, parts):
    assert [len(part) for part in parts_of(split_of(identity_of(range(rows))))] == parts


def test_a_lone_row_is_too_few_to_train_on():
    with pytest.raises(UserError, match="too few rows to train on: 1 of 1"):
        split_of(identity_of([0]), catalog=[None])


@pytest.mark.parametrize("rows", range(4, 11))
def test_tiny_catalogues_have_all_three_parts(rows):
    for seed in range(4):
        split = split_of(identity_of(range(rows)), seed=seed)
        assert_whole(split, rows)
        assert len(split.validation) == len(split.test) == 1


def test_shares_are_kept_and_the_seed_decides():
    identity = identity_of(range(500))
    first = split_of(identity, validation=0.2, test=0.1)
    assert [len(part) for part in (first.train, first.validation, first.test)] == [350, 100, 50]
    assert parts_of(first) == parts_of(split_of(identity, validation=0.2, test=0.1))
    assert parts_of(first) != parts_of(split_of(identity, validation=0.2, test=0.1, seed=1))


def test_nothing_is_held_out_that_was_not_asked_for():
    split = split_of(identity_of(range(50)), validation=0.2, test=0.0)
    assert len(split.validation) == 10 and len(split.test) == 0


def catalogue_with(tmp_path, names):
    rows = [{"title": f"item {number}", "part": name} for number, name in enumerate(names)]
    catalogue = catalogue_of(tmp_path, rows)
    return catalogue, Identity.read(catalogue)


def test_a_column_names_the_parts(tmp_path):
    names = ["train", "Val", "test ", "iconic", None, "VALIDATION", "train", "holdout"]
    catalogue, identity = catalogue_with(tmp_path, names)
    split = split_of(identity, column="part", catalog=catalogue)
    assert parts_of(split) == [[0, 3, 4, 6], [1, 5], [2, 7]]
    assert "'part'" in split.note


@pytest.mark.parametrize("name", ["test", "val"])
@pytest.mark.parametrize("held_out", range(2, 12))
def test_one_held_out_part_serves_twice_and_never_trains(tmp_path, name, held_out):
    catalogue, identity = catalogue_with(tmp_path, ["train"] * 4 + [name] * held_out)
    split = split_of(identity, column="part", catalog=catalogue)
    assert_whole(split, 4 + held_out)
    assert split.train.tolist() == [0, 1, 2, 3]
    assert abs(len(split.validation) - len(split.test)) <= 1
    assert "half of its held-out rows" in split.note


def test_what_a_column_marks_as_test_never_joins_the_rows_that_train(tmp_path):
    catalogue, identity = catalogue_with(tmp_path, ["train"] * 4 + ["test"] * 6)
    split = split_of(identity, column="part", catalog=catalogue)
    assert split.reserved.tolist() == list(range(4, 10)) and split.unreserved.tolist() == [0, 1, 2, 3]
    joined = join_validation(split)
    assert parts_of(joined) == [[0, 1, 2, 3], [], list(range(4, 10))]
    assert joined.note == "split by column 'part'"


def test_half_of_the_rows_marked_for_validation_join_and_all_may_train_in_the_end(tmp_path):
    catalogue, identity = catalogue_with(tmp_path, ["train"] * 4 + ["val"] * 6)
    split = split_of(identity, column="part", catalog=catalogue)
    joined = join_validation(split)
    assert len(joined.train) == 7 and len(joined.test) == 3 and not len(joined.validation)
    assert joined.unreserved.tolist() == list(range(10))
    assert joined.note == "split by column 'part'; half of its held-out rows are reported"


def test_a_single_held_out_row_never_trains(tmp_path):
    catalogue, identity = catalogue_with(tmp_path, ["train"] * 4 + ["test"])
    assert split_of(identity, column="part", catalog=catalogue).train.tolist() == [0, 1, 2, 3]


def test_a_column_without_held_out_rows_lists_its_values(tmp_path):
    catalogue, identity = catalogue_with(tmp_path, ["train", "iconic", "train"])
    with pytest.raises(UserError, match=r"'part' names no validation rows.*iconic, train"):
        split_of(identity, column="part", catalog=catalogue)


def test_an_unknown_column_is_named(tmp_path):
    catalogue, identity = catalogue_with(tmp_path, ["train", "val", "train"])
    with pytest.raises(UserError, match="party"):
        split_of(identity, column="party", catalog=catalogue)


def test_a_column_that_leaves_nothing_to_train_on_says_so(tmp_path):
    catalogue, identity = catalogue_with(tmp_path, ["train", "val", "test", "test"])
    with pytest.raises(UserError, match="too few rows to train on: 1 of 4"):
        split_of(identity, column="part", catalog=catalogue)


def test_parts_are_sorted_row_numbers():
    split = split_of(identity_of(range(300)))
    assert all(np.all(np.diff(part) > 0) for part in (split.train, split.validation, split.test))
