"""Views: what a row asks and what its item side shows."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model.shape_catalogue import catalogue_of

from likewise.catalog.identity import number_values
from likewise.training.views import (
    KINDS,
    RowTexts,
    distinct_titles,
    draw_pairs,
    drop_fields,
    split_sentence,
    without_copies,
)

ROWS = [
    {
        "title": "Red shoe",
        "description": "A red shoe for winter days. It has warm lining. Made by hand.",
        "query": "boot",
    },
    {"title": "Blue hat", "description": "blue hat", "query": None},
    {"title": None, "description": "Only a description is here.", "query": None},
    {"title": "Only a title", "description": None, "query": " "},
    {"title": None, "description": None, "query": None},
]
ALL_FIELDS = ("title", "description", "image")


@pytest.fixture
def catalogue(tmp_path):
    rows = [row | {"image_url": "nowhere.png"} for row in ROWS]
    return catalogue_of(tmp_path, rows)


@pytest.fixture
def texts(catalogue):
    return RowTexts.of(catalogue, ALL_FIELDS, seed=0)


def said(texts, indices):
    return [None if index < 0 else texts.texts[index] for index in indices]


def test_every_text_is_listed_once(texts):
    assert len(set(texts.texts)) == len(texts.texts)
    assert said(texts, texts.title) == ["Red shoe", "Blue hat", None, "Only a title", None]
    assert said(texts, texts.asked.text) == ["boot"] and texts.asked.row.tolist() == [0]
    assert said(texts, texts.masked)[:2] == ["A for winter days. It has warm lining. Made by hand", None]


def test_fields_that_the_model_does_not_read_are_left_out(catalogue):
    texts = RowTexts.of(catalogue, ("title", "image"), seed=0)
    assert (texts.description == -1).all() and (texts.sentence == -1).all()


def test_the_sentence_depends_on_the_seed_alone(catalogue):
    drawn = [
        said(RowTexts.of(catalogue, ALL_FIELDS, seed), [RowTexts.of(catalogue, ALL_FIELDS, seed).sentence[0]])[0]
        for seed in (0, 0, 1, 2, 3, 4, 5)
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_half_of_the_titled_rows_go_without_a_remainder_and_rows_that_do_not_train_without_views(tmp_path):
    rows = [
        {"title": f"shoe {n}" if n < 200 else None, "description": f"Warm in winter {n}. Made by hand."}
        for n in range(300)
    ]
    texts = RowTexts.of(catalogue_of(tmp_path, rows), ALL_FIELDS, seed=0, training=np.arange(10, 300))
    assert 60 < (texts.remainder[10:200] >= 0).sum() < 130
    assert (texts.remainder[200:] >= 0).all() and (texts.sentence[10:] >= 0).all()
    assert (texts.masked[:10] == -1).all() and (texts.sentence[:10] == -1).all() and (texts.remainder[:10] == -1).all()
    assert (texts.description >= 0).all()


words = st.text("abcdefg", min_size=1, max_size=3)
sentences = st.builds(
    lambda parts, end: " ".join(parts) + end, st.lists(words, min_size=1, max_size=6), st.sampled_from([".", "!", "?"])
)
descriptions = st.lists(sentences, min_size=1, max_size=5).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(descriptions, st.floats(0, 1, exclude_max=True))
def test_a_sentence_that_asks_is_not_in_the_remainder(description, choice):
    sentence, remainder = split_sentence(description, choice)
    if sentence is None:
        assert remainder is None
        return
    assert sentence in description
    assert 3 <= len(sentence.split()) <= 40
    if remainder is not None:
        copies = rf"(?<!\w){re.escape(sentence)}(?!\w)"
        assert not re.search(copies, remainder)
        assert set(re.findall(r"\w+", remainder)) <= set(re.findall(r"\w+", description))


def test_sentences_end_in_several_scripts_and_at_line_breaks():
    parts = "これは 赤い 靴 です。冬に 履く 暖かい 靴。\nA third line without a stop"
    found = {split_sentence(parts, choice / 10)[0] for choice in range(10)}
    assert found == {"これは 赤い 靴 です。", "冬に 履く 暖かい 靴。", "A third line without a stop"}


def test_descriptions_without_a_fit_sentence_ask_nothing():
    for description in (None, "", "Two words.", "word " * 50):
        assert split_sentence(description, 0.5) == (None, None)
    assert split_sentence("One whole sentence.", 0.9) == ("One whole sentence.", None)


@pytest.mark.parametrize(
    ("description", "title", "left"),
    [
        ("Red Shoe, warm. A red shoe!", "red shoe", "warm. A"),
        ("A red shoebox", "red shoe", "A red shoebox"),
        ("red shoe", "Red shoe", None),
        ("c++ (new) for all", "C++ (new)", "for all"),
        ("words", None, "words"),
        ("To the letter,  where nothing is taken out.", "shoe", "To the letter,  where nothing is taken out."),
        (None, "title", None),
    ],
)
def test_verbatim_copies_of_the_title_are_taken_out(description, title, left):
    assert without_copies(description, title) == left


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
                assert pairs.query[place] == texts.asked.all_of(np.array([row]), 1)[0, 0]


def test_every_presence_pattern_is_trained(catalogue):
    texts = next(texts for seed in range(9) if (texts := RowTexts.of(catalogue, ALL_FIELDS, seed)).remainder[0] >= 0)
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
    texts = RowTexts.of(catalogue_of(tmp_path, rows), ALL_FIELDS, seed=0)
    title_codes = number_values(["red shoe", "red shoe", "hat", "boot"])
    indices, found = distinct_titles(texts, title_codes, np.array([0, 1, 2]))
    assert [texts.texts[index] for index in indices] == ["Red shoe", "hat"] and found.tolist() == [0, 1]
