"""The page of `likewise serve` in Chromium: until it is painted, and from a key until the results are on the screen.

The server is the real command, in a process of its own, and shares the cores with the browser, as on a laptop. Queries
are typed letter by letter, each new; what is measured begins with the key, holds the page's own pause of 40 ms, the
request, and the drawing, and ends with the next frame. Items are made up (clustered.py), without pictures.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from clustered import WORDS, Clustered, Products
from load.processes import running_server
from measuring import record
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from verdicts import Verdicts

from likewise.errors import UserError
from likewise.progress import say

_BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
_WATCH = """
() => {
  const text = document.getElementById("text");
  const found = document.getElementById("found");
  window.shown = new Promise((resolve) => {
    let began;
    text.addEventListener("input", () => { began = performance.now(); }, { once: true });
    const observer = new MutationObserver(() => {
      if (began === undefined) return;
      observer.disconnect();
      requestAnimationFrame(() => resolve(performance.now() - began));
    });
    observer.observe(found, { childList: true });
  });
}
"""
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=12, help="three words each")
    parser.add_argument("--quick", action="store_true", help="10,000 items and two queries; figures mean little")
    parser.add_argument("--json", action="store_true", help="keep the figures in benchmarks/results/page.json")
    parser.add_argument("--folder", type=Path, help="keep run and index here, for the next time")
    parser.add_argument("--cores", type=int, default=2, help="that server and browser share")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # child processes have the same
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    items, queries = (10_000, 2) if arguments.quick else (arguments.items, arguments.queries)
    try:
        with ExitStack() as stack:
            folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="likewise-")))
            figures, verdicts = measure(folder.absolute() / str(items), items, queries)
    except UserError as error:
        sys.exit(str(error))
    if arguments.json and not arguments.quick:
        record("page", {"cores": arguments.cores, **figures, "targets": verdicts.lines})
    else:
        print(json.dumps(figures, indent=2))


def measure(folder: Path, items: int, queries: int) -> tuple[dict[str, Any], Verdicts]:
    """The figures of the page over so many items, and the verdicts on them."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise UserError("this needs the program chromium")
    prepare(folder, items)
    command = [sys.executable, "-m", "likewise.cli", "serve", str(folder / "run"), "--cache", str(folder / "cache")]
    with running_server("likewise", command, folder / "likewise.log") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_BROWSER)
        address = f"http://127.0.0.1:{server.port}/"
        painted = [measure_first_paint(browser.new_page(), address) for _ in range(5)]
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.locator(".gallery .card").first.wait_for()
        page.locator("#filters .column").first.wait_for(timeout=60_000)
        type_queries(page, 1, seed=0)  # the first search waits for the words of the index
        keys = type_queries(page, queries, seed=1)
        add_picture(page)
        beside = type_queries(page, max(1, queries // 4), seed=2)
        browser.close()
    verdicts = Verdicts(items)
    verdicts.at_most("first paint, ms", round(statistics.median(painted)), 1000)
    verdicts.at_most("key to results, p50 ms", round(statistics.median(keys), 1), 100)
    figures = {
        "items": items,
        "first paint, ms": [round(one) for one in painted],
        "keys": len(keys),
        "key to results, ms": _quantiles(keys),
        "key to results beside a picture, ms": _quantiles(beside),
    }
    return figures, verdicts


def measure_first_paint(page: Page, address: str) -> float:
    """Milliseconds from the request for the page to its first paint; the first of several fills the browser's cache."""
    page.goto(address)
    page.wait_for_function(f"{_PAINTED} !== undefined")
    painted = float(page.evaluate(_PAINTED))
    page.close()
    return painted


def type_queries(page: Page, count: int, seed: int) -> list[float]:
    """Milliseconds from each key to its results; blanks and the first letter, which change nothing, are left out."""
    generator = np.random.default_rng(seed)
    taken: list[float] = []
    for _ in range(count):
        words = " ".join(generator.choice(WORDS, 3))
        page.locator("#text").fill("")
        page.wait_for_timeout(400)
        for number, key in enumerate(words):
            if number == 0 or key == " ":
                page.keyboard.press("Space" if key == " " else key)
                page.wait_for_timeout(300)
                continue
            page.evaluate(_WATCH)
            page.keyboard.press(key)
            taken.append(float(page.evaluate("window.shown")))
            page.wait_for_timeout(120)
    return taken


def add_picture(page: Page) -> None:
    """Search with a picture, too."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((1600, 1200)).save(file, "JPEG")
    with page.expect_file_chooser() as chooser:
        page.locator("#picture-button").click()
    chooser.value.set_files({"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()})
    page.locator(".chip.pictures").wait_for()
    page.locator("#text").focus()


def prepare(folder: Path, items: int) -> None:
    """The run with its index; what an earlier run has left in the folder stays."""
    from likewise.model.model import Model
    from likewise.retrieval.index import Index

    done = folder / "complete"
    if done.exists():
        return
    say(f"building the index of {items:,} items")
    (folder / "run").mkdir(parents=True, exist_ok=True)
    model = Model.create("lite")
    model.save(folder / "run")
    vectors = np.concatenate(list(Clustered(0).blocks(items)))
    Index.from_vectors(model, vectors, Products(0).frame(0, items), run=folder / "run").close()
    done.touch()


def _quantiles(taken: list[float]) -> dict[str, float]:
    return {"p50": round(statistics.median(taken), 1), "p95": round(float(np.quantile(taken, 0.95)), 1)}


if __name__ == "__main__":
    main()
