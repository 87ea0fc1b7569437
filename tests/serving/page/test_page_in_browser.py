"""The page of `serve` in a real browser: everything that a visitor can do."""

import json
import re
import shutil
import subprocess
import wave
from html import escape, unescape
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import require
from playwright.sync_api import Page, Route, expect
from serving.documented_requests import ROOT, run_python
from serving.page.conftest import HOSTILE, Witness
from serving.page.shop import draw, search, titles, upload

from likewise.serving.page.routes import POLICY


def test_results_come_as_one_types_and_old_ones_stay_until_then(page: Page) -> None:
    expect(page).to_have_title("Fruit & chairs")
    search(page, "red apple", "red apple")
    first = page.locator("#found .card").first
    expect(first.locator(".number").first).to_have_text(re.compile(r"^\d\.\d\d$"))
    expect(first.locator("img")).to_have_js_property("naturalWidth", 320)
    card = first.element_handle()
    page.get_by_label("Search words").press_sequentially(" fruit")
    expect(page).to_have_url(re.compile("#q=red\\+apple\\+fruit$"))
    expect(page.locator("#found .card .title").first).to_have_text("red apple")
    assert card.evaluate("card => card.isConnected"), "the card was drawn anew, so its picture flickered"
    expect(page.locator(".timing summary")).to_have_text(re.compile(r"^\d+ ms$"))
    page.locator(".timing summary").click()
    expect(page.locator(".timing dl")).to_contain_text("searching")


def test_an_answer_that_comes_late_is_not_shown(page: Page) -> None:
    held = []

    def hold(route: Route) -> None:
        if '"green' in (route.request.post_data or "") and not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/search", hold)
    page.get_by_label("Search words").fill("green pear")
    page.wait_for_timeout(200)
    search(page, "red cherry", "red cherry")
    held[0].abort()
    page.wait_for_timeout(100)
    assert titles(page)[0] == "red cherry"
    expect(page.get_by_role("alert")).to_be_hidden()


def test_completions_and_examples_are_one_click(page: Page) -> None:
    page.get_by_role("group", name="Suggestions").get_by_role("button", name="green lime").click()
    expect(page.locator("#found .card .title").first).to_have_text("green lime")
    expect(page.get_by_label("Search words")).to_have_value("green lime")
    page.get_by_label("Search words").fill("")
    page.get_by_label("Search words").press_sequentially("re")
    page.get_by_role("group", name="Suggestions").get_by_role("button", name="red cherry").click()
    expect(page.locator("#found .card .title").first).to_have_text("red cherry")


def test_a_picture_by_upload_then_words_beside_it_with_a_weight(page: Page, tmp_path: Path) -> None:
    upload(page, draw(tmp_path / "query.jpg", (10, 240, 10)))
    expect(page.locator("#found .card .title").first).to_have_text("green pear")
    expect(page.locator("#balance")).to_be_hidden()
    search(page, "chair")
    balance = page.get_by_label("Weight of the picture against the words")
    balance.fill("0.1")
    expect(page.locator("#found .card .title").first).to_have_text("chair")
    balance.fill("0.95")
    expect(page.locator("#found .card .title").first).to_contain_text("green")
    page.get_by_role("button", name="Remove picture").click()
    expect(page.locator("#found .card .title").first).to_have_text("chair")


def test_a_picture_is_pasted_and_dropped(page: Page) -> None:
    give = """([kind, colour]) => {
      const canvas = new OffscreenCanvas(60, 60);
      const context = canvas.getContext("2d");
      context.fillStyle = colour;
      context.fillRect(0, 0, 60, 60);
      return canvas.convertToBlob({ type: "image/png" }).then((blob) => {
        const data = new DataTransfer();
        data.items.add(new File([blob], "given.png", { type: "image/png" }));
        const event = kind === "paste" ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
          : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
      });
    }"""
    page.evaluate(give, ["paste", "#c80000"])
    expect(page.locator("#found .card .title").first).to_have_text("red cherry")
    page.get_by_role("button", name="Remove picture").click()
    page.evaluate(give, ["dragenter", "#00ff00"])
    expect(page.locator("#drop")).to_be_visible()
    page.evaluate(give, ["drop", "#14e614"])
    expect(page.locator("#drop")).to_be_hidden()
    expect(page.locator("#found .card .title").first).to_have_text("green pear")


def test_a_picture_from_the_camera(page: Page) -> None:
    page.get_by_role("button", name="Search with the camera").click()
    dialog = page.get_by_role("dialog", name="Camera")
    expect(dialog.locator("video")).to_have_js_property("readyState", 4)
    dialog.get_by_role("button", name="Take the picture").click()
    expect(page.locator(".chip.pictures img")).to_be_visible()
    expect(page.locator(".heading")).to_contain_text("results")


def test_a_sound_from_a_file_and_the_microphone(page: Page, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(range(250)) * 128)
    page.get_by_role("button", name="Search with a sound").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a file").click()
    chooser.value.set_files(tmp_path / "tone.wav")
    expect(page.locator("#found .card .title").first).to_contain_text("red")
    page.get_by_role("button", name="Remove sound").click()
    page.get_by_role("button", name="Search with a sound").click()
    page.get_by_role("button", name="Record").click()
    page.wait_for_timeout(400)
    with page.expect_request("**/v1/search") as sent:
        page.get_by_role("button", name="Stop and search").click()
    assert '"audio":"data:audio/wav;base64,' in (sent.value.post_data or "")
    expect(page.locator("#found .card .title").first).to_contain_text("red")


def test_further_words_and_unwanted_ones_with_weights(page: Page) -> None:
    search(page, "red", "red apple")
    page.get_by_role("button", name="Add to the search").click()
    page.get_by_role("button", name="Without these words").click()
    page.get_by_label("Words for what is not wanted").fill("apple")
    expect(page.locator("#found .card .title").first).to_have_text("red cherry")
    page.get_by_role("button", name="Add to the search").click()
    page.get_by_role("button", name="More words").click()
    page.get_by_role("textbox", name="Further words").fill("lime")
    page.get_by_role("button", name=re.compile("^Weight of (lime|further words)")).click()
    page.get_by_label("Weight", exact=True).fill("3")
    expect(page.locator("#found .card .title").first).to_have_text("green lime")
    expect(page).to_have_url(re.compile(r"words=3%7Elime.*minus=1%7Eapple"))
    page.keyboard.press("Escape")
    page.get_by_role("textbox", name="Further words").fill("")
    page.get_by_role("textbox", name="Further words").press("Backspace")
    expect(page.locator(".chip.words")).to_have_count(0)


def test_filters_are_the_catalogues_own_columns(page: Page) -> None:
    filters = page.get_by_role("complementary", name="Filters")
    expect(filters.get_by_label("Charlie")).to_be_visible()
    search(page, "red", "red apple")
    filters.get_by_label("Bravo").check()
    expect(page.locator("#found .card")).to_have_count(2)
    expect(filters.locator(".value", has_text="Bravo").locator(".number")).to_have_text("2")
    filters.get_by_role("checkbox", name="Acme").check()
    expect(page.locator("#found .card")).to_have_count(5)
    filters.get_by_label("price to").fill("1")
    filters.get_by_label("price to").press("Enter")
    expect(page.locator("#found .card")).to_have_count(2)
    page.get_by_role("button", name="Remove the filter brand: Bravo, Acme").click()
    filters.get_by_label("price to").fill("3")
    filters.get_by_label("price to").press("Enter")
    filters.get_by_role("group", name="fresh").get_by_label("yes").check()
    expect(page.locator("#found .card")).to_have_count(3)
    filters.get_by_text("Write a filter").click()
    filters.get_by_label("A filter in writing").fill("`model` == 'XJ-1002'")
    filters.get_by_label("A filter in writing").press("Enter")
    expect(page.locator("#found .card .title")).to_have_text(["green pear"])
    filters.get_by_role("button", name="Clear all").click()
    expect(page.locator("#found .card")).to_have_count(14)


def test_a_filter_that_is_wrong_is_one_sentence(page: Page, witness: Witness) -> None:
    witness.allowed = ("/v1/search",)
    search(page, "red", "red apple")
    page.get_by_text("Write a filter").click()
    page.get_by_label("A filter in writing").fill("prise < 2")
    page.get_by_label("A filter in writing").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text('There is no column "prise"; did you mean price?')
    page.get_by_role("button", name="Remove the filter prise < 2").click()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_filter_that_the_words_suggest_is_one_click(page: Page) -> None:
    page.get_by_label("Search words").fill("red fruit under 2")
    page.wait_for_timeout(300)
    page.get_by_label("Search words").press("Enter")
    page.get_by_role("button", name="Only price < 2").click()
    expect(page.locator("#found .card")).to_have_count(2)
    expect(page.get_by_label("Search words")).to_have_value("red fruit")


def test_misspelt_words_are_corrected_aloud(page: Page) -> None:
    search(page, "gren lmie", "green lime")
    expect(page.locator(".hint")).to_contain_text("Showing results for green lime.")
    page.get_by_role("button", name="Search instead for gren lmie").click()
    expect(page.locator(".hint")).to_have_count(0)
    expect(page).to_have_url(re.compile("correct=no"))


def test_codes_are_found_by_the_very_words_unless_that_is_turned_off(page: Page) -> None:
    search(page, "XJ-1003", "green lime")
    page.get_by_role("button", name="Exact words").click()
    expect(page).to_have_url(re.compile("exact=no"))
    expect(page.get_by_role("button", name="Exact words")).to_have_attribute("aria-pressed", "false")


def test_results_are_sorted_and_grouped(page: Page) -> None:
    search(page, "red", "red apple")
    page.get_by_label("Sort by").select_option("price ↓")
    expect(page.locator("#found .card .fact").first).to_have_text("13")
    page.get_by_label("Sort by").select_option("relevance")
    page.get_by_label("Group by").select_option("brand")
    expect(page.locator("#found .card")).to_have_count(4)  # Acme, Bravo, Charlie, and the one without a brand


def test_details_show_every_field_as_text_and_addresses_as_links(page: Page) -> None:
    search(page, "red apple", "red apple")
    page.locator("#found .card .open").first.click()
    dialog = page.get_by_role("dialog", name="red apple")
    expect(dialog).to_contain_text("About red apple.")
    expect(dialog.locator(".fields")).to_contain_text("XJ-1000")
    link = dialog.get_by_role("link", name="https://shop.example/apple")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(dialog.get_by_text("Why this result")).to_be_visible()
    expect(dialog.locator(".shares")).to_contain_text("title")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#found .card .open").first).to_be_focused()
    page.locator("#found .card .open").nth(1).click()
    dialog = page.get_by_role("dialog", name="red cherry")
    expect(dialog.locator(".fields")).to_contain_text("javascript:window.hacked=3")
    expect(dialog.get_by_role("link")).to_have_count(0)
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_why_shows_shares_on_the_cards(page: Page) -> None:
    search(page, "red apple", "red apple")
    page.get_by_role("button", name="Why?").click()
    chips = page.locator("#found .card").first.locator(".share")
    expect(chips.first).to_be_visible()
    expect(page.locator("#found .card").first.locator(".why")).to_contain_text("title")
    expect(page).to_have_url(re.compile("why=yes"))


@pytest.mark.parametrize("from_details", [False, True])
def test_more_like_this_leaves_the_item_out(page: Page, from_details: bool) -> None:
    search(page, "red apple", "red apple")
    if from_details:
        page.locator("#found .card .open").first.click()
        page.get_by_role("dialog").get_by_role("button", name="More like this").click()
    else:
        page.get_by_role("button", name="More like red apple").click()
    expect(page.locator(".chip.like")).to_contain_text("like red apple")
    expect(page.locator("#found .card .title").first).to_have_text("red cherry")
    assert "red apple" not in titles(page)
    page.go_back()
    expect(page.locator("#found .card .title").first).to_have_text("red apple")
    expect(page.get_by_label("Search words")).to_have_value("red apple")


def test_a_hostile_title_is_only_text(page: Page) -> None:
    search(page, "plum constructor window", HOSTILE)
    page.locator("#found .card .open").first.click()
    expect(page.get_by_role("dialog").get_by_role("heading", level=2)).to_have_text(HOSTILE)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="More like <img").click()
    expect(page.locator(".chip.like")).to_contain_text("onerror")
    assert page.evaluate("window.hacked") is None


def test_the_link_brings_everything_back_but_pictures(page: Page, tmp_path: Path) -> None:
    search(page, "red", "red apple")
    page.get_by_role("checkbox", name="Acme").check()
    expect(page.locator("#found .card")).to_have_count(3)
    page.get_by_label("Sort by").select_option("price ↓")
    expect(page.locator("#found .card .title").first).to_have_text("lost fig")
    upload(page, draw(tmp_path / "query.png", (250, 0, 0)))
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copy the link").click()
    expect(page.locator(".said")).to_contain_text("Pictures and sounds are not in the link.")
    link = page.evaluate("navigator.clipboard.readText()")
    other = page.context.new_page()
    other.goto(link)
    expect(other.locator("#found .card .title").first).to_have_text("lost fig")
    expect(other.locator("#found .card")).to_have_count(3)
    expect(other.get_by_role("checkbox", name="Acme")).to_be_checked()
    expect(other.get_by_label("Sort by")).to_have_value("-price")
    expect(other.locator(".chip")).to_have_count(0)
    other.close()


def test_what_is_copied_finds_the_same(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require(shutil.which("curl"), "the command that the page gives needs curl")
    search(page, 'it\'s "red" $HOME `x`')
    page.get_by_role("checkbox", name="Acme").check()
    expect(page.locator("#found .card")).to_have_count(3)
    shown = "cards => cards.map((card) => card.dataset.id)"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for with_picture in (False, True):
        if with_picture:
            upload(page, draw(tmp_path / "query.png", (250, 0, 0)))
            expect(page.locator("#found .card .title").first).to_have_text("red cherry")
        ids = page.locator("#found .card").evaluate_all(shown)
        page.get_by_role("button", name="Copy").click()
        page.get_by_role("button", name="Copy as curl").click()
        command = page.evaluate("navigator.clipboard.readText()").replace("curl ", "curl --silent --noproxy '*' ", 1)
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert [hit["id"] for hit in json.loads(done.stdout)["hits"]] == ids, command
        page.get_by_role("button", name="Copy").click()
        page.get_by_role("button", name="Copy as Python").click()
        monkeypatch.chdir(tmp_path)
        program = page.evaluate("navigator.clipboard.readText()")
        printed = run_python(f"# http://127.0.0.1:8000\n{program}", "", {})
        assert [line.split()[1] for line in printed.splitlines()] == ids


def test_everything_by_the_keyboard(page: Page) -> None:
    page.locator("main").focus()
    page.keyboard.press("/")
    expect(page.get_by_label("Search words")).to_be_focused()
    search(page, "red apple", "red apple")
    expect(page.locator("#found .card .title").first).to_have_text("red apple")
    page.keyboard.press("ArrowDown")
    cards = page.locator("#found .card .open")
    expect(cards.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('.card') !== null")
    page.keyboard.press("ArrowUp")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="red cherry")).to_be_visible()
    page.keyboard.press("Escape")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("m")
    expect(page.locator(".chip.like")).to_contain_text("red cherry")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Search words")).to_be_focused()
    page.locator("main").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("go to the search box")


def test_dark_colours_by_the_system_and_by_the_switch(page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="light")
    page.get_by_role("button", name="Dark colours").click()
    page.reload()
    expect(page.get_by_role("button", name="Dark colours")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate(ground) == dark
    page.evaluate("localStorage.clear()")


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(page: Page, width: int, tmp_path: Path) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    upload(page, draw(tmp_path / "query.png", (250, 0, 0)))
    search(page, HOSTILE + "x" * 300)
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#found .share").first).to_be_visible()
    if width == 400:
        expect(page.get_by_label("Charlie")).to_be_hidden()
        page.get_by_role("button", name="Filters").click()
        expect(page.get_by_label("Charlie")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#found .card .open").first.click()
    box = page.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert page.get_by_role("dialog").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, scheme: str, tmp_path: Path) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    check = Axe()
    assert check.run(page).generate_report().strip() == _NO_VIOLATIONS
    upload(page, draw(tmp_path / "query.png", (250, 0, 0)))
    search(page, "gren lime under 9", None)
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#found .share").first).to_be_visible()
    page.get_by_role("button", name="Add to the search").click()
    page.get_by_role("button", name="Without these words").click()
    page.get_by_label("Words for what is not wanted").fill("blue")
    page.get_by_role("checkbox", name="Acme").check()
    expect(page.locator("#found .card")).to_have_count(3)
    assert check.run(page).generate_report().strip() == _NO_VIOLATIONS
    page.locator("#found .card .open").first.click()
    expect(page.get_by_text("Why this result")).to_be_visible()
    assert check.run(page).generate_report().strip() == _NO_VIOLATIONS
    page.set_viewport_size({"width": 400, "height": 800})
    assert check.run(page).generate_report().strip() == _NO_VIOLATIONS


_NO_VIOLATIONS = "Found 0 accessibility violations:"


def test_a_file_that_is_no_picture_is_one_sentence(page: Page, witness: Witness, tmp_path: Path) -> None:
    witness.allowed = ("/v1/search",)
    (tmp_path / "text.jpg").write_text("I am not a picture")
    upload(page, tmp_path / "text.jpg")
    expect(page.get_by_role("alert")).to_contain_text("picture")
    page.get_by_role("button", name="Remove picture").click()
    search(page, "green lime", "green lime")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_busy_server_is_asked_again_and_a_lost_one_too(page: Page, witness: Witness) -> None:
    witness.allowed = ("/v1/",)
    search(page, "red apple", "red apple")
    problem = {"type": "about:blank", "title": "", "status": 429, "detail": "too much is waiting here: try again later"}
    page.route("**/v1/search", lambda route: route.fulfill(status=429, json=problem, headers={"Retry-After": "1"}))
    page.get_by_label("Search words").fill("green lime")
    expect(page.get_by_role("alert")).to_contain_text("Trying again in 2 s.")
    assert titles(page)[0] == "red apple"
    page.unroute("**/v1/search")
    expect(page.locator("#found .card .title").first).to_have_text("green lime", timeout=5_000)
    page.context.set_offline(True)
    page.get_by_label("Search words").fill("green pear")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
    page.context.set_offline(False)
    expect(page.locator("#found .card .title").first).to_have_text("green pear", timeout=5_000)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_search_side_by_side_with_untrained_encoders_and_the_very_words(page: Page) -> None:
    search(page, "red cherry", "red cherry")
    page.get_by_role("button", name="Compare").click()
    dialog = page.get_by_role("dialog", name="Side by side")
    expect(dialog.get_by_role("list", name="BM25").locator("li").first).to_contain_text("red cherry")
    dialog.get_by_role("button", name="Build it now").click()
    untrained = dialog.get_by_role("list", name="Untrained")
    expect(untrained.locator("li").first).to_contain_text("red cherry")
    expect(untrained.locator(".change").first).to_have_text("=")
    expect(dialog.get_by_role("list", name="This model").locator("li")).to_have_count(10)
    assert Axe().run(page).generate_report().strip() == _NO_VIOLATIONS


def test_what_is_less_likely_is_dimmed_and_not_left_out(page: Page) -> None:
    def add_threshold(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        for rank, hit in enumerate(found["hits"]):
            hit["likely"] = rank < 2
        route.fulfill(response=answer, json=found)

    page.route("**/v1/search", add_threshold)
    search(page, "red apple", "red apple")
    expect(page.get_by_role("list", name="results", exact=True).locator(".card")).to_have_count(2)
    expect(page.get_by_role("heading", name="Less likely")).to_be_visible()
    expect(page.get_by_role("list", name="less likely results").locator(".card")).to_have_count(12)
    assert Axe().run(page).generate_report().strip() == _NO_VIOLATIONS


def test_a_search_whose_thresholds_or_reasons_are_refused_still_answers(page: Page, witness: Witness) -> None:
    witness.allowed = ("/v1/search",)
    asked = []

    def refuse(route: Route) -> None:
        sent = route.request.post_data_json
        asked.append(sorted({"min_score", "explain"} & sent.keys()))
        if asked[-1]:
            detail = f"this index has no {asked[-1][0]}"
            return route.fulfill(status=422, json={"status": 422, "detail": detail})
        return route.continue_()

    page.route("**/v1/search", refuse)
    search(page, "red apple", "red apple")
    page.get_by_role("button", name="Why?").click()
    expect(page.locator(".hint")).to_have_text("There are no reasons to show: this index has no explain.")
    assert asked[0] == ["min_score"]
    assert asked.count(["min_score"]) == 1  # it is not asked for again


def test_details_play_a_recording(page: Page) -> None:
    def add_recording(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"recording": "/v1/items/0/recording?recording=ab"})

    page.route("**/v1/items/0", add_recording)
    search(page, "red apple", "red apple")
    page.locator("#found .card .open").first.click()
    player = page.get_by_label("Recording of red apple")
    expect(player).to_be_visible()
    expect(player).to_have_attribute("src", "/v1/items/0/recording?recording=ab")


def with_features(page: Page, **features: bool) -> None:
    """Open the page of a server that also has these features."""

    def add(route: Route) -> None:
        answer = route.fetch()
        found = re.search(r'name="settings" content="([^"]*)"', answer.text())
        assert found
        settings = json.loads(unescape(found[1]))
        settings["features"] |= features
        route.fulfill(response=answer, body=answer.text().replace(found[1], escape(json.dumps(settings))))

    page.route(re.compile(r"^http://[^/]+/$"), add)
    page.reload()
    expect(page.locator(".gallery .card").first).to_be_visible()


def test_thumbs_and_the_right_answer_are_saved(page: Page) -> None:
    saved = []

    def save(route: Route) -> None:
        saved.append(route.request.post_data_json)
        route.fulfill(json={"judgements": len(saved)})

    page.route("**/v1/judgements", save)
    with_features(page, judgements=True)
    search(page, "red apple", "red apple")
    card = page.locator("#found .card").nth(1)
    card.get_by_role("button", name="This does not fit").click()
    expect(card.get_by_role("button", name="This does not fit")).to_have_attribute("aria-pressed", "true")
    assert card.locator(".foot").bounding_box()["height"] < 50  # score and buttons are on one line
    card.locator(".open").click()
    page.get_by_role("button", name="The right answer was…").click()
    page.get_by_label("Words of the right answer").fill("green lime")
    page.get_by_role("list", name="Items to choose from").get_by_role("button", name="green lime").click()
    expect(page.get_by_role("dialog", name="The right answer was…")).to_be_hidden()
    query = {"text": "red apple", "image": None}
    assert saved == [
        {"query": query, "id": "1", "relevance": 0},
        {"query": query, "id": "3", "relevance": 2},
    ]


def test_where_no_judgements_are_taken_the_thumbs_go(page: Page, witness: Witness) -> None:
    witness.allowed = ("/v1/judgements",)
    with_features(page, judgements=True)
    search(page, "red apple", "red apple")
    page.locator("#found .card").first.get_by_role("button", name="This is what I was looking for").click()
    expect(page.locator(".thumbs")).to_have_count(0)
    expect(page.locator(".said")).to_have_text("This server takes no judgements.")


def test_words_are_shaded_and_a_map_lies_over_the_picture(page: Page, witness: Witness) -> None:
    witness.allowed = ("willReadFrequently",)  # this test reads the map; the page does not

    def explain(route: Route) -> None:
        asked = route.request.post_data_json
        if asked.get("explain") != "words":
            return route.continue_()
        words = [{"start": 0, "end": 3, "share": 0.4}, {"start": 4, "end": 9, "share": -0.2}]
        why = {
            "fields": {"title": 0.5, "image": 0.4},
            "query_words": [{"word": "apple", "share": 0.3}],
            "words": [{"field": "title", "text": "red apple", "words": words}],
        }
        hit = {"id": "0", "score": 0.9, "fields": {"title": "red apple"}, "thumbnail": None, "explanation": why}
        return route.fulfill(json={"hits": [hit], "facets": {}, "took_ms": {}})

    heat = {"rows": 2, "columns": 2, "values": [[1, 0], [0, -1]], "width": 500, "height": 400}
    page.route("**/v1/search", explain)
    page.route("**/v1/items/0/heatmap", lambda route: route.fulfill(json=heat))
    with_features(page, explain_words=True, heatmap=True)
    search(page, "red apple", "red apple")
    page.locator("#found .card .open").first.click()
    dialog = page.get_by_role("dialog", name="red apple")
    expect(dialog.locator("mark").first).to_have_text("red")
    expect(dialog.locator("mark.against")).to_have_text("apple")
    with page.expect_request("**/heatmap") as sent:
        dialog.get_by_role("button", name="Where in the picture?").click()
    assert sent.value.post_data_json["text"] == "red apple"
    assert len(sent.value.post_data_json["picture"]) == 64
    map = dialog.get_by_role("img", name="Map of what in the picture fits the search")
    expect(map).to_be_visible()
    shown = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 2, 2).data]"
    warm, _, _, cold = [map.evaluate(shown)[start : start + 4] for start in (0, 4, 8, 12)]
    assert warm[0] > warm[2] and cold[2] > cold[0] and warm[3] == cold[3] > 100
    dialog.get_by_role("button", name="Where in the picture?").click()
    expect(map).to_be_hidden()


def test_the_link_of_the_guide_is_understood(page: Page) -> None:
    guide = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    [link] = re.findall(r"^http://127\.0\.0\.1:8000/(#\S+)$", guide, flags=re.M)
    page.goto(page.url.partition("#")[0] + link)
    expect(page.get_by_label("Search words")).to_have_value("red shirt")
    expect(page.get_by_role("checkbox", name="Acme")).to_be_checked()
    expect(page.locator("#found .card .title")).to_have_text(["red apple", "red cherry", "lost fig"])  # by price
    parts = guide.partition("A link can be written by hand")[2].partition("What the page asks")[0]
    for part in ("q", "words", "minus", "like", "filter", "where", "sort", "group", "exact", "correct", "why", "show"):
        assert re.search(rf"`{part}\b", parts), part


def test_the_policy_of_the_guide_is_that_of_the_page() -> None:
    guide = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## The page of serve")[2]
    [policy] = re.findall(r"```text\n(.*?)```", guide.partition("\n## ")[0], flags=re.DOTALL)
    assert " ".join(policy.split()) == POLICY
