"""The page at /docs in a real browser: it works under its policy, and asks no other host."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect
from serving.asgi_server import running
from serving.browser import running_browser

from likewise.serving.api.app import create_api
from likewise.serving.service import SearchService


@pytest.fixture(scope="module")
def address(service: SearchService) -> Iterator[str]:
    with running(create_api(service)) as url:
        yield url


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    asked: list[str] = []
    said: list[str] = []
    with running_browser() as browser:
        opened = browser.new_page()
        opened.set_default_timeout(20_000)
        opened.on("request", lambda sent: asked.append(sent.url))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("console", lambda line: said.append(line.text) if line.type in ("error", "warning") else None)
        opened.goto(f"{address}/docs")
        yield opened
    assert [url for url in asked if not url.startswith((f"{address}/", "data:", "blob:"))] == []
    assert said == []


def test_an_operation_can_be_read_and_tried(page: Page) -> None:
    expect(page.get_by_text("Search by words, pictures, items, or several of these")).to_be_visible()
    expect(page.locator(".opblock-tag", has_text="embeddings")).to_be_visible()
    operation = page.locator("#operations-search-search_by_words")
    operation.locator(".opblock-summary-control").click()
    expect(operation.get_by_text("Too many requests").first).to_be_visible()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_placeholder("q", exact=True).fill("red shirt")
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table")
    expect(answer).to_contain_text('"hits"')
    expect(answer).to_contain_text("red shirt")


def test_the_page_and_its_parts_come_from_this_server(address: str) -> None:
    answer = httpx.get(f"{address}/docs", trust_env=False)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'self';" in policy
    assert "://" not in answer.text.replace("http://www.w3.org", "")
    for part in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js"):
        assert f"/docs/{part}" in answer.text
        assert httpx.get(f"{address}/docs/{part}", trust_env=False).status_code == 200
