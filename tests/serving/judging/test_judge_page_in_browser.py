"""The page for judging in a real browser: by mouse and by keyboard, taken back, and without asking another host."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect
from retrieval.fakes import FakeModel, catalog_of, save_picture
from serving.browser import require_browser, running_browser

from likewise.retrieval.index import Index
from likewise.serving.api.server import build_app
from likewise.serving.http_server import serving_app
from likewise.serving.judging.judging import Judging
from likewise.serving.judging.store import JudgementStore
from likewise.serving.listening import listen
from likewise.serving.page.routes import SearchPage
from likewise.serving.service import SearchService
from likewise.serving.thumbnails import thumbnails_in

HOSTILE = "<img src=x onerror='window.hacked=1'> plum"
TITLES = [
    "red apple",
    "red cherry",
    "green pear",
    "green lime",
    HOSTILE,
    "lost fig",
    *(f"chair {n}" for n in range(12)),
]
QUERIES = {"red fruit": 12, "green": 5, HOSTILE: 1}
SHOTS = os.environ.get("LIKEWISE_SHOTS")  # a folder for pictures of the page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judging")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    require_browser()
    catalog = catalog_of(*TITLES)
    colours = {0: (240, 20, 20), 1: (200, 0, 0), 2: (20, 230, 20), 5: (90, 0, 90)}
    catalog.pictures = [
        (save_picture(folder / f"{row}.png", colours[row], size=(500, 400)),) if row in colours else ()
        for row in range(len(TITLES))
    ]
    with Index.build(FakeModel(), catalog, folder / "run") as index:
        (folder / "5.png").unlink()
        service = SearchService(index, thumbnails=thumbnails_in(folder / "cache"))
        judging = Judging(JudgementStore(folder / "judgements.jsonl"), None, QUERIES)
        app = build_app(service, SearchPage(index), judging=judging)
        with listen("127.0.0.1", 0) as listener, serving_app(app, listener) as url:
            yield url
        service.close()


@pytest.fixture(scope="module")
def context(address: str) -> Iterator[BrowserContext]:
    with running_browser() as browser:
        yield browser.new_context()


@pytest.fixture
def page(address: str, context: BrowserContext, folder: Path) -> Iterator[Page]:
    (folder / "judgements.jsonl").write_bytes(b"")
    asked: list[str] = []
    errors: list[str] = []
    opened = context.new_page()
    opened.set_viewport_size({"width": 1280, "height": 900})
    opened.on("request", lambda sent: asked.append(sent.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    opened.set_default_timeout(15_000)
    opened.goto(f"{address}/judge")
    expect(opened.get_by_role("heading", name="“red fruit”")).to_be_visible(timeout=15_000)
    yield opened
    assert opened.evaluate("window.hacked") is None
    opened.close()
    assert {url for url in asked if not url.startswith((address, "data:"))} == set(), "the page asked another host"
    assert errors == []


def said(folder: Path) -> list[tuple[str, str, int | None]]:
    lines = (folder / "judgements.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["query"], row["id"], row["relevance"]) for row in map(json.loads, lines)]


def card(page: Page, title: str):
    return page.locator(".hit").filter(has=page.get_by_text(title, exact=True))


def take_picture(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def test_thumbs_are_kept_and_shown(page: Page, folder: Path) -> None:
    expect(page.locator("#progress")).to_have_text("0 of 3 judged")
    expect(page.locator("#how-often")).to_have_text("asked 12 times")
    expect(page.locator(".hit")).to_have_count(12)
    page.get_by_role("button", name="It fits: red apple").click()
    page.get_by_role("button", name="It does not fit: red cherry").click()
    expect(card(page, "red apple")).to_have_class(re.compile("fits"))
    expect(card(page, "red cherry")).to_have_class(re.compile("misses"))
    expect(page.get_by_role("button", name="It fits: red apple")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#progress")).to_have_text("1 of 3 judged")
    take_picture(page, "judged")
    assert said(folder) == [("red fruit", "0", 1), ("red fruit", "1", 0)]
    page.reload()
    expect(page.get_by_role("heading", name="“green”")).to_be_visible()
    expect(page.locator("#progress")).to_have_text("1 of 3 judged")


def test_the_keyboard_does_it_all(page: Page, folder: Path) -> None:
    page.keyboard.press("1")
    expect(page.locator(".hit").first).to_have_attribute("aria-current", "true")
    for key in "yyn":
        page.keyboard.press(key)
    expect(page.locator(".hit").nth(2)).to_have_class(re.compile("misses"))
    expect(page.locator(".hit").nth(3)).to_have_attribute("aria-current", "true")
    assert [relevance for _, _, relevance in said(folder)] == [1, 1, 0]
    page.keyboard.press("u")
    expect(page.locator(".hit").nth(2)).not_to_have_class(re.compile("misses"))
    assert said(folder)[-1][2] is None
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="“green”")).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#right-words")).to_be_focused()
    page.keyboard.type("nun")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    expect(page.locator("#asked")).to_have_text(f"“{HOSTILE}”")
    page.keyboard.press("u")  # of the first query, which comes back
    expect(page.get_by_role("heading", name="“red fruit”")).to_be_visible()
    expect(page.locator(".hit.fits")).to_have_count(1)
    page.keyboard.press("u")
    expect(page.locator(".hit.fits")).to_have_count(0)
    expect(page.locator("#progress")).to_have_text("0 of 3 judged")
    expect(page.locator("#undo")).to_be_disabled()


def test_a_judgement_that_is_changed_can_be_taken_back_to_what_it_was(page: Page, folder: Path) -> None:
    page.get_by_role("button", name="It fits: red apple").click()
    page.get_by_role("button", name="It does not fit: red apple").click()
    expect(card(page, "red apple")).to_have_class(re.compile("misses"))
    page.get_by_role("button", name="Undo").click()
    expect(card(page, "red apple")).to_have_class(re.compile("fits"))
    assert [relevance for _, _, relevance in said(folder)] == [1, 0, 1]


@pytest.mark.parametrize(("typed", "shown", "item"), [("lost fi", "lost fig", "5"), ("17", "chair 11", "17")])
def test_the_right_answer_is_found_by_words_or_id(page: Page, folder: Path, typed: str, shown: str, item: str) -> None:
    page.get_by_label("Its title, a few of its words, or its id").fill(typed)
    first = page.locator("#answers button").first
    expect(first).to_contain_text(shown)
    first.click()
    expect(card(page, shown).locator(".said")).to_have_text("The right answer")
    assert said(folder) == [("red fruit", item, 2)]
    page.get_by_label("Its title, a few of its words, or its id").fill(typed)
    expect(first).to_contain_text(shown)
    take_picture(page, f"right-answer-{item}")


def test_any_other_query_can_be_judged(page: Page, folder: Path) -> None:
    page.get_by_label("Judge another query").fill("  lost   fig ")
    page.get_by_role("button", name="Judge", exact=True).click()
    expect(page.get_by_role("heading", name="“lost fig”")).to_be_visible()
    page.get_by_role("button", name="It fits: lost fig").click()
    expect(card(page, "lost fig")).to_have_class(re.compile("fits"))
    expect(page.locator("#progress")).to_have_text("0 of 3 judged")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("heading", name="“red fruit”")).to_be_visible()
    assert said(folder) == [("lost fig", "5", 1)]


def test_the_end_is_said(page: Page) -> None:
    for number in range(3):
        page.keyboard.press("1")
        page.keyboard.press("n")
        page.keyboard.press("Escape")
        expect(page.locator("#progress")).to_have_text(f"{number + 1} of 3 judged")
        page.keyboard.press("n")
    expect(page.get_by_role("alert")).to_have_text("All queries are judged. You can judge another one below.")
    expect(page.locator(".hit")).to_have_count(0)
    take_picture(page, "end")


def test_what_goes_wrong_is_told(page: Page, folder: Path) -> None:
    file = folder / "judgements.jsonl"
    file.unlink()
    file.mkdir()
    page.get_by_role("button", name="It fits: red apple").click()
    expect(page.get_by_role("alert")).to_contain_text("the judgements cannot be read or written")
    expect(card(page, "red apple")).not_to_have_class(re.compile("fits"))
    file.rmdir()
    file.write_bytes(b"")
    page.get_by_role("button", name="It fits: red apple").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(card(page, "red apple")).to_have_class(re.compile("fits"))


@pytest.mark.parametrize("width", [320, 400, 768])
def test_narrow_windows_need_no_scrolling_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_role("button", name="It fits: red apple").click()
    expect(card(page, "red apple")).to_have_class(re.compile("fits"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    take_picture(page, f"width-{width}")


def test_dark_colours_follow_the_system(page: Page) -> None:
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="It does not fit: red cherry").click()
    expect(card(page, "red cherry")).to_have_class(re.compile("misses"))
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (light, dark) == ("rgb(251, 251, 253)", "rgb(16, 18, 24)")
    take_picture(page, "dark")


def test_pictures_are_shown_whole(page: Page) -> None:
    picture = page.locator(".hit .picture img").first
    expect(picture).to_be_visible()
    shown = "image => [image, image.parentElement].map((one) => one.getBoundingClientRect().height)"
    inner, outer = picture.evaluate(shown)
    assert inner <= outer


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    assert Axe().run(page).generate_report().strip() == "Found 0 accessibility violations:"


def test_the_page_has_a_strict_policy(page: Page, address: str) -> None:
    answer = page.request.get(f"{address}/judge")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", answer.text())
