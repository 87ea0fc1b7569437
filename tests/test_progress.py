"""What a terminal shows of strangers' texts: the texts, and nothing that a terminal or rich would obey."""

import io
import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import RenderableType

from likewise.catalog.doctor import render_report
from likewise.catalog.report import Report
from likewise.cli.search import render_hits
from likewise.evaluation.metrics import METRICS
from likewise.evaluation.report.table import comparison_table
from likewise.evaluation.results import Comparison, SubsetResult, SystemResult
from likewise.evaluation.run_comparison import Change, RunComparison, run_comparison_table
from likewise.evaluation.significance import Interval
from likewise.progress import Bar, Terminal, console, print_json, print_logs, printable, report_error, say
from likewise.retrieval.items import Hit, Hits

OBEYED = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # bidirectional classes
HOSTILE = (
    "Cable [/HDMI]",
    "[new] [bold]loud[/] [link=https://example.org]here[/link] :smile:",
    "\x1b[31mred\x1b[0m \x1b]8;;https://example.org\x1b\\here\x1b]8;;\x1b\\ \x1b]0;title\x07",
    "\x9b31mred \x9d8;;https://example.org\x9c",
    "\u202egnp.exe\u202c \u2066isolated\u2069",
    "bell\x07 back\x08\x08 \x7f \r overwritten",
    "file \udcff name",
    "second\nline\u2028third\x85fourth",
)
texts = st.text(max_size=40) | st.lists(
    st.sampled_from([*HOSTILE, "\x1b", "\x9b", "\u202e", "\ud800", "[", "]", "/", "\\", "\n", "\t", " ", "word"]),
    max_size=5,
).map("".join)


def obeyed(output: str) -> set[str]:
    """Characters of an output that a terminal would obey."""
    return {
        sign
        for sign in output
        if (unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") and sign not in "\n\t")
        or unicodedata.bidirectional(sign) in OBEYED
    }


def drawn(renderable: RenderableType, colour: bool = False) -> str:
    terminal = Terminal(io.StringIO(), width=10_000)
    if colour:
        terminal._force_terminal = True
    terminal.print(renderable)
    return terminal.file.getvalue()


def without_spaces(text: str) -> str:
    return "".join(text.split())


def shows(output: str, text: str) -> bool:
    """Whether all of a text can be read in an output, if only with its line breaks and control characters replaced."""
    return without_spaces(text) in without_spaces(output) if not obeyed(text) else True


def shown_wholly(renderable: RenderableType, *given_texts: str) -> bool:
    output = drawn(renderable)
    assert not obeyed(output), output
    output.encode()
    return all(shows(output, text) for text in given_texts)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_message_is_one_line_of_what_it_says(text, capsys):
    say(text)
    report_error("likewise", text)
    said, error = capsys.readouterr().err.splitlines()
    assert not obeyed(said + error)
    assert said == error.removeprefix("likewise: ")
    assert without_spaces(text.translate({ord(sign): None for sign in obeyed(text)}))[:3] in without_spaces(said)


def test_control_characters_are_shown_in_their_escaped_form():
    assert printable("a\x1b[31mb\x9b\u202e\udcff\r\x00\tc\n") == "a\\x1b[31mb\\x9b\\u202e\\udcff\\r\\x00\tc\n"
    ordinary = "Käse 🧀 ‏עברית‎ नमस्ते [a] \\x1b"
    assert printable(ordinary) == ordinary


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=3), texts.filter(bool), texts)
@example([(text, text, text) for text in HOSTILE], HOSTILE[0], HOSTILE[2])
def test_hits_and_facets_show_every_text_as_it_is(rows, column, value):
    hits = Hits([Hit(id, 0.5, {"title": title, column: group}) for id, title, group in rows])
    hits.facets = {column: {value: 3}}
    wanted = [text for id, _, group in rows for text in (id, group)] + [column, value]
    assert shown_wholly(render_hits(hits, column), *wanted)
    assert "\x1b]" not in drawn(render_hits(hits, column), colour=True), "no links"


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3), texts)
@example(list(HOSTILE), HOSTILE[1])
def test_the_doctors_report_shows_every_text_as_it_is(notes, name):
    report = Report()
    for note in notes:
        report.note(note)
    report.count_rows("duplicate-id", [name])
    assert shown_wholly(render_report(report), *notes, name[:40])


@settings(max_examples=40, deadline=None)
@given(texts, texts, texts)
@example(HOSTILE[0], HOSTILE[2], HOSTILE[4])
def test_tables_of_figures_show_columns_runs_and_queries_as_they_are(label, name, query):
    interval = Interval(mean=0.5, low=0.4, high=0.6, groups=300)
    systems = [SystemResult(name=system, metrics=dict.fromkeys(METRICS, interval)) for system in (name, "first")]
    subset = SubsetResult(
        subset="all",
        label=label,
        queries=3,
        candidates=4,
        systems=systems,
        baseline="first",
        differences=dict.fromkeys(METRICS, interval),
        gains=dict.fromkeys(METRICS, interval),
    )
    assert shown_wholly(comparison_table(Comparison(metric="mrr", subsets=[subset, subset])), label, name)
    change = Change(query=query, before=0.1, after=0.5, rank_before=10, rank_after=2)
    result = RunComparison(
        metric="mrr", subset=subset, wins=1, losses=0, equal=2, starts=[subset], gained=[change], lost=[]
    )
    assert shown_wholly(run_comparison_table(result), label, name, *([query] if len(query) <= 40 else []))


def test_the_bar_shows_its_description_as_it_is(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for name, value in (("_file", io.StringIO()), ("_force_terminal", True), ("is_interactive", True), ("_width", 200)):
        monkeypatch.setattr(console, name, value)
    with Bar("Reading [/b] \x1b]0;x\x07\u202e", 2) as bar:
        bar.advance(note="[/] \x9bm \x1b]8;;x\x07")
    output = console.file.getvalue()
    assert "Reading [/b] \\x1b]0;x\\x07\\u202e [/] \\x9bm" in output
    assert not {"\x9b", "\u202e", "\x07"} & set(output)
    assert "\x1b]" not in output


@settings(max_examples=60, deadline=None)
@given(texts)
def test_json_keeps_the_data_and_stays_valid_utf8(text):
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        print_json([{text: text}])
        output.flush()
    printed = output.buffer.getvalue().decode()
    assert not obeyed(printed)
    assert json.loads(printed) == [{text: text}]


def test_what_stdout_cannot_encode_is_escaped(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", output)
    print_json(["Käse 🧀"])
    Terminal().print("Käse 🧀")
    output.flush()
    *printed, table = output.buffer.getvalue().decode("cp1252").splitlines()
    assert json.loads("\n".join(printed)) == ["Käse 🧀"]
    assert table == "Käse \\U0001f9c0"


def test_log_lines_are_printable(capsys, monkeypatch):
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    print_logs()
    log = logging.getLogger("a library that prints for itself")
    log.propagate = False
    try:
        raise ValueError("\x1b[31m [/b] \x9b")
    except ValueError:
        log.exception("a search for \u202e failed")
    output = capsys.readouterr().err
    assert not obeyed(output)
    assert "a search for \\u202e failed" in output
    assert "ValueError: \\x1b[31m [/b] \\x9b" in output
