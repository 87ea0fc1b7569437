"""Batches: which pairs a row gives, and what their item sides show."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model.shape_catalogue import catalogue_of
from training.test_views import ALL_FIELDS, ROWS

from likewise.catalog.identity import number_values
from likewise.training.batches import KINDS, draw_pairs, drop_fields, list_titles
from likewise.training.positives import list_queries
from likewise.training.views import RowTexts


@pytest.fixture
def catalogue(tmp_path):
    rows = [row | {"image_url": "nowhere.png"} for row in ROWS]
    return catalogue_of(tmp_path, rows)


@pytest.fixture
def texts(catalogue):
    return RowTexts.collect(catalogue, ALL_FIELDS, seed=0)


def draws(texts, pictured, times=200):
    rows = np.arange(len(ROWS))
    for seed in range(times):
        yield draw_pairs(texts, rows, np.array(pictured), np.random.default_rng(seed))


def kinds_of(pairs, row):
    return {KINDS[kind] for kind in pairs.kind[pairs.row == row]}


def test_which_rows_give_which_pairs(texts):
    pictured = [True, False, True, False, True]
    for pairs in draws(texts, pictured, 5):
        assert kinds_of(pairs, 0) == set(KINDS)
        assert kinds_of(pairs, 1) <= {"title"}  # its description is a copy of the title, which may be masked
        assert kinds_of(pairs, 2) == {"sentence", "picture"}
        assert kinds_of(pairs, 3) == set()  # a title and nothing beside it
        assert kinds_of(pairs, 4) == set()  # a picture and nothing beside it


def test_pairs_of_one_kind_can_be_drawn_alone(texts):
    rows, pictured = np.arange(len(ROWS)), np.ones(len(ROWS), bool)
    every, titles = (
        draw_pairs(texts, rows, pictured, np.random.default_rng(0), kinds) for kinds in (KINDS, ("title",))
    )
    assert set(titles.kind) == {KINDS.index("title")} and len(titles.kind) < len(every.kind)
    assert set(titles.row) == set(every.row[every.kind == KINDS.index("title")])


def test_what_asks_is_hidden_from_the_item_side(texts):
    for pairs in draws(texts, [True] * 5):
        for place, (kind, row) in enumerate(zip(pairs.kind, pairs.row, strict=True)):
            name = KINDS[kind]
            assert pairs.title[place] >= 0 or pairs.description[place] >= 0 or pairs.picture[place]
            if name == "title":
                assert pairs.query[place] == texts.title[row] and pairs.title[place] == -1
            elif name == "sentence":
                assert pairs.query[place] == texts.sentence[row]
                assert pairs.description[place] in (-1, texts.remainder[row])
            elif name == "picture":
                assert pairs.query[place] == -1 and not pairs.picture[place]
            else:
                assert pairs.query[place] == list_queries(texts.query_log, np.array([row]), 1)[0, 0]


def test_every_presence_pattern_is_trained(catalogue):
    texts = next(
        texts for seed in range(9) if (texts := RowTexts.collect(catalogue, ALL_FIELDS, seed)).remainder[0] >= 0
    )
    seen = {name: Counter() for name in KINDS}
    for pairs in draws(texts, [True] * 5):
        for kind, row, title, description, picture in zip(
            pairs.kind, pairs.row, pairs.title, pairs.description, pairs.picture, strict=True
        ):
            if row == 0:
                seen[KINDS[kind]][bool(title >= 0), bool(description >= 0), bool(picture)] += 1
    two, three = 3, 7  # non-empty subsets
    assert {name: len(patterns) for name, patterns in seen.items()} == {
        "title": two, "sentence": three, "picture": two, "query": three,
    }  # fmt: skip
    assert seen["query"][True, True, True] >= 80  # all fields in half of the draws, and more


def test_copies_of_the_title_are_masked_in_about_half_of_the_draws(texts):
    shown = Counter()
    for pairs in draws(texts, [True] * 5):
        place = np.flatnonzero((pairs.row == 0) & (pairs.kind == 0))[0]
        if pairs.description[place] >= 0:
            shown[bool(pairs.description[place] == texts.masked[0])] += 1
    assert 0.3 < shown[True] / shown.total() < 0.7


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=3, max_size=3).filter(any), min_size=1, max_size=8), st.integers(0, 99)
)
def test_dropping_fields_leaves_some_and_invents_none(present, seed):
    present = np.array(present)
    kept = drop_fields(present, np.random.default_rng(seed))
    assert kept.any(axis=1).all()
    assert not (kept & ~present).any()


def test_distinct_titles(tmp_path):
    rows = [{"title": title} for title in ("Red shoe", "red  SHOE", "hat", "boot")]
    texts = RowTexts.collect(catalogue_of(tmp_path, rows), ALL_FIELDS, seed=0)
    title_codes = number_values(["red shoe", "red shoe", "hat", "boot"])
    indices, found = list_titles(texts, title_codes, np.array([0, 1, 2]))
    assert [texts.texts[index] for index in indices] == ["Red shoe", "hat"] and found.tolist() == [0, 1]
