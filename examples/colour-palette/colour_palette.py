"""A modality for likewise: columns of colours, such as "#ff8800 #0033aa"."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from likewise.catalog.catalog import Catalog
from likewise.encoders.base import Description, Encoder
from likewise.encoders.modalities import ModalityReader, Values

HEX = re.compile(r"#([0-9a-fA-F]{6})(?![0-9a-fA-F])")
MOST_COLOURS = 16
NAMES = {
    "black": "000000", "white": "ffffff", "grey": "808080", "red": "e01010", "orange": "ff8800", "yellow": "ffe000",
    "green": "109010", "turquoise": "20c0b0", "blue": "1030d0", "purple": "8020a0", "pink": "ff80b0", "brown": "704020",
}  # fmt: skip


def read_palettes(catalog: Catalog, column: str) -> Values:
    """One tuple of colours for each item that has any; a cell without a colour counts as blank."""
    found = [tuple(HEX.findall(str(cell).lower()))[:MOST_COLOURS] for cell in catalog.column(column)]
    return [(colours,) if colours else () for colours in found]


READER = ModalityReader(read=read_palettes, encoder="colour-palette")


class Nothing(Description):
    """The encoder has no settings to save."""


class ColourPalette(Encoder):
    """Colours to (12,): how near they are to each of twelve named ones, on average."""

    family = "colour-palette"
    saved = Nothing
    reads_words = True  # the text encoder reads the names of the colours, so "blue" finds them before any training

    def __init__(self) -> None:
        super().__init__(name=self.family, modality="palette", width=len(NAMES))
        self.eval()

    @classmethod
    def build(cls, seed: int) -> Self:
        return cls()

    @classmethod
    def restore(cls, folder: Path, name: str, modality: str, description: dict[str, Any]) -> Self:
        return cls()

    def description(self) -> dict[str, Any]:
        return {}

    def prepare(self, values: Sequence[tuple[str, ...]], prompt: str | None = None) -> dict[str, Tensor]:
        return {"nearness": torch.stack([torch.from_numpy(nearness(value).mean(axis=0)) for value in values]).float()}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return inputs["nearness"]

    def words(self, value: tuple[str, ...]) -> tuple[str, ...]:
        names = list(NAMES)
        return tuple(dict.fromkeys(names[nearest] for nearest in nearness(value).argmax(axis=1)))

    def example(self, count: int) -> dict[str, Tensor]:
        return self.prepare([(colour,) for colour in list(NAMES.values())[:count]])


def nearness(colours: Sequence[str]) -> np.ndarray:
    """(colours, 12) between 0 and 1."""
    given, named = (
        np.array([list(bytes.fromhex(colour)) for colour in each]) / 255 for each in (colours, NAMES.values())
    )
    return np.exp(-(((given[:, None] - named) / 0.3) ** 2).sum(axis=-1))
