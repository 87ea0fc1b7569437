"""Pictures to square arrays of bytes, for encoders whose preprocessing is likewise's own."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import ConfigDict, Field
from torch import Tensor

from likewise.config import MOST_PIXELS
from likewise.encoders.base import Description
from likewise.errors import UserError


class SquareDescription(Description):
    """Of an encoder that sees squares; the rest of its description are constants."""

    model_config = ConfigDict(strict=True, extra="allow")

    side: Annotated[int, Field(ge=1, le=MOST_PIXELS)]


def as_rgb(picture: Image.Image) -> Image.Image:
    """The picture in RGB; itself if it is so already (Pillow's `convert` would copy it)."""
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def count_patches(name: str, side: int, patch: int) -> int:
    """How many patches stand side by side in a picture of `side` pixels.

    Raises:
        UserError: they do not fill it.
    """
    if side < patch or side % patch:
        raise UserError(f"the encoder {name} takes pictures whose side is a multiple of {patch} pixels, not {side}")
    return side // patch


def square_pixels(pictures: Sequence[Image.Image], side: int, most_cropped: float = 0.0) -> Tensor:
    """Pictures of any size and shape to (n, side, side, 3) uint8.

    Args:
        most_cropped: share of the longer side that may be cut off, half at either end; the rest is squashed.
    """
    pixels = np.empty((len(pictures), side, side, 3), dtype=np.uint8)
    for row, picture in zip(pixels, pictures, strict=True):
        # reducing_gap shrinks huge pictures by whole factors first: much quicker, and no visible difference.
        box = find_centre(picture.width, picture.height, most_cropped)
        square = as_rgb(picture).resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
        row[:] = np.asarray(square)
    return torch.from_numpy(pixels)


def find_centre(width: int, height: int, most_cropped: float) -> tuple[float, float, float, float]:
    """The middle of a picture (left, top, right, bottom), as near to a square as cropping may come."""
    kept_width = max(min(width, height), width * (1 - most_cropped)) if width > height else width
    kept_height = max(min(width, height), height * (1 - most_cropped)) if height > width else height
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    return left, top, left + kept_width, top + kept_height
