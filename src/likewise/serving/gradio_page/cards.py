"""HTML of hits. All contents of items are untrusted, so everything is escaped and nothing becomes a link."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from likewise.retrieval.items import Correction, Hit, Item
from likewise.retrieval.query_filters import FilterSuggestion
from likewise.serving.recordings import choose_recording

_TITLE_LENGTH = 200  # characters
_VALUE_LENGTH = 20_000  # a cell may hold far more than anybody reads


def results_html(heading: str, hits: Sequence[Hit], hints: str = "") -> str:
    """A heading, hints as `hints_html` makes them, and the hits; those that are less likely come last, dimmed."""
    likely = "".join(_card(hit) for hit in hits if hit.likely is not False)
    others = "".join(_card(hit) for hit in hits if hit.likely is False)
    page = f'<h2 class="heading" role="status">{escape(heading)}</h2>{hints}'
    if likely:
        page += f'<ul class="cards">{likely}</ul>'
    elif others:
        page += notice_html("Most likely nothing here fits.")
    if others:
        page += f'<h3 class="heading">Less likely</h3><ul class="cards less-likely">{others}</ul>'
    return page


def hints_html(query: str, corrections: Sequence[Correction], suggestion: FilterSuggestion | None) -> str:
    """What was searched for in place of misspelt words, and the filter that the words suggest, each with a button.

    Args:
        query: the words that were searched for, which the buttons send, as others may stand in the box by then.
    """
    return "".join(_correction(correction, query) for correction in corrections) + _suggestion(suggestion, query)


def notice_html(sentence: str, kind: str = "hint") -> str:
    """A message in place of results; `kind` is "hint" or "error"."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="notice {kind}" role="{role}">{escape(sentence)}</p>'


def details_html(item: Item, score: float | None) -> str:
    """All fields of an item, for the dialog that a click on a card opens."""
    title = escape(choose_title(item))
    fields = {name: value for name, value in item.fields.items() if name not in {"title", "description"}}
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(_shown(value))}</dd>"
        for name, value in fields.items()
        if value is not None and value not in ("", [])
    )
    description = item.fields.get("description")
    prose = f'<p class="description">{escape(_shown(description))}</p>' if description else ""
    likeness = f'<p class="likeness">{_score(score)}</p>' if score is not None else ""
    return (
        f'<article data-id="{escape(item.id)}">'
        f'<button class="close" type="button" data-close aria-label="Close">×</button>'
        f'<div class="large">{_picture(item)}{_player(item)}</div>'
        f'<div class="about"><h2 id="details-title">{title}</h2>{likeness}{prose}<dl>{rows}</dl>'
        f'<button class="like" type="button" data-like>More like this</button></div>'
        f"</article>"
    )


def choose_title(item: Item | Hit) -> str:
    """The item's title, or else the beginning of its description, or else its id; on one line."""
    for text in (item.fields.get("title"), item.fields.get("description"), item.id):
        words = " ".join(str(text).split()) if text else ""
        if words:
            return _cut(words)
    return "Untitled"


def _correction(correction: Correction, query: str) -> str:
    given, searched = (escape(_cut(text)) for text in (correction.given, correction.searched))
    return (
        f'<p class="corrected" role="status">Showing results for <strong>{searched}</strong>. '
        f'<button type="button" data-exact data-text="{escape(query)}">Search instead for {given}</button></p>'
    )


def _suggestion(suggestion: FilterSuggestion | None, query: str) -> str:
    if suggestion is None:
        return ""
    return (
        f'<p class="suggestion">{escape(suggestion.because)}. '
        f'<button class="apply" type="button" data-apply data-text="{escape(query)}">Apply as a filter</button></p>'
    )


def _cut(text: str) -> str:
    return text if len(text) <= _TITLE_LENGTH else f"{text[:_TITLE_LENGTH]}…"


def _card(hit: Hit) -> str:
    title = escape(choose_title(hit))
    return (
        f'<li class="card" data-id="{escape(hit.id)}" data-score="{hit.score:.4f}">'
        f'<button class="open" type="button" data-open aria-label="Details of {title}">{_picture(hit)}'
        f'<span class="title">{title}</span></button>{_player(hit)}'
        f'<div class="foot">{_score(hit.score)}'
        f'<button class="like" type="button" data-like aria-label="More like {title}">More like this</button></div>'
        f"</li>"
    )


def _picture(item: Item | Hit) -> str:
    """The thumbnail over a neutral card with the title, which shows where there is no thumbnail."""
    words = escape(choose_title(item))
    image = ""
    if item.picture:  # its key makes the address another one where the picture is, which browsers do not know yet
        address = f"thumbnail?id={quote(item.id, safe='')}&amp;picture={item.picture.key}"
        image = f'<img src="{address}" alt="" draggable="false">'
    return f'<span class="picture"><span class="placeholder" aria-hidden="true">{words}</span>{image}</span>'


def _player(item: Item | Hit) -> str:
    """A player for the item's first recording, which is loaded once it is played."""
    recording = choose_recording(item)
    if recording is None:
        return ""
    address = f"recording?id={quote(item.id, safe='')}&amp;key={recording.key}"
    label = f"Recording of {escape(choose_title(item))}"
    return f'<audio controls preload="none" src="{address}" aria-label="{label}"></audio>'


def _score(score: float) -> str:
    width = max(0.0, min(1.0, score)) * 100
    return (
        f'<span class="score" title="cosine similarity">'
        f'<span class="bar"><span style="width:{width:.0f}%"></span></span>{score:.2f}</span>'
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        text = "\n".join(_shown(entry) for entry in value)
    elif isinstance(value, dict):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    more = len(text) - _VALUE_LENGTH
    return text if more <= 0 else f"{text[:_VALUE_LENGTH]}… ({more:,} more characters)"
