"""What a report shows besides figures: the queries that went worst, with pictures, and a map of the space."""

import base64
import io
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture, PictureError
from likewise.evaluation.evaluate import Examination
from likewise.evaluation.ranks import Found
from likewise.evaluation.report.space_map import SpaceMap, Vectors, draw_map

_MOST_MISSES = 12
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
class Miss:
    """A query that went wrong: what it should have found, where that stood, and what stood first."""

    query: Card
    rank: int
    answer: Card
    shown: list[Card]


@dataclass(frozen=True)
class Pair:
    """Two items that may be the same thing although nothing says so, and why that is suspected."""

    first: Card
    second: Card
    reason: str


@dataclass(frozen=True)
class Exhibits:
    """What a report shows besides figures."""

    misses: list[Miss]
    space: SpaceMap | None
    suspects: list[Pair] = field(default_factory=list)


Drawer = Callable[[int], Card]


def exhibit_search(
    texts: Sequence[str],
    found: Found,
    relevant: Sequence[np.ndarray],
    groups: Sequence[Hashable] | np.ndarray,
    views: Mapping[str, Vectors],
    draw_item: Drawer,
    suspects: list[Pair],
    *,
    seed: int = 0,
) -> Exhibits:
    """Exhibits of texts that look for items, without the finer map, which takes half a minute.

    Args:
        texts: q queries.
        found: what they found.
        relevant: per query the positions of its answers.
        groups: (q,) identity of each query; of each only the worst is shown.
        views: (n, dim) vectors per name, for the map.
        draw_item: how the item at a position looks.
        suspects: pairs of training items.
    """
    queries = [Card(_cut(text)) for text in texts]
    misses = worst_queries(found, relevant, groups, queries.__getitem__, draw_item)
    return Exhibits(misses, draw_map(views, seed=seed, fine=False), suspects)


def exhibit_examination(examination: Examination) -> Exhibits:
    """Exhibits of what `likewise evaluate` asked, the items seen through all fields."""
    inquiry, items = examination.inquiry, examination.sight.items
    draw_item = item_drawer(inquiry.catalog, pictured="image" in inquiry.fields)
    thumbnails = _Thumbnails(inquiry.catalog)

    def draw_text(row: int) -> Card:
        picture = inquiry.pictures[row]
        return Card(_cut(inquiry.texts[row] or ""), thumbnails.of(picture) if picture is not None else None)

    draw = (draw_text, draw_item) if inquiry.direction == "items" else (draw_item, draw_text)
    misses = worst_queries(examination.found, examination.relevant, inquiry.groups, *draw)
    words = [field for field in inquiry.fields if field != "image"]
    parts = {"texts": words, "pictures": [field for field in inquiry.fields if field == "image"]}
    views = {name: items.through(fields) for name, fields in parts.items() if fields}
    if len(views) > 1:
        views["whole items"] = items.through(inquiry.fields)
    return Exhibits(misses, draw_map(views))


def worst_queries(
    found: Found,
    relevant: Sequence[np.ndarray],
    groups: Sequence[Hashable] | np.ndarray,
    draw_query: Drawer,
    draw_candidate: Drawer,
) -> list[Miss]:
    """The queries whose first right answer stands furthest back, the worst first; one of each group."""
    wrong_by = np.where(np.isnan(found.rank), -1.0, found.rank)
    misses: list[Miss] = []
    seen: set[Hashable] = set()
    for query in np.argsort(-wrong_by, kind="stable").tolist():
        if len(misses) == _MOST_MISSES or wrong_by[query] < 1.5:
            break
        if groups[query] in seen:
            continue
        seen.add(groups[query])
        right = set(np.asarray(relevant[query]).tolist())
        first = [_marked(draw_candidate(place), place in right) for place in found.first[query].tolist()]
        rank = round(found.rank[query])
        misses.append(Miss(draw_query(query), rank, draw_candidate(int(found.best[query])), first))
    return misses


def item_drawer(catalog: Catalog, *, pictured: bool = True) -> Drawer:
    """How the items of a catalogue look; without `pictured` no picture is looked up."""
    titles, descriptions = catalog.texts("title"), catalog.texts("description")
    thumbnails = _Thumbnails(catalog)

    def draw(row: int) -> Card:
        shown = catalog.pictures[row] if pictured else ()
        caption = titles[row] or descriptions[row] or f"item {catalog.ids[row]}"
        return Card(_cut(caption), thumbnails.of(shown[0]) if shown else None)

    return draw


class _Thumbnails:
    """Small pictures as data URIs, each made once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._made: dict[str, str | None] = {}

    def of(self, picture: Picture) -> str | None:
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


def _marked(card: Card, right: bool) -> Card:
    return Card(card.caption, card.picture, right)


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"
