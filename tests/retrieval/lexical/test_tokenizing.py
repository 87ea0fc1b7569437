"""Codes are found however people type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.retrieval.lexical.tokenizing import lexical_tokens, searchable_text


@pytest.mark.parametrize(
    ("stands_there", "typed"),
    [
        ("XJ-900", "xj900"),
        ("XJ-900", "XJ 900"),
        ("XJ900", "xj-900"),
        ("900xj", "900-XJ"),
        ("WH-1000XM4", "wh1000xm4"),
        ("WH-1000XM4", "1000xm4"),
        ("WH-1000XM4", "WH 1000 XM4"),
        ("iPhone 13", "iphone13"),
        ("SKU_0042/B", "sku0042b"),
        ("T-Shirt", "tshirt"),
        ("4006381-33393.1", "4006381333931"),
        ("Müller-42", "muller42"),
    ],
)
def test_a_code_and_what_is_typed_have_most_in_common(stands_there: str, typed: str) -> None:
    there, asked = set(lexical_tokens(f"one {stands_there} here")), set(lexical_tokens(typed))
    assert len(there & asked) >= 0.6 * len(asked)


def test_decimals_are_no_codes() -> None:
    assert "35mm" not in lexical_tokens("a 3.5mm jack")
    assert {"3", "5", "mm"} <= set(lexical_tokens("a 3.5mm jack"))


def test_plain_words_stay_as_they_are() -> None:
    assert lexical_tokens("Red shoes, and/or socks") == ["red", "shoes", "and", "or", "socks"]


def test_addresses_are_not_joined() -> None:
    long = "a1-" * 20 + "b2"
    assert not [token for token in lexical_tokens(long) if len(token) > 40]


@given(st.text("abcXYZ019 -_./é", max_size=60))
def test_capitals_do_not_matter_and_no_token_is_blank(text: str) -> None:
    assert lexical_tokens(text.upper()) == lexical_tokens(text.lower())
    assert all(token.strip() for token in lexical_tokens(text))


def test_every_text_of_an_item_counts_but_addresses_and_quantities() -> None:
    fields = {
        "id": "sku-17",
        "title": "Tea",
        "image": ["pictures/17.jpg"],
        "link": "https://shop.example/tea",
        "photo": "data:image/png;base64,AAAA",
        "tags": ["green", "loose", 3],
        "ean": 4006381333931,
        "price": 12.5,
        "stock": 40,
        "organic": True,
        "brand": None,
        "since": {"year": "2020"},
    }
    assert searchable_text(fields).split("\n") == ["sku-17", "Tea", "green", "loose", "4006381333931"]
