"""Which column is taken for what, and that it is said."""

import pytest

from likewise.catalog.columns import map_columns
from likewise.errors import UserError


def test_expected_names_are_taken_silently() -> None:
    mapping = map_columns(["id", "Title", "description", "image_url", "price"])
    assert mapping.sources == {"id": "id", "title": "Title", "description": "description", "image": "image_url"}
    assert mapping.notes == ()


@pytest.mark.parametrize(
    ("found", "sources"),
    [
        (
            ["SKU", "Product Name", "Body (HTML)", "Image Src"],
            {"id": "SKU", "title": "Product Name", "description": "Body (HTML)", "image": "Image Src"},
        ),
        (["asin", "name", "main_image"], {"id": "asin", "title": "name", "image": "main_image"}),
        (["headline", "body", "img"], {"title": "headline", "description": "body", "image": "img"}),
        (["image", "text"], {"title": "text", "image": "image"}),
        (["title", "text", "IMAGE URL"], {"title": "title", "description": "text", "image": "IMAGE URL"}),
        (["image", "image_url", "title"], {"title": "title", "image": "image_url"}),
    ],
)
def test_common_names_are_guessed_and_said(found: list[str], sources: dict[str, str]) -> None:
    mapping = map_columns(found)
    assert mapping.sources == sources
    for ours in mapping.guessed:
        assert f'the column "{sources[ours]}" is taken as the {ours}' in mapping.notes


def test_absent_columns_are_said() -> None:
    notes = " ".join(map_columns(["title"]).notes)
    assert "no description column" in notes
    assert "no image column" in notes
    assert "row numbers are the ids" in notes


def test_a_given_column_wins_over_guesses() -> None:
    mapping = map_columns(["title", "product_name", "image_url", "big"], {"title": "product_name", "image_url": "big"})
    assert mapping.sources["title"] == "product_name"
    assert mapping.sources["image"] == "big"
    assert not mapping.guessed


def test_mistakes_are_one_sentence_with_a_way_out() -> None:
    with pytest.raises(UserError, match=r"columns are price, colour.*--map title="):
        map_columns(["price", "colour"])
    with pytest.raises(UserError, match='no column "product_nme"; did you mean product_name'):
        map_columns(["product_name", "price"], {"title": "product_nme"})
    with pytest.raises(UserError, match="the columns are a, b"):
        map_columns(["a", "b"], {"title": "zzz"})
    with pytest.raises(UserError, match='cannot map "colour"'):
        map_columns(["title"], {"colour": "title"})
