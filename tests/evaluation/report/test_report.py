"""The report as its reader gets it: plain words first, nothing loaded from elsewhere, tidy at 1280 and 400 px."""

import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import require
from evaluation.example_run import example_comparison, example_errors, example_metrics, example_space
from playwright.sync_api import sync_playwright

from likewise.evaluation.report.curves import learning_curves
from likewise.evaluation.report.report import duration, plain_words, write_report
from likewise.evaluation.results import Comparison, RunMetrics


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    return write_report(run, example_metrics(), example_errors(), example_space())


def test_the_verdict_stands_first_in_plain_words(page):
    text = page.read_text()
    body = text[text.index("<body>") :]
    verdict, sentence = body.index("Better than the strongest baseline"), body.index("Verdict: BETTER")
    assert verdict < sentence < body.index("<svg")
    assert sentence < body.index("Training changed recall@10 by +0.") < body.index("<svg")
    assert re.search(r"Training began at \d+ of 100\. What it added lies between \+\d+ and \+\d+ in 100", body)
    added = re.findall(r'Training added\s+<span class="badge better">\+0\.\d\d</span>\s+\[\+0.*\] to its start', body)
    assert len(added) == 4  # one for each subset
    assert re.search(r"The trained model showed \d+ of 100 right items among the first ten results\.", body)


def test_it_holds_table_curves_catalogue_and_settings(page):
    text = page.read_text()
    for part in (
        "Training loss", "Validation recall@10", "Temperature", "Learning rate", "seconds of training",
        "the picture alone", "ndcg@10",
        "2,043", "the file is read as Windows-1252", "duplicate id", "the first row wins", "model.text_encoder",
        "fewer than 200 identities", "lite-image", "2.10.0",
    ):  # fmt: skip
        assert part in text, part
    assert text.count("<svg") == 4 + 1 + 1 + 6 + 1


def test_it_loads_nothing_and_runs_nothing(page):
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text  # what a catalogue holds is shown, never run
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#|data:image/)", text)
    assert "red shoes &amp; &lt;b&gt;bold" in text
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_what_no_page_should_hold_is_shown_in_its_escaped_form(tmp_path):
    metrics = example_metrics()
    data = metrics.data.model_copy(update={"source": "caf\udce9 \x1b[31m\u202e<b>.csv"})
    text = write_report(tmp_path, metrics.model_copy(update={"data": data})).read_text(encoding="utf-8")
    assert "caf\\udce9 \\x1b[31m\\u202e&lt;b&gt;.csv" in text
    assert not {"\x1b", "\u202e"} & set(text)


def test_drawings_are_well_formed_with_unique_ids_and_the_page_s_colours(page):
    text = page.read_text()
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label")
        assert any(element.tag.endswith("text") for element in root.iter())
        assert "var(--ours)" in drawing
        for target in re.findall(r"url\(#([^)]+)\)", drawing):
            assert f'id="{target}"' in drawing
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_it_shows_ranks_threshold_frontier_worst_queries_and_map(page):
    text = page.read_text()
    for part in (
        "Rank of the first right answer", "A best score below <b>0.31</b>", "an answer, 7 of 100 lie",
        "81 of 100 once their", "Validation chose\n0.5", "right answer at rank 1,313", "whole items (40)",
        "Layout: PCA (umap-learn is not installed)", "last blocks",
    ):  # fmt: skip
        assert part in text, part


def test_a_run_of_before_has_no_new_section(tmp_path):
    old = example_metrics().model_dump(mode="json")
    for name in ("frontier", "threshold"):
        del old[name]
    for epoch in old["history"]:
        del epoch["minutes"], epoch["stage"]
    for subset in old["comparison"]["subsets"]:
        for system in subset["systems"]:
            del system["ranks"]
    text = write_report(tmp_path, old).read_text()
    for part in (
        "Rank of the first",
        "When nothing fits",
        "How much of the training",
        "What went worst",
        "Map of the space",
    ):
        assert part not in text
    assert "How it learned" in text


def test_long_trainings_are_told_in_minutes_as_they_were_recorded():
    metrics = example_metrics()
    history = [epoch.model_copy(update={"minutes": 2.0 * epoch.epoch}) for epoch in metrics.history]
    titles = {curve.drawing for curve in learning_curves(metrics.model_copy(update={"history": history}))}
    assert sum("minutes of training" in drawing for drawing in titles) == 2
    assert any("from 0.41 to" in drawing and "40" in drawing for drawing in titles)


def test_same_metrics_same_page(page, tmp_path):
    assert (
        write_report(tmp_path, example_metrics().model_dump(), example_errors(), example_space()).read_text()
        == page.read_text()
    )
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_bare_run_has_a_report_too(tmp_path):
    full = example_metrics(baselines=())
    bare = RunMetrics(
        name="x", created="yesterday", data=full.data, comparison=full.comparison, validation_metric="recall@10"
    )
    text = write_report(tmp_path, bare).read_text()
    assert "Nothing to compare with" in text
    assert "No problem was found" in text
    assert "How it learned" not in text
    unmeasured = write_report(tmp_path, bare.model_copy(update={"comparison": None})).read_text()
    assert "Nothing could be measured" in unmeasured
    assert "Trained model and baselines" not in unmeasured


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gain": 1.0}, "it helped"),
        ({"gain": -2.0}, "it did harm"),
        ({"gain": 0.0}, "it may have changed nothing"),
        ({"gain": 1.0, "baselines": ("untrained",)}, "the model is better"),
        ({"gain": -2.0, "baselines": ("untrained",)}, "the model is worse"),
        ({"gain": -1.0, "baselines": ("untrained",)}, "it may be none at all"),
        ({"queries": 9}, "Only 9 different things were searched for"),
        ({"baselines": ()}, "No baseline was measured"),
    ],
)
def test_every_verdict_has_plain_words(options, words):
    assert words in plain_words(example_comparison(**options))[-1]


def test_a_graded_metric_has_plain_words():
    comparison = Comparison(metric="ndcg@10", subsets=example_comparison().subsets)
    assert "of 100 points, 100 being perfect" in plain_words(comparison)[1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_words(seconds, words):
    assert duration(seconds) == words


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    require(chromium, "no Chromium: the report is not looked at in a browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


TOO_WIDE = """[...document.querySelectorAll('.card :not(svg, svg *)')]
    .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML)"""
TEXT_OUTSIDE_OF_ITS_DRAWING = """[...document.querySelectorAll('svg text')].filter(e => {
    const text = e.getBoundingClientRect(), box = e.ownerSVGElement.getBoundingClientRect();
    return text.left < box.left - 1 || text.right > box.right + 1
        || text.top < box.top - 3 || text.bottom > box.bottom + 3;
}).map(e => e.textContent)"""

STAGES_THAT_OVERLAP = """[...document.querySelectorAll('svg')].filter(drawing => {
    const [first, second] = ['heads', 'last blocks'].map(
        name => [...drawing.querySelectorAll('text')].find(e => e.textContent.trim() == name)?.getBoundingClientRect());
    return first && second && first.right > second.left && first.bottom > second.top + 1 && first.top < second.bottom;
}).map(e => e.textContent)"""


@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_asks_for_nothing_else_and_nothing_sticks_out(browser, page, width):
    view = browser.new_page(viewport={"width": width, "height": 900})
    asked, complaints = [], []
    view.on("request", lambda request: asked.append(request.url))
    view.on("console", lambda message: complaints.append(message.text))
    view.goto(page.as_uri())
    assert asked == [page.as_uri()]
    assert complaints == []
    assert view.evaluate("document.documentElement.scrollWidth") == width
    assert view.evaluate(TOO_WIDE) == []
    assert view.evaluate(TEXT_OUTSIDE_OF_ITS_DRAWING) == []
    assert view.locator("svg").first.bounding_box()["width"] > 300
    view.close()


def test_the_name_of_a_short_stage_does_not_run_into_the_next_one(browser, tmp_path):
    metrics = example_metrics().model_dump()
    for epoch in metrics["history"]:
        epoch["stage"] = "heads" if epoch["epoch"] < 2 else "last blocks"
    view = browser.new_page(viewport={"width": 1280, "height": 900})
    view.goto(write_report(tmp_path, metrics, example_errors(), example_space()).as_uri())
    assert view.locator("svg text", has_text="last blocks").count() >= 2
    assert view.evaluate(STAGES_THAT_OVERLAP) == []
    view.close()
