"""What a person can ask, and the sentence for everything else."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.catalog.images.picture import PictureError
from likewise.errors import UserError
from likewise.retrieval.query import DUPLICATE_COSINE, Term, build_query, parse_weighted
from likewise.retrieval.query_vector import _read_image


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("in blue", "in blue"),
        ("in blue^0.5", ("in blue", 0.5)),
        ("in blue ^ 2 ", ("in blue", 2.0)),
        ("photo.jpg^.25", ("photo.jpg", 0.25)),
        ("C:\\photos\\1.jpg", "C:\\photos\\1.jpg"),
        ("ean:4006381", "ean:4006381"),
        ("x^y", "x^y"),
        ("x^2^3", ("x^2", 3.0)),
        ("^2", "^2"),
        ("two\nlines^2", ("two\nlines", 2.0)),
        ("x^-1", "x^-1"),
    ],
)
def test_a_weight_stands_behind_a_caret(text: str, parsed: object) -> None:
    assert parse_weighted(text) == parsed


@given(st.text(min_size=1).filter(lambda text: text.strip() and not text[-1].isspace()), st.floats(0.01, 100))
def test_any_text_can_have_a_weight(text: str, weight: float) -> None:
    parsed = parse_weighted(f"{text}^{weight:.4f}")
    assert parsed == (text, pytest.approx(weight, abs=1e-4))


def test_parts_may_be_one_or_several_with_or_without_weights() -> None:
    assert build_query("tea").texts == (Term("tea", 1.0),)
    assert build_query(("tea", 2)).texts == (Term("tea", 2.0),)
    assert build_query([" tea ", "", ("milk", 0.5)], minus="sugar").texts == (Term("tea", 1.0), Term("milk", 0.5))
    assert build_query(None, like=["a", ("b", 3)]).likes == (Term("a", 1.0), Term("b", 3.0))
    assert build_query("tea", minus=["sugar", ("salt", 2)]).minus == (Term("sugar", 0.5), Term("salt", 2.0))
    assert build_query("tea", facet="brand").facets == ("brand",)
    assert build_query("tea", facet=["brand", "price"]).facets == ("brand", "price")
    assert build_query("tea", hide_duplicates=True).duplicate_threshold == DUPLICATE_COSINE
    assert build_query("tea", hide_duplicates=0.9).duplicate_threshold == 0.9
    assert build_query("tea").duplicate_threshold is None


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({}, "give words, a picture or both"),
        ({"text": " "}, "give words, a picture or both"),
        ({"minus": "leather"}, "give words, a picture or both"),
        ({"text": "tea", "k": 0}, "k must be at least 1"),
        ({"text": "tea", "offset": -1}, "offset must be at least 0"),
        ({"text": "tea", "image_weight": 1.5}, "between 0 and 1"),
        ({"text": "tea", "diversity": 1.0}, "diversity must be at least 0 and below 1"),
        ({"text": "tea", "diversity": -0.1}, "diversity must be at least 0 and below 1"),
        ({"text": "tea", "hide_duplicates": 1.5}, "the cosine of near-duplicates is between 0 and 1, not 1.5"),
        ({"text": "tea", "min_score": float("nan")}, "min_score must be a number"),
        ({"text": ("tea", 0)}, "a weight must be a number above 0, not 0"),
        ({"text": ("tea", float("inf"))}, "a weight must be a number above 0"),
        ({"text": "tea", "minus": ("sugar", -1)}, "a weight must be a number above 0, not -1"),
        ({"like": "a", "hybrid": True}, "a hybrid search needs words"),
        ({"text": "tea", "boost": "price *"}, "syntax error in the boost at the arrow"),
        ({"text": "tea", "where": "price <"}, "syntax error in the filter at the arrow"),
    ],
)
def test_a_mistake_is_one_sentence(parts: dict, sentence: str) -> None:
    text = parts.pop("text", None)
    with pytest.raises(UserError, match=sentence):
        build_query(text, **parts)


def test_a_picture_to_look_for_is_refused_before_it_fills_the_memory() -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            assert 0 < size < 600_000_000, "a stream is never read to its end"
            return b"\xff\xd8\xff"

    with pytest.raises(PictureError):
        _read_image(Endless())
    with pytest.raises(PictureError, match="cannot be read as a path") as error:
        _read_image("data:image/png;base64," + "A/" * 10_000_000)
    assert len(str(error.value)) < 1000
