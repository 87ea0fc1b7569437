"""A small catalogue of coloured shapes, with the flaws of real ones: blank cells, repeated titles, a broken picture."""

import itertools
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image, ImageDraw

from likewise.catalog.catalog import Catalog

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (40, 60, 220),
    "yellow": (240, 220, 40),
    "purple": (140, 40, 170),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "bar", "cross")
SIZES = (("large", 26), ("small", 11))


def draw(colour: str, shape: str, radius: int = 20) -> Image.Image:
    """A shape on white, 64 pixels wide."""
    image = Image.new("RGB", (64, 64), "white")
    pen, fill, middle = ImageDraw.Draw(image), COLOURS[colour], 32
    box = (middle - radius, middle - radius, middle + radius, middle + radius)
    if shape == "circle":
        pen.ellipse(box, fill=fill)
    elif shape == "square":
        pen.rectangle(box, fill=fill)
    elif shape == "triangle":
        corners = [(middle, middle - radius), (middle - radius, middle + radius), (middle + radius, middle + radius)]
        pen.polygon(corners, fill=fill)
    elif shape == "bar":
        pen.rectangle((middle - radius, middle - 4, middle + radius, middle + 4), fill=fill)
    else:
        pen.rectangle((middle - radius, middle - 4, middle + radius, middle + 4), fill=fill)
        pen.rectangle((middle - 4, middle - radius, middle + 4, middle + radius), fill=fill)
    return image


def write_catalogue(folder: Path) -> Path:
    """60 items; the column `part` marks every third one alternately as val and test."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number, (colour, shape, (size, radius)) in enumerate(itertools.product(COLOURS, SHAPES, SIZES)):
        draw(colour, shape, radius).save(folder / f"{number}.png")
        part = {2: "val", 5: "test"}.get(number % 6, "train")
        description = f"{size.title()} enough for any wall. A {colour} {shape} on white paper. Printed by hand."
        rows.append(
            {
                "id": f"s{number}",
                "title": f"{size} {colour} {shape}",
                "description": description,
                "image_url": f"{number}.png",
                "part": part,
            }
        )
    for blank in (0, 7, 14):
        rows[blank]["description"] = None
    for blank in (1, 9):
        rows[blank]["image_url"] = None
    rows[3]["title"] = None
    rows[12]["title"] = rows[13]["title"].upper()  # the same to an identity
    rows[18]["image_url"] = rows[19]["image_url"]
    (folder / "24.png").write_bytes((folder / "24.png").read_bytes()[:60])
    target = folder / "shapes.csv"
    pl.DataFrame(rows).write_csv(target)
    return target


def draw_repeated_titles() -> list[dict[str, Any]]:
    """Rows for `catalogue_of`: 105 pictures of 15 things, seven of each; the column part splits them."""
    return [
        {
            "title": f"{colour} {shape}",
            "description": f"A {shape} that is {colour}.",
            "image_url": draw(colour, shape, radius),
            "part": {1: "test", 2: "val"}.get(number % 5, "train"),
        }
        for colour, shape in itertools.product(list(COLOURS)[:3], SHAPES)
        for number, radius in enumerate(range(8, 28, 3))
    ]


def catalogue_of(folder: Path, rows: list[dict[str, Any]], cache: Path | None = None) -> Catalog:
    """A catalogue of these rows; pictures that are given as images are saved first."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, row in enumerate(rows):
        row = {"id": str(number), **row}
        if isinstance(row.get("image_url"), Image.Image):
            row["image_url"].save(folder / f"picture-{number}.png")
            row["image_url"] = f"picture-{number}.png"
        written.append(row)
    pl.DataFrame(written, infer_schema_length=None).write_csv(folder / "items.csv")
    return Catalog.read(folder / "items.csv", cache=cache or folder / "cache")
