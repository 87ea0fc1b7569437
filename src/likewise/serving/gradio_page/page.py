"""The search page, built with Gradio."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol

import gradio as gr

from likewise.catalog.audio.recording import AudioError, Recording
from likewise.catalog.images.picture import PictureError, SourceError
from likewise.catalog.report import describe_audio_cause, describe_picture_cause
from likewise.errors import UserError
from likewise.retrieval.hybrid import Hybrid
from likewise.retrieval.items import Hit, Hits, Item
from likewise.retrieval.query_filters import FilterSuggestion
from likewise.serving.gradio_page.cards import choose_title, details_html, hints_html, notice_html, results_html
from likewise.serving.recordings import choose_recording

_HERE = Path(__file__).parent
_MOST_RESULTS = 60
_MOST_WAITING = 64  # searches
_LONGEST_TEXT = 10_000  # characters
_TEMPLATE = '<div class="results"></div><dialog class="details" aria-labelledby="details-title"></dialog>'
_INVITATION = "Type a few words, add a picture, or click an example."

log = logging.getLogger(__name__)


class Searchable(Protocol):
    """The methods of an index that the page uses."""

    def __len__(self) -> int: ...

    def search(
        self,
        text: str | None = None,
        *,
        image: Path | None = None,
        audio: Path | None = None,
        image_weight: float = 0.5,
        where: str | None = None,
        hybrid: bool | Hybrid = False,
        k: int = 10,
        min_score: Literal["auto"] | None = None,
    ) -> list[Hit]: ...

    def similar(self, id: str, k: int = 10, *, where: str | None = None) -> list[Hit]: ...

    def item(self, id: str) -> Item: ...

    def suggest_filter(self, text: str) -> FilterSuggestion | None: ...


@dataclass(frozen=True)
class Page:
    """A page that is ready to be served.

    Attributes:
        blocks: what Gradio shows.
        picture: item id → its thumbnail, or None.
        recording: item id and a recording's key → the file of its preview, or None.
        details: item id and score → HTML; raises UserError for an unknown id.
    """

    blocks: gr.Blocks
    picture: Callable[[str], Path | None]
    recording: Callable[[str, str], Path | None]
    details: Callable[[str, float | None], str]


def create_page(
    index: Searchable,
    *,
    title: str = "likewise",
    examples: Sequence[str] = (),
    thumbnails: Callable[[Item], Path | None] = lambda item: None,
    previews: Callable[[Recording], Path | None] = lambda recording: None,
    audio: bool = False,
) -> Page:
    """Create the search page for an index.

    Args:
        index: an Index, or anything that searches like one.
        title: the heading, and the title of the browser's tab; see `likewise.serving.catalog_name`.
        examples: queries to click on.
        thumbnails: item → small picture. Only what this returns is ever served.
        previews: recording of an item → the file of its beginning, likewise.
        audio: let visitors record or upload a sound to search with.
    """
    with gr.Blocks(title=title, analytics_enabled=False) as blocks:
        gr.HTML(_header(title, len(index), audio), apply_default_css=False)
        with gr.Row(elem_id="query", equal_height=False):
            with gr.Column(scale=3, min_width=280, elem_id="words"):
                with gr.Row(elem_id="ask", equal_height=True):
                    text = gr.Textbox(
                        label="Words",
                        placeholder="Describe an item",
                        lines=1,
                        max_lines=1,
                        max_length=_LONGEST_TEXT,
                        autofocus=True,
                        scale=5,
                        min_width=180,
                        elem_id="text",
                    )
                    button = gr.Button("Search", variant="primary", scale=0, min_width=110, elem_id="search")
                with gr.Row(elem_id="examples"):
                    chips = [gr.Button(example, size="sm", min_width=0, scale=0) for example in examples]
                with gr.Row(elem_id="options"):
                    k = gr.Slider(
                        1, _MOST_RESULTS, value=12, step=1, label="Results", min_width=160, buttons=[], elem_id="k"
                    )
                    weight = gr.Slider(
                        0,
                        1,
                        value=0.5,
                        step=0.05,
                        label="Weight of picture and recording" if audio else "Weight of the picture",
                        visible=False,
                        min_width=160,
                        buttons=[],
                        elem_id="weight",
                    )
                with gr.Accordion("More options", open=False, elem_id="more"), gr.Row(elem_id="choices"):
                    where = gr.Textbox(
                        label="Only items that meet a filter",
                        placeholder="price < 50 and brand is not null",
                        lines=1,
                        max_lines=1,
                        max_length=_LONGEST_TEXT,
                        scale=3,
                        min_width=240,
                        elem_id="where",
                    )
                    hybrid = gr.Checkbox(
                        label="Match exact terms and numbers too",
                        value=False,
                        scale=2,
                        min_width=200,
                        elem_id="hybrid",
                    )
            with gr.Column(scale=1, min_width=220, elem_id="upload"):
                picture = gr.Image(
                    label="Picture",
                    sources=["upload"],
                    height=150,
                    buttons=[],
                    placeholder="Drop or choose a picture",
                )
                sounds = [_build_recorder()] if audio else []
        results = gr.HTML(
            notice_html(_INVITATION),
            html_template=_TEMPLATE,
            js_on_load=(_HERE / "page.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            elem_id="results",
        )

        answers = Answers(index)
        quick: dict[str, Any] = {
            "show_progress": "minimal",
            "show_progress_on": results,
            "concurrency_id": "search",  # one at a time: an encoder already uses every core
            "concurrency_limit": 1,
            "api_visibility": "private",
            "trigger_mode": "always_last",
            "preprocess": False,  # or else Gradio decodes the picture, without likewise's limits and sentences
        }
        query = [text, picture, weight, k, where, hybrid, *sounds]
        asked = [text.submit, where.submit, button.click, picture.upload]
        asked += [event for sound in sounds for event in (sound.upload, sound.stop_recording)]
        gr.on(asked, answers.search, query, [results, picture, *sounds], **quick)
        for chip in chips:
            shown = [text, picture, results, *sounds]
            chip.click(partial(answers.example, sounds=len(sounds)), [chip, k, where, hybrid], shown, **quick)
        results.retry(answers.search_exactly, query[1:], [text, results, picture, *sounds], **quick)
        results.like(answers.similar, [k, where], results, **quick)
        results.apply(answers.apply, query[1:], [text, where, picture, *sounds, results], **quick)
        changes = [text.input, text.change, picture.upload, picture.change, picture.clear]
        changes += [event for sound in sounds for event in (sound.change, sound.clear)]
        given = [text, picture, *sounds]
        gr.on(changes, None, given, weight, js=_SHOW_WEIGHT, show_progress="hidden", api_visibility="private")

    blocks.queue(max_size=_MOST_WAITING)

    def find_picture(id: str) -> Path | None:
        return thumbnails(index.item(id))

    def find_recording(id: str, key: str) -> Path | None:
        recording = choose_recording(index.item(id), key)
        return None if recording is None else previews(recording)

    def show_details(id: str, score: float | None) -> str:
        return details_html(index.item(id), score if score is not None and math.isfinite(score) else None)

    return Page(blocks, find_picture, find_recording, show_details)


# The weight matters only where words meet a picture or a sound; decided in the browser, so that typing asks no server.
_SHOW_WEIGHT = """(words, picture, sound) =>
    ({ __type__: 'update', visible: Boolean((picture || sound) && words && words.trim()) })"""


def _build_recorder() -> gr.Audio:
    """A recorder that also takes files; the browser sends what it has recorded as WAV."""
    return gr.Audio(
        label="Recording",
        sources=["upload", "microphone"],
        type="filepath",
        format="wav",
        editable=False,
        buttons=[],
        elem_id="sound",
    )


class Answers:
    """Handlers of the page's events; their arguments come from a browser, so they may be anything."""

    def __init__(self, index: Searchable) -> None:
        self._index = index

    def search(
        self,
        text: Any,
        picture: Any,
        weight: Any,
        k: Any,
        where: Any = None,
        hybrid: Any = False,
        *sounds: Any,
        correct: bool = True,
    ) -> tuple[Any, ...]:
        """Results for the words, the uploaded picture and the recording; what cannot be used is taken off the page.

        Args:
            text: words; blank for none.
            picture: what Gradio knows of an uploaded file, its "path" above all; None without one.
            weight: of the picture, from 0 to 1.
            k: the number of results; beyond what the page offers, the nearest number that it does.
            where: a filter; blank for none.
            hybrid: look for the very words, too, if there are any.
            sounds: what Gradio knows of a recording, on a page with a recorder.
            correct: search by words of the catalogue in place of misspelt ones.
        """
        unchanged = (gr.skip(), *(gr.skip() for _ in sounds))
        try:
            words = _read_text(text, "query").strip()
            file = _read_upload(picture, "picture")
            sound = _read_upload(sounds[0], "recording") if sounds else None
            condition = _read_text(where, "filter")
            share = _read_number(weight, "weight of the picture", 0, 1)
            number = int(_read_number(k, "number of results", 1, _MOST_RESULTS))
        except UserError as error:
            return notice_html(_sentence(error), "error"), *unchanged
        if not words and file is None and sound is None:
            return notice_html("Nothing to search for yet: type a few words or add a picture."), *unchanged
        try:
            shown = self._found(
                lambda: self._index.search(
                    words or None,
                    image=file,
                    image_weight=share,
                    **({} if sound is None else {"audio": sound}),
                    where=condition if condition.strip() else None,
                    hybrid=Hybrid(correct=correct) if hybrid and words else False,
                    k=number,
                    min_score="auto",
                ),
                _description(words, file is not None, sound is not None, condition),
                words,
            )
        except PictureError as error:
            return (
                notice_html(f"This file {describe_picture_cause(error.cause)}; try another one.", "error"),
                None,
                *unchanged[1:],
            )
        except AudioError as error:
            sentence = f"This recording {describe_audio_cause(error.cause)}; try another one."
            return notice_html(sentence, "error"), gr.skip(), None
        return shown, *unchanged

    def search_exactly(self, event: gr.EventData, *query: Any) -> tuple[Any, ...]:
        """The words of the results whose button was pressed, as they were typed, and the results for these.

        Args:
            query: what `search` takes after the words.
        """
        text = _read_event(event, "text")
        shown, *kept = self.search(text, *query, correct=False)
        return text if isinstance(text, str) else gr.skip(), shown, *kept

    def apply(
        self,
        event: gr.EventData,
        picture: Any,
        weight: Any,
        k: Any,
        where: Any = None,
        hybrid: Any = False,
        *sounds: Any,
    ) -> tuple[Any, ...]:
        """Words and filter as the words of the results suggest them, what stays of the uploads, and the results."""
        text = _read_event(event, "text")
        try:
            words, condition = _read_text(text, "query").strip(), _read_text(where, "filter")
            suggestion = self._index.suggest_filter(words) if words else None
            if suggestion is not None:
                text, where = suggestion.text, suggestion.join(condition)
        except UserError as error:
            return *[gr.skip()] * (3 + len(sounds)), notice_html(_sentence(error), "error")
        shown, *kept = self.search(text, picture, weight, k, where, hybrid, *sounds)
        return text, where, *kept, shown

    def example(self, text: Any, k: Any, where: Any = None, hybrid: Any = False, *, sounds: int = 0) -> tuple[Any, ...]:
        """Results for an example, which takes the place of the words, the picture and the recording."""
        shown, *_ = self.search(text, None, 0.0, k, where, hybrid)
        return text if isinstance(text, str) else "", None, shown, *[None] * sounds

    def similar(self, k: Any, where: Any, event: gr.EventData) -> str:
        """Results that are like the item whose button was pressed."""
        try:
            id = _read_text(_read_event(event, "id"), "item's id")
            condition = _read_text(where, "filter")
            number = int(_read_number(k, "number of results", 1, _MOST_RESULTS))
            name = choose_title(self._index.item(id))
        except UserError as error:
            return notice_html(_sentence(error), "error")
        return self._found(
            lambda: self._index.similar(id, number, where=condition if condition.strip() else None),
            f"more like “{_short(name)}”{_within(condition)}",
        )

    def _found(
        self,
        find: Callable[[], list[Hit]],
        what: str,
        words: str = "",
    ) -> str:
        started = perf_counter()
        try:
            hits = find()
            took = perf_counter() - started
            suggestion = self._index.suggest_filter(words) if words else None
        except SourceError:
            raise
        except UserError as error:
            return notice_html(_sentence(error), "error")
        except Exception:
            log.exception("the search failed")
            return notice_html("The search failed; the terminal that serves this page says why.", "error")
        hints = hints_html(words, hits.did_you_mean if isinstance(hits, Hits) else (), suggestion)
        if not hits:
            return notice_html(f"Nothing found: there are no other items to show ({what}).") + hints
        number = "1 result" if len(hits) == 1 else f"{len(hits)} results"
        return results_html(f"{number}: {what} · {took * 1000:.0f} ms", hits, hints)


def _read_event(event: gr.EventData, name: str) -> Any:
    """What the browser has sent under a name with the press of a button; None where it has not."""
    return event._data.get(name) if isinstance(event._data, dict) else None


def _read_text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"the {name} must be text")
    if len(value) > _LONGEST_TEXT:
        raise UserError(f"the {name} has {len(value):,} characters; the limit is {_LONGEST_TEXT:,}")
    return value


def _read_number(value: Any, name: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise UserError(f"the {name} must be a number from {least} to {most}")
    return min(max(value, least), most)


def _read_upload(value: Any, noun: str) -> Path | None:
    if value is None:
        return None
    path = value.get("path") if isinstance(value, dict) else None
    if not isinstance(path, str) or not path:
        raise UserError(f"the {noun} must be a file that was uploaded here")
    return Path(path)


def _description(text: str, has_picture: bool, has_sound: bool, where: str) -> str:
    parts = (f"“{_short(text)}”" if text else "", "your picture" * has_picture, "your recording" * has_sound)
    return " and ".join(part for part in parts if part) + _within(where)


def _within(where: str) -> str:
    return f" where {_short(where.strip())}" if where.strip() else ""


def _sentence(error: UserError) -> str:
    text = str(error)
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def _header(title: str, count: int, audio: bool) -> str:
    items = "1 item" if count == 1 else f"{count:,} items"
    ways = "words, a picture, a recording, or several of these" if audio else "words, by a picture, or by both"
    offer = f"Search {items} by {ways}."
    return f'<header class="header"><h1>{escape(title)}</h1><p>{offer}</p></header>'
