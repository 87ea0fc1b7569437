"""An index of a few hundred items, built and then updated twice, over a model that costs nothing."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import polars as pl
from retrieval.fakes import FakeCatalog, FakeModel, save_picture

from likewise.catalog.images.picture import Picture
from likewise.retrieval.index import Index

_COLOURS = ("red", "green", "blue")
_THINGS = ("lamp", "vase", "chair", "table", "shelf", "clock", "mirror", "carpet", "kettle", "bowl", "plate")
_KINDS = ("oak", "glass", "steel", "wool", "paper", "clay", "copper")
_BRANDS = ("Acme", "Bolt", "Cord", None)
UPDATES = 2


def catalogue(count: int, updates: int, pictures: Path) -> FakeCatalog:
    """The items after some updates: each changes titles, prices and pictures, brings new items and takes old ones."""
    words = itertools.cycle(itertools.product(_THINGS, _COLOURS, _KINDS))
    rows: list[dict[str, Any]] = [
        {
            "id": f"item-{number}",
            "title": f"{colour} {thing} {kind} no{number}",
            "brand": _BRANDS[number % 4],
            "price": 5.0 + number / 8,
            "stock": number % 7,
        }
        for number, (thing, colour, kind) in zip(range(count + 2 * updates), words, strict=False)
    ]
    for update in range(updates):
        for row in rows[count // 4 + 5 * update : count // 4 + 5 * update + 4]:
            row["title"] = f"{row['title']} mended{update}"
        for row in rows[3 * update : 3 * update + 2]:
            row["price"] += 1000.0
    gone = {f"item-{count // 2 + 3 * update + one}" for update in range(updates) for one in (0, 1)}
    kept = [row for row in rows if row["id"] not in gone]
    shown = [() for _ in kept]
    for place, path in enumerate(sorted(pictures.glob("*.png"))):
        shown[7 * place] = (Picture(hashlib.sha256(path.read_bytes()).hexdigest(), path),)
    return FakeCatalog(pl.DataFrame(kept), shown, fingerprint=f"{count} items, {updates} updates")


def write_index(work: Path, run: Path, store: str, count: int) -> None:
    """Build the index of a run folder, and update it."""
    pictures = work / "pictures"
    pictures.mkdir()
    for place in range(3):
        save_picture(pictures / f"{place}.png", (250, 60 * place, 0))
    index = Index.build(FakeModel(), catalogue(count, 0, pictures), run, store=store)
    for update in range(UPDATES):
        index.update(catalogue(count, update + 1, pictures))
    index.close()
