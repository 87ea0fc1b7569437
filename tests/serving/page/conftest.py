"""One server and one browser for the tests of the page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect
from retrieval.fakes import catalog_of, save_picture
from serving.browser import FAKE_MEDIA, require_browser, running_browser
from serving.page.shop import FusingModel, TitleModel

from likewise.retrieval.index import Index
from likewise.serving.api.server import Protection, build_app
from likewise.serving.comparison import Comparison
from likewise.serving.http_server import serving_app
from likewise.serving.listening import listen
from likewise.serving.page.routes import SearchPage
from likewise.serving.service import Limits, SearchService
from likewise.serving.thumbnails import thumbnails_in

HOSTILE = "<img src=x onerror='window.hacked=1'> ${window.hacked=2} {{constructor}} <b>plum</b>"
_TITLES = ["red apple", "red cherry", "green pear", "green lime", HOSTILE, "lost fig", *(["chair"] * 8)]
_COLOURS = {0: (240, 20, 20), 1: (200, 0, 0), 2: (20, 230, 20), 5: (90, 0, 90)}


@contextmanager
def serving_shop(folder: Path, protection: Protection | None = None) -> Iterator[str]:
    """Serve a shop of fruit and chairs with the page while the block runs; yields the address."""
    catalog = catalog_of(
        *_TITLES,
        description=[f"About {title}." for title in _TITLES],
        price=[float(row) for row in range(len(_TITLES))],
        brand=["Acme", "Acme", "Bravo", "Bravo", None, "Acme", *(["Charlie"] * 8)],
        fresh=[True, True, True, False, None, False, *([False] * 8)],
        model=[f"XJ-{1000 + row}" for row in range(len(_TITLES))],
        link=["https://shop.example/apple", "javascript:window.hacked=3", *([None] * 12)],
    )
    catalog.pictures = [
        (save_picture(folder / f"{row}.png", _COLOURS[row], size=(500, 400)),) if row in _COLOURS else ()
        for row in range(len(_TITLES))
    ]
    with Index.build(FusingModel(), catalog, folder / "run") as index:
        catalog.pictures[5][0].path.unlink()
        model = FusingModel()
        service = SearchService(
            index,
            model,
            limits=Limits(image_bytes=200_000),
            thumbnails=thumbnails_in(folder / "cache"),
            comparison=Comparison(index, model, folder / "cache", lambda like: TitleModel(fingerprint="untrained")),
        )
        app = build_app(service, SearchPage(index, "Fruit & chairs", audio=True), protection or Protection())
        try:
            with listen("127.0.0.1", 0) as listener, serving_app(app, listener) as url:
                yield url
        finally:
            service.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require_browser()
    with serving_shop(tmp_path_factory.mktemp("shop")) as url:
        yield url


@pytest.fixture(scope="module")
def context(address: str) -> Iterator[BrowserContext]:
    """One browser for all tests, so that it fetches the page's scripts only once."""
    with running_browser(*FAKE_MEDIA) as browser:
        opened = browser.new_context(viewport={"width": 1280, "height": 800})
        opened.grant_permissions(["clipboard-read", "clipboard-write", "camera", "microphone"])
        yield opened


@dataclass
class Witness:
    """What a page has asked for and complained about."""

    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    allowed: tuple[str, ...] = ()  # parts of complaints that a test expects
    always: tuple[str, ...] = ("/v1/items/5/thumbnail",)  # of the picture that is lost

    def note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location.get('url', '')}")


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
def page(address: str, context: BrowserContext, witness: Witness) -> Iterator[Page]:
    """The page as it opens; at the end, no other host was asked, and nothing was complained about."""
    opened = context.new_page()
    opened.on("request", lambda sent: witness.asked.append(sent.url))
    opened.on("pageerror", lambda error: witness.errors.append(str(error)))
    opened.on("console", witness.note_message)
    opened.set_default_timeout(15_000)
    opened.goto(address)
    expect(opened.locator(".gallery .card").first).to_be_visible(timeout=15_000)
    yield opened
    opened.close()
    strangers = {url for url in witness.asked if not url.startswith((address, "data:", "blob:"))}
    assert len(witness.asked) > 5
    assert strangers == set(), "the page asked another host"
    expected = witness.allowed + witness.always
    assert [error for error in witness.errors if not any(part in error for part in expected)] == []
