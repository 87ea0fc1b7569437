"""The page in a real browser, beside pages of other origins that would like to show, read or use it."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect
from retrieval.fakes import FakeModel, catalog_of, save_picture
from serving.browser import running_browser

from likewise.retrieval.index import Index
from likewise.serving.gradio_page.page import create_page
from likewise.serving.gradio_page.server import serving
from likewise.serving.thumbnails import thumbnails_in

_ATTACK = """
async () => {
  const target = new URLSearchParams(location.search).get("target");
  const load = (tag, path) => new Promise((resolve) => {
    const made = document.createElement(tag);
    made.onload = () => resolve("loaded");
    made.onerror = () => resolve("refused");
    made.src = target + path;
    document.body.append(made);
  });
  const read = (path, options) => fetch(target + path, options).then((answer) => answer.text()).catch(() => "refused");
  const form = new FormData();
  form.append("files", new Blob(["x"]), "a.png");
  return {
    image: await load("img", "/thumbnail?id=0"),
    script: await load("script", "/theme.css"),
    details: await read("/details?id=0"),
    config: await read("/config", { credentials: "include" }),
    opaque: await read("/details?id=0", { mode: "no-cors" }),
    upload: await read("/gradio_api/upload", { method: "POST", body: form }),
    event: await read("/gradio_api/queue/join", { method: "POST", body: "{}", mode: "no-cors" }),
  };
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser(hosts="MAP other.example 127.0.0.1") as opened:
        yield opened


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    catalog = catalog_of("red apple", "green pear")
    picture = save_picture(tmp_path_factory.mktemp("originals") / "apple.png", (250, 0, 0))
    catalog.pictures = [(picture,), ()]
    page = create_page(Index.build(FakeModel(), catalog), thumbnails=thumbnails_in(tmp_path_factory.mktemp("cache")))
    with serving(page, port=0) as address:
        yield address


class Elsewhere(http.server.ThreadingHTTPServer):
    """A web server that another person runs, with the paths that it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(_Noting, directory=str(folder)))


class _Noting(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        self.server.asked.append(self.path)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "index.html").write_text("<!doctype html><title>Elsewhere</title><body></body>")
    with Elsewhere(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(params=["other.example", "127.0.0.1"])
def other(request: pytest.FixtureRequest, browser: Browser, elsewhere: Elsewhere, url: str) -> Iterator[Page]:
    opened = browser.new_page()
    opened.set_default_timeout(15_000)
    opened.goto(f"http://{request.param}:{elsewhere.server_port}/?target={quote(url)}")
    yield opened
    opened.close()


def test_a_page_of_another_origin_reads_and_sends_nothing(other: Page) -> None:
    found = other.evaluate(_ATTACK)
    assert found.pop("opaque") in ("", "refused")
    assert found.pop("event") in ("", "refused")
    assert set(found.values()) == {"refused"}, found


def test_a_page_of_another_origin_cannot_frame_it(other: Page, url: str) -> None:
    other.evaluate("url => { document.body.innerHTML = `<iframe src='${url}'></iframe>`; }", url)
    other.wait_for_function("() => document.querySelector('iframe').contentDocument === null")
    frame = other.frames[1]
    frame.wait_for_load_state()
    assert frame.url != f"{url}/"
    assert "likewise" not in frame.content()


def test_the_page_cannot_even_frame_itself(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(url)
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text))
    page.evaluate("() => { document.body.innerHTML = `<iframe src='/theme.css'></iframe>`; }")
    page.wait_for_timeout(500)
    assert any("frame" in text for text in blocked)
    page.close()


def test_a_link_of_another_site_opens_the_page_without_a_handle_on_it(other: Page, url: str) -> None:
    other.evaluate("url => { document.body.innerHTML = `<a href='${url}' target='_blank' rel='opener'>go</a>`; }", url)
    with other.expect_popup() as popup:
        other.get_by_text("go").click()
    expect(popup.value.get_by_text("Type a few words")).to_be_visible()
    assert popup.value.evaluate("window.opener") is None
    assert popup.value.evaluate("document.referrer") in ("", other.url.partition("?")[0])
    popup.value.close()


def test_what_is_smuggled_into_the_page_neither_runs_nor_leaves_it(
    browser: Browser, url: str, elsewhere: Elsewhere
) -> None:
    page = browser.new_page()
    page.goto(url)
    expect(page.get_by_text("Type a few words")).to_be_visible()
    elsewhere.asked.clear()
    page.evaluate(
        """there => {
          const smuggled = document.createElement("div");
          smuggled.innerHTML = `<img src="data:," onerror="window.hacked = 1"><img src="${there}/a.png">
            <link rel="stylesheet" href="${there}/a.css"><a href="javascript:window.hacked = 2" id="trap">trap</a>`;
          document.body.append(smuggled);
          for (const content of ["window.hacked = 3", ""]) {
            const script = document.createElement("script");
            if (content) script.textContent = content; else script.src = `${there}/a.js`;
            document.body.append(script);
          }
          document.getElementById("trap").click();
          fetch(`${there}/fetched`).catch(() => {});
          navigator.sendBeacon(`${there}/beacon`, "x");
        }""",
        f"http://127.0.0.1:{elsewhere.server_port}",
    )
    page.wait_for_timeout(500)
    assert page.evaluate("window.hacked") is None
    assert elsewhere.asked == []
    page.close()


def test_nothing_that_the_page_does_violates_its_policy(browser: Browser, url: str, tmp_path: Path) -> None:
    told: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: told.append(message.text))
    page.goto(url)
    page.get_by_label("Words").fill("red apple")
    page.get_by_label("Words").press("Enter")
    picture = page.locator(".card img").first
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 0
    query = save_picture(tmp_path / "query.png", (200, 0, 0))
    page.locator("input[type=file]").set_input_files(query.path)
    expect(page.locator(".heading")).to_contain_text("your picture")
    preview = page.locator("#upload img").first
    expect(preview).to_have_js_property("complete", True)
    assert preview.evaluate("image => image.naturalWidth") > 0
    page.locator(".card .open").first.click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("red apple")
    page.emulate_media(color_scheme="dark")
    assert [text for text in told if "Content Security Policy" in text] == []
    page.close()
