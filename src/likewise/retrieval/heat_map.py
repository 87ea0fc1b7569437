"""Heat maps: what each region of a hit's picture adds to the cosine of a query with the hit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from likewise.retrieval.occluding import OccludingModel

_WARM, _COLD = (214, 40, 40), (38, 84, 178)
_OPACITY = 0.65  # of the region that adds the most


@dataclass(frozen=True)
class HeatMap:
    """What the regions of a picture add to a cosine, as a grid over the whole picture.

    Attributes:
        values: (rows, columns) float32 in [-1, 1], from the top left; the largest size is 1. What the encoder does not
            see of the picture is 0.
        picture: that was measured.

    Example:
        >>> import likewise as lw
        >>> index = lw.Index.open("runs/products", lw.Model.load("runs/products"))
        >>> heat_map = index.explain_picture("sku-1001", "red circle")
        >>> heat_map.values.shape, float(abs(heat_map.values).max())
        ((8, 8), 1.0)
        >>> heat_map.draw().save("overlay.png")
    """

    values: np.ndarray
    picture: Image.Image = field(repr=False)

    @property
    def width(self) -> int:
        return self.picture.width

    @property
    def height(self) -> int:
        return self.picture.height

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the API."""
        rows, columns = self.values.shape
        values = [[round(float(value), 4) for value in row] for row in self.values]
        return {"rows": rows, "columns": columns, "values": values, "width": self.width, "height": self.height}

    def draw(self) -> Image.Image:
        """The picture in grey, with red over what adds to the score and blue over what takes from it."""
        size = self.picture.size
        strength = np.abs(self.values) * _OPACITY * 255
        mask = Image.fromarray(strength.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        warm = Image.fromarray(((self.values > 0) * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        colours = Image.composite(Image.new("RGB", size, _WARM), Image.new("RGB", size, _COLD), warm)
        return Image.composite(colours, self.picture.convert("L").convert("RGB"), mask)


def measure_heat_map(
    model: OccludingModel, picture: Image.Image, query: np.ndarray, others: Mapping[str, np.ndarray]
) -> HeatMap:
    """The heat map of a picture, as the only one of its item.

    Args:
        picture: in RGB.
        query: (dim,) of unit norm.
        others: the vectors of the item's other fields; none: the item is seen through its picture alone.

    Raises:
        UserError: the model's picture encoder keeps no patches.
    """
    losses = model.measure_patches(picture, query, others)
    left, top, right, bottom = model.find_picture_box(*picture.size)
    down = _overlaps(picture.height, top, bottom, losses.shape[0])
    across = _overlaps(picture.width, left, right, losses.shape[1])
    values = down @ losses @ across.T
    largest = float(np.abs(values).max())
    return HeatMap(np.asarray(values / largest if largest > 0 else values, np.float32), picture)


def _overlaps(length: int, start: float, end: float, patches: int) -> np.ndarray:
    """How cells over a whole side are made of the patches between `start` and `end`: (cells, patches) shares.

    Cells are as large as patches, or a little smaller or larger, so that a whole number of them fills the side.
    """
    patch = max(end - start, 1e-6) / patches
    cells = max(1, round(length / patch))
    edges = np.linspace(0.0, length, cells + 1)
    first, last = start + patch * np.arange(patches), start + patch * np.arange(1, patches + 1)
    common = np.minimum(edges[1:, None], last) - np.maximum(edges[:-1, None], first)
    shares: np.ndarray = np.clip(common, 0.0, None) / (length / cells)
    return shares
