"""Items come from strangers' files: whatever they hold is shown as text and does nothing."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.catalog.images.picture import Picture
from likewise.retrieval.items import Hit, Item
from likewise.serving.gradio_page.cards import choose_title, details_html, notice_html, results_html

_PICTURE = Picture(key="a" * 64, path=Path("/originals/photo.jpg"))
_OWN_TAGS = {"h2", "h3", "ul", "li", "button", "span", "div", "img", "p", "article", "dl", "dt", "dd"}
_OWN_ATTRIBUTES = {
    *("class", "role", "style", "src", "alt", "draggable", "type", "id", "title", "aria-label", "aria-hidden"),
    *("data-id", "data-score", "data-open", "data-like", "data-close"),
}


class Reader(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@given(text=st.text(st.characters(exclude_categories=["Cs"])), name=st.text("abc<>&\"'=/ onerror{}$`", min_size=1))
def test_no_text_can_become_markup(text: str, name: str) -> None:
    hostile = f'{text}"><img src=x onerror=alert(1)><script>{text}</script>\'><a href="javascript:alert(2)">'
    fields = {"title": hostile, "description": hostile, name: [hostile, {hostile: 1}], "id": hostile}
    hit = Hit(hostile, 0.5, fields, _PICTURE)
    item = Item(hostile, fields, _PICTURE)
    for html in (results_html(hostile, [hit]), details_html(item, 0.5), notice_html(hostile, "error")):
        page = Reader(html)
        assert set(page.tags) <= _OWN_TAGS
        assert {attribute for attribute, _ in page.attributes} <= _OWN_ATTRIBUTES
        assert all(value.startswith("thumbnail?id=") for attribute, value in page.attributes if attribute == "src")
        assert "onerror=alert(1)" in page.text


def test_another_picture_has_another_address() -> None:
    other = replace(_PICTURE, key="b" * 64)
    addresses = [
        dict(Reader(details_html(Item("1", {}, picture), None)).attributes)["src"] for picture in (_PICTURE, other)
    ]
    assert addresses == [f"thumbnail?id=1&picture={picture.key}" for picture in (_PICTURE, other)]


def test_the_original_picture_is_not_named() -> None:
    hit = Hit("1", 0.5, {"title": "Tea"}, _PICTURE)
    html = results_html("1 result", [hit]) + details_html(Item("1", {"title": "Tea"}, _PICTURE), 0.5)
    assert "/originals" not in html
    assert Reader(html).tags.count("img") == 2


def test_an_item_without_picture_gets_a_card_with_its_title() -> None:
    page = Reader(results_html("1 result", [Hit("1", 0.5, {"title": "Tea"})]))
    assert "img" not in page.tags
    assert page.text.count("Tea") == 2


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"title": " Green\n tea ", "description": "leaves"}, "Green tea"),
        ({"title": None, "description": "leaves"}, "leaves"),
        ({"title": "  ", "description": None}, "item-7"),
        ({}, "item-7"),
        ({"title": "x" * 500}, "x" * 200 + "…"),
        ({"title": 12}, "12"),
    ],
)
def test_every_item_has_a_name(fields: dict, title: str) -> None:
    assert choose_title(Item("item-7", fields, None)) == title


def test_details_show_every_field_that_holds_something() -> None:
    fields = {
        "id": "1",
        "title": "Tea",
        "description": "Leaves.\nMany.",
        "price": 0.0,
        "organic": False,
        "brand": None,
        "note": "",
        "image": ["a.jpg", "b.jpg"],
        "long": "y" * 100_000,
    }
    text = Reader(details_html(Item("1", fields, None), -0.25)).text
    for shown in ("Leaves.\nMany.", "price0.0", "organicFalse", "a.jpg\nb.jpg", "80,000 more characters", "-0.25"):
        assert shown in text
    assert "brand" not in text
    assert "note" not in text


def test_less_likely_hits_come_last_and_dimmed_and_none_is_dropped() -> None:
    hits = [replace(Hit(f"item {row}", 0.5, {}), likely=likely) for row, likely in enumerate((True, False, None))]
    page = results_html("3 results", hits)
    first, last = page.split('<h3 class="heading">Less likely</h3><ul class="cards less-likely">')
    assert "item 0" in first and "item 2" in first and "item 1" in last and "nothing here fits" not in page
    assert "Most likely nothing here fits." in results_html("1 result", hits[1:2])
    assert "Less likely" not in results_html("1 result", hits[:1])
