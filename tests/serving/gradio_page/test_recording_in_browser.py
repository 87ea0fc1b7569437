"""Recordings on the page, in a browser whose microphone plays a tone: searching by one, and playing those of hits."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from catalog.sound_files import encoded, tone
from playwright.sync_api import Page, expect
from retrieval.fakes import FakeModel, catalog_of
from serving.browser import FAKE_MEDIA, require_browser, running_browser

from likewise.catalog.audio.decode import Sound
from likewise.retrieval.index import Index
from likewise.serving.gradio_page.page import create_page
from likewise.serving.gradio_page.server import serving
from likewise.serving.recordings import previews_in

_OPTIONS = ("--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage", *FAKE_MEDIA)


class HearingModel(FakeModel):
    """Low tones sound red, high ones green."""

    def encode_audio(self, sounds: Sequence[Sound]) -> np.ndarray:
        vectors = np.zeros((len(sounds), self.dim), np.float32)
        for vector, sound in zip(vectors, sounds, strict=True):
            loudest = np.abs(np.fft.rfft(sound.samples)).argmax() * sound.rate / len(sound.samples)
            vector[0 if loudest < 1_000 else 1] = 1.0
        return vectors


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    require_browser()
    model = HearingModel(recording_fields=("spoken",))
    index = Index.build(model, catalog_of("red apple", "green pear", "chair", spoken=["", "", ""]))
    index.upsert([{"id": "a b/ü", "title": "blue bell"}], recordings={"a b/ü": {"spoken": [encoded(tone(1.5), "OGG")]}})
    previews = previews_in(tmp_path_factory.mktemp("cache"))
    shown = create_page(index, examples=["chair"], previews=previews, audio=True)
    with serving(shown, port=0) as url, running_browser(*_OPTIONS) as browser:
        errors: list[str] = []
        opened = browser.new_context().new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.set_default_timeout(20_000)
        opened.goto(url)
        expect(opened.get_by_text("Type a few words, add a picture, or click an example.")).to_be_visible(
            timeout=20_000
        )
        yield opened
        assert errors == []


def test_an_uploaded_recording_searches_at_once(page: Page, tmp_path: Path) -> None:
    (tmp_path / "high.wav").write_bytes(encoded(tone(0.5, 3_000)))
    page.locator("#sound input[type=file]").set_input_files(tmp_path / "high.wav")
    expect(page.locator(".heading")).to_contain_text("your recording", timeout=20_000)
    assert page.locator(".card .title").first.inner_text() == "green pear"
    page.get_by_role("button", name="chair", exact=True).click()
    expect(page.locator(".heading")).to_contain_text("“chair”")
    expect(page.locator("#sound input[type=file]")).to_be_attached()


def test_what_is_no_recording_is_a_sentence(page: Page, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("a bell")
    page.locator("#sound input[type=file]").set_input_files(tmp_path / "text.wav")
    expect(page.locator(".notice.error")).to_have_text("This recording is not a recording; try another one.")


def test_what_the_microphone_hears_is_searched(page: Page) -> None:
    page.locator("#sound").get_by_label("Record audio").click()
    page.locator("#sound").get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1_500)
    page.locator("#sound").get_by_role("button", name="Stop", exact=True).first.click()
    expect(page.locator(".heading")).to_contain_text("your recording", timeout=20_000)


_PLAY = """(player) => new Promise((done) => {
    player.addEventListener("ended", () => done([player.duration, player.error]));
    player.play().catch((error) => done([String(error)]));
})"""


def test_a_hit_plays_its_recording(page: Page) -> None:
    page.get_by_label("Words").fill("blue bell")
    page.get_by_label("Words").press("Enter")
    expect(page.locator(".card .title").first).to_have_text("blue bell")
    expect(page.locator(".card audio")).to_have_count(1)
    assert page.locator(".card").first.locator("audio").evaluate(_PLAY) == [1.5, None]
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.locator(".card").first.locator("[data-open]").click()
    assert page.locator("dialog[open] audio").evaluate(_PLAY) == [1.5, None]
    page.get_by_role("button", name="Close", exact=True).click()


def test_only_recordings_that_the_index_names_are_played(page: Page) -> None:
    address = page.locator(".card audio").first.get_attribute("src") or ""
    own = page.request.get(address_of(page, address))
    assert (own.status, own.headers["content-type"], own.headers["x-content-type-options"]) == (
        200,
        "audio/wav",
        "nosniff",
    )
    for other in (
        "id=0&key=" + address.rpartition("=")[2],
        "id=unknown&key=0",
        "id=a%20b%2F%C3%BC&key=../../secret",
        "",
    ):
        assert page.request.get(address_of(page, f"recording?{other}")).status in (404, 422)


def address_of(page: Page, path: str) -> str:
    return f"{page.url.rstrip('/')}/{path}"
