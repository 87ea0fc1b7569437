"""The page in a real browser: everything that a visitor can do, and no request to anywhere else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect
from retrieval.fakes import FakeModel, catalog_of, save_picture
from serving.browser import require_browser, running_browser

from likewise.retrieval.index import Index
from likewise.serving.gradio_page.page import create_page
from likewise.serving.gradio_page.server import serving
from likewise.serving.thumbnails import thumbnails_in

HOSTILE = "<img src=x onerror='window.hacked=1'> ${window.hacked=2} {{constructor}} <b>plum</b>"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require_browser()
    folder = tmp_path_factory.mktemp("pictures")
    titles = ["red apple", "red cherry", "green pear", "green lime", HOSTILE, "lost fig", *(["chair"] * 8)]
    catalog = catalog_of(
        *titles,
        description=[f"About {title}." for title in titles],
        price=list(range(len(titles))),
        model=[f"XJ-{1000 + number}" for number in range(len(titles))],
    )
    colours = {0: (240, 20, 20), 1: (200, 0, 0), 2: (20, 230, 20), 5: (90, 0, 90)}
    catalog.pictures = [
        (save_picture(folder / f"{row}.png", colours[row], size=(500, 400)),) if row in colours else ()
        for row in range(len(titles))
    ]
    index = Index.build(FakeModel(), catalog)
    catalog.pictures[5][0].path.unlink()
    page = create_page(
        index,
        title="Fruit & chairs",
        examples=["green lime", "a title that is much longer than the others are"],
        thumbnails=thumbnails_in(tmp_path_factory.mktemp("cache")),
    )
    with serving(page, port=0) as url:
        yield url


@pytest.fixture(scope="module")
def context(address: str) -> Iterator[BrowserContext]:
    """One browser for all tests, so that it fetches the page's scripts only once."""
    with running_browser() as browser:
        yield browser.new_context()


@pytest.fixture(params=[1280])
def page(request: pytest.FixtureRequest, address: str, context: BrowserContext) -> Iterator[Page]:
    asked: list[str] = []
    errors: list[str] = []
    opened = context.new_page()
    opened.set_viewport_size({"width": request.param, "height": 800})
    opened.on("request", lambda sent: asked.append(sent.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.set_default_timeout(15_000)
    opened.goto(address)
    expect(opened.get_by_text("Type a few words, add a picture, or click an example.")).to_be_visible(timeout=15_000)
    yield opened
    opened.close()
    strangers = {url for url in asked if not url.startswith((address, "data:", "blob:"))}
    assert len(asked) > 5
    assert strangers == set(), "the page asked another host"
    assert errors == []


def titles(page: Page) -> list[str]:
    return page.locator(".card .title").all_inner_texts()


def ask(page: Page, words: str) -> None:
    page.get_by_label("Words").fill(words)
    page.get_by_label("Words").press("Enter")


def upload(page: Page, path: Path) -> None:
    page.locator("input[type=file]").set_input_files(path)


def test_words_and_enter_give_results_with_pictures_and_scores(page: Page) -> None:
    expect(page).to_have_title("Fruit & chairs")
    ask(page, "red apple")
    expect(page.locator(".heading")).to_contain_text("12 results: “red apple”")
    assert titles(page)[:2] == ["red apple", "red cherry"]
    expect(page.locator(".card").first.locator(".score")).to_have_text(re.compile(r"^\d\.\d\d$"))
    picture = page.locator(".card img").first
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") == 320


def test_the_button_searches_too_and_the_number_of_results_is_a_choice(page: Page) -> None:
    page.get_by_label("Words").fill("green pear")
    page.locator("#k input[type=number]").fill("3")
    page.locator("#k input[type=number]").press("Tab")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".card")).to_have_count(3)
    assert titles(page)[0] == "green pear"


def test_an_uploaded_picture_searches_at_once(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (10, 240, 10)).save(tmp_path / "query.jpg")
    upload(page, tmp_path / "query.jpg")
    expect(page.locator(".heading")).to_contain_text("your picture")
    assert titles(page)[0] == "green pear"


def test_words_and_picture_show_a_weight(page: Page, tmp_path: Path) -> None:
    weight = page.locator("#weight input[type=range]")
    expect(weight).to_be_hidden()
    Image.new("RGB", (300, 200), (250, 0, 0)).save(tmp_path / "query.png")
    upload(page, tmp_path / "query.png")
    expect(page.locator(".heading")).to_contain_text("results: your picture")
    expect(weight).to_be_hidden()
    page.get_by_label("Words").fill("chair")
    expect(weight).to_be_visible()
    number = page.locator("#weight input[type=number]")
    for share, first in (("0.1", "chair"), ("0.9", "red")):
        number.fill(share)
        number.press("Tab")
        page.get_by_role("button", name="Search").click()
        expect(page.locator(".card .title").first).to_contain_text(first)
    page.get_by_label("Words").fill("")
    expect(weight).to_be_hidden()


def test_a_file_that_is_no_picture_is_one_sentence_and_the_page_goes_on(page: Page, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("I am not a picture")
    upload(page, tmp_path / "text.jpg")
    expect(page.get_by_role("alert")).to_have_text("This file is not a picture; try another one.")
    ask(page, "green lime")
    expect(page.locator(".card .title").first).to_have_text("green lime")


def test_nothing_asked_says_what_to_do(page: Page) -> None:
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("Nothing to search for yet: type a few words or add a picture.")).to_be_visible()


def test_an_example_is_one_click(page: Page) -> None:
    page.get_by_role("button", name="green lime").click()
    expect(page.locator(".card .title").first).to_have_text("green lime")
    expect(page.get_by_label("Words")).to_have_value("green lime")


def test_details_show_all_fields_and_close_with_escape(page: Page) -> None:
    ask(page, "red apple")
    page.locator(".card .open").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("red apple")
    expect(dialog).to_contain_text("About red apple.")
    expect(dialog.locator("dl")).to_contain_text("price")
    expect(dialog.locator("img")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.locator(".card .open").first.click()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_details_open_by_keyboard(page: Page) -> None:
    ask(page, "red apple")
    page.locator(".card .open").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("red cherry")


def test_a_filter_and_exact_terms_are_choices(page: Page) -> None:
    where = page.get_by_label("Only items that meet a filter")
    expect(where).to_be_hidden()
    page.get_by_role("button", name="More options").click()
    where.fill("price < 2")
    ask(page, "apple")
    expect(page.locator(".heading")).to_contain_text("2 results: “apple” where price < 2")
    assert titles(page) == ["red apple", "red cherry"]
    page.get_by_role("button", name="More like red cherry").click()
    expect(page.locator(".heading")).to_contain_text("more like “red cherry” where price < 2")
    assert titles(page) == ["red apple"]
    where.fill("prise < 2")
    where.press("Enter")
    expect(page.get_by_role("alert")).to_have_text('there is no column "prise"; did you mean price?')
    where.fill("")
    page.get_by_label("Match exact terms and numbers too").check()
    ask(page, "xj 1003")
    expect(page.locator(".card .title").first).to_have_text("green lime")


def test_a_misspelt_word_is_corrected_aloud_and_searched_for_as_it_is_by_a_click(page: Page) -> None:
    page.get_by_role("button", name="More options").click()
    page.get_by_label("Match exact terms and numbers too").check()
    ask(page, "gren lmie")
    corrected = page.locator(".corrected")
    expect(corrected).to_contain_text("Showing results for green lime.")
    expect(page.locator(".card .title").first).to_have_text("green lime")
    page.get_by_label("Words").fill("something else")
    page.get_by_role("button", name="Search instead for gren lmie").click()
    expect(corrected).to_have_count(0)
    expect(page.locator(".heading")).to_contain_text("12 results: “gren lmie”")
    expect(page.get_by_label("Words")).to_have_value("gren lmie")


def test_a_suggested_filter_is_applied_by_its_button(page: Page) -> None:
    ask(page, "red fruit under 2")
    expect(page.locator(".heading")).to_contain_text("12 results: “red fruit under 2”")
    expect(page.locator(".suggestion")).to_contain_text("“under 2” is read as price < 2.")
    page.get_by_label("Words").fill("something else")
    page.get_by_role("button", name="Apply as a filter").click()
    expect(page.locator(".heading")).to_contain_text("2 results: “red fruit” where price < 2")
    expect(page.get_by_label("Words")).to_have_value("red fruit")
    expect(page.locator(".suggestion")).to_have_count(0)
    page.get_by_role("button", name="More options").click()
    expect(page.get_by_label("Only items that meet a filter")).to_have_value("price < 2")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".heading")).to_contain_text("2 results: “red fruit” where price < 2")


@pytest.mark.parametrize("from_details", [False, True])
def test_more_like_this_leaves_the_item_out(page: Page, from_details: bool) -> None:
    ask(page, "red apple")
    if from_details:
        page.locator(".card .open").first.click()
        page.get_by_role("dialog").get_by_role("button", name="More like this").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
    else:
        page.get_by_role("button", name="More like red apple").click()
    expect(page.locator(".heading")).to_contain_text("more like “red apple”")
    assert titles(page)[0] == "red cherry"
    assert "red apple" not in titles(page)


def test_a_hostile_title_is_only_text(page: Page) -> None:
    ask(page, "plum constructor window")
    card = page.locator(".card", has_text="plum").first
    expect(card.locator(".title")).to_have_text(HOSTILE)
    card.locator(".open").click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(HOSTILE)
    assert page.evaluate("window.hacked") is None


def test_items_without_a_picture_show_their_title_in_its_place(page: Page) -> None:
    ask(page, "lost fig green lime")
    for title in ("lost fig", "green lime"):
        card = page.locator(".card", has=page.locator(".title", has_text=title))
        expect(card.locator("img")).to_have_count(0)
        expect(card.locator(".placeholder")).to_have_text(title)


@pytest.mark.parametrize("page", [400, 1280], indirect=True)
def test_nothing_is_wider_than_the_window(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (250, 0, 0)).save(tmp_path / "query.png")
    upload(page, tmp_path / "query.png")
    page.get_by_role("button", name="More options").click()
    ask(page, HOSTILE + "x" * 300)
    expect(page.locator(".heading")).to_contain_text("and your picture")
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".card .open").first.click()
    box = page.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert page.get_by_role("dialog").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
