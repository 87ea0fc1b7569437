"""A small shop with every kind of column, and a run over it that needs no training."""

from pathlib import Path

import polars as pl
from conftest import one_torch_thread
from model.shape_catalogue import COLOURS, SHAPES, draw

from likewise.catalog.catalog import Catalog
from likewise.config import PRESETS, ModelSettings
from likewise.model.model import Model
from likewise.retrieval.index import Index

QUICK_TRAINING = """
epochs: 1
threads: 1
precision: float32
model: {text_encoder: scratch-text, image_encoder: scratch-image, dim: 32}
"""
_BRANDS = ("Acme", "Bolt", "Cord", None)


def write_shop(folder: Path, name: str = "products.csv") -> Path:
    """30 pictures on shirts, with prices, brands, stock, model numbers and popularity; and photo.jpg."""
    rows = []
    for number, (colour, shape) in enumerate((colour, shape) for colour in COLOURS for shape in SHAPES):
        draw(colour, shape).save(folder / f"{number}.png")
        rows.append(
            {
                "id": f"sku-{1000 + number}",
                "title": f"{colour} {shape} shirt",
                "description": f"A {colour} {shape}, printed on {'cotton' if number % 3 else 'leather'}.",
                "image_url": f"{number}.png",
                "brand": _BRANDS[number % 4],
                "price": 10.0 + 3 * number if number % 7 else None,
                "popularity": number * 3 % 17,
                "stock": number % 5,
                "model": f"XJ-{900 + number}{'B' if number % 2 else ''}",
            }
        )
    draw("red", "circle").save(folder / "photo.jpg")
    target = folder / name
    pl.DataFrame(rows, infer_schema_length=None).write_csv(target)
    return target


def write_untrained_run(run: Path) -> Path:
    """A model from random weights; the same every time."""
    with one_torch_thread():
        precision = {"text": "float32", "image": "float32"}
        Model.create(_settings(), precision=precision, seed=0).save(run)
    return run


def write_indexed_run(folder: Path) -> Path:
    """The shop, and in `run` a model from random weights with an index of it."""
    catalog = Catalog.read(write_shop(folder), cache=folder / "cache")
    run = write_untrained_run(folder / "run")
    Index.build(Model.load(run), catalog, run).close()
    return run


def _settings() -> ModelSettings:
    return PRESETS["scratch"].model_copy(update={"dim": 32})
