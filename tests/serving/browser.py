"""Chromium for the tests of pages; it finds this machine alone."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from conftest import require
from playwright.sync_api import Browser, sync_playwright

FAKE_MEDIA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
_OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)
_NO_HOST = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def require_browser() -> None:
    """Skip the test if there is none."""
    require(shutil.which("chromium"), "the tests of pages need chromium")


@contextmanager
def running_browser(*options: str, hosts: str = _NO_HOST) -> Iterator[Browser]:
    """Run Chromium while the block runs.

    Args:
        hosts: its rules for finding hosts.
    """
    require_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*_OPTIONS, f"--host-resolver-rules={hosts}", *options]
        )
        yield browser
        browser.close()
