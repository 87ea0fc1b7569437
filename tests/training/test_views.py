"""Views: the texts of a catalogue's rows, as queries and as items."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model.shape_catalogue import catalogue_of

from likewise.training.views import (
    RowTexts,
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
    return RowTexts.collect(catalogue, ALL_FIELDS, seed=0)


def said(texts, indices):
    return [None if index < 0 else texts.texts[index] for index in indices]


def test_every_text_is_listed_once(texts):
    assert len(set(texts.texts)) == len(texts.texts)
    assert said(texts, texts.title) == ["Red shoe", "Blue hat", None, "Only a title", None]
    assert said(texts, texts.query_log.text) == ["boot"] and texts.query_log.row.tolist() == [0]
    assert said(texts, texts.masked)[:2] == ["A for winter days. It has warm lining. Made by hand", None]


def test_fields_that_the_model_does_not_read_are_left_out(catalogue):
    texts = RowTexts.collect(catalogue, ("title", "image"), seed=0)
    assert (texts.description == -1).all() and (texts.sentence == -1).all()


def test_the_sentence_depends_on_the_seed_alone(catalogue):
    drawn = [
        said(
            RowTexts.collect(catalogue, ALL_FIELDS, seed), [RowTexts.collect(catalogue, ALL_FIELDS, seed).sentence[0]]
        )[0]
        for seed in (0, 0, 1, 2, 3, 4, 5)
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_half_of_the_titled_rows_go_without_a_remainder_and_rows_that_do_not_train_without_views(tmp_path):
    rows = [
        {"title": f"shoe {n}" if n < 200 else None, "description": f"Warm in winter {n}. Made by hand."}
        for n in range(300)
    ]
    texts = RowTexts.collect(catalogue_of(tmp_path, rows), ALL_FIELDS, seed=0, training=np.arange(10, 300))
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
