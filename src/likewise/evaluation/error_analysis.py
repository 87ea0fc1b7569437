"""Error analysis: the queries that went worst, with pictures, and items that may be duplicates."""

import base64
import dataclasses
import io
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture, PictureError
from likewise.evaluation.evaluate import Evaluation
from likewise.evaluation.ranks import Rankings

_MOST_QUERIES = 12
_SIDE = 112  # pixels of a thumbnail: sharp at half the size
_QUALITY = 72
_LONGEST = 90  # characters of a caption


@dataclass(frozen=True)
class Card:
    """How a query or an item looks in the report."""

    caption: str
    picture: str | None = None  # a data URI
    right: bool = False  # whether it answers the query that it is shown for


@dataclass(frozen=True)
class FailedQuery:
    """A query that went wrong: what it should have found, the rank of that, and what ranked first."""

    query: Card
    rank: int
    answer: Card
    shown: list[Card]


@dataclass(frozen=True)
class PossibleDuplicate:
    """Two items that may be the same although their identities differ, and the reason."""

    first: Card
    second: Card
    reason: str


@dataclass(frozen=True)
class ErrorAnalysis:
    """What a report shows besides figures."""

    failed: list[FailedQuery]
    duplicates: Sequence[PossibleDuplicate] = ()


Drawer = Callable[[int], Card]


def analyse_errors(evaluation: Evaluation, duplicates: Sequence[PossibleDuplicate] = ()) -> ErrorAnalysis:
    """Find the worst queries of an evaluation, the items seen through all fields.

    Args:
        evaluation: a model's results.
        duplicates: pairs of items, drawn with `build_item_drawer`.
    """
    task = evaluation.task
    draw_item = build_item_drawer(task.catalog, pictured=bool(evaluation.subset.images))
    thumbnails = _Thumbnails(task.catalog)

    def draw_text(row: int) -> Card:
        picture = task.pictures[row]
        return Card(_shorten(task.texts[row] or ""), thumbnails.encode(picture) if picture is not None else None)

    draw = (draw_text, draw_item) if task.direction == "items" else (draw_item, draw_text)
    failed = find_worst_queries(evaluation.rankings, evaluation.relevant, task.groups, *draw)
    return ErrorAnalysis(failed, duplicates)


def find_worst_queries(
    rankings: Rankings,
    relevant: Sequence[np.ndarray],
    groups: Sequence[Hashable] | np.ndarray,
    draw_query: Drawer,
    draw_candidate: Drawer,
) -> list[FailedQuery]:
    """The queries with the lowest rank of their first right answer, the worst first; one of each group."""
    wrong_by = np.where(np.isnan(rankings.rank), -1.0, rankings.rank)
    failed: list[FailedQuery] = []
    seen: set[Hashable] = set()
    for query in np.argsort(-wrong_by, kind="stable").tolist():
        if len(failed) == _MOST_QUERIES or wrong_by[query] < 1.5:
            break
        if groups[query] in seen:
            continue
        seen.add(groups[query])
        right = set(np.asarray(relevant[query]).tolist())
        first = [
            dataclasses.replace(draw_candidate(place), right=place in right) for place in rankings.first[query].tolist()
        ]
        rank = round(rankings.rank[query])
        failed.append(FailedQuery(draw_query(query), rank, draw_candidate(int(rankings.best[query])), first))
    return failed


def build_item_drawer(catalog: Catalog, *, pictured: bool = True) -> Drawer:
    """A function that draws the item of a row; without `pictured` no picture is resolved."""
    titles, descriptions = catalog.texts("title"), catalog.texts("description")
    thumbnails = _Thumbnails(catalog)

    def draw(row: int) -> Card:
        shown = catalog.pictures[row] if pictured else ()
        caption = titles[row] or descriptions[row] or f"item {catalog.ids[row]}"
        return Card(_shorten(caption), thumbnails.encode(shown[0]) if shown else None)

    return draw


class _Thumbnails:
    """Small pictures as data URIs, each made once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._made: dict[str, str | None] = {}

    def encode(self, picture: Picture) -> str | None:
        if picture.key not in self._made:
            self._made[picture.key] = self._make(picture)
        return self._made[picture.key]

    def _make(self, picture: Picture) -> str | None:
        try:
            image = self._catalog.open_picture(picture, _SIDE)
        except PictureError:
            return None
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=_QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"


def _shorten(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"
