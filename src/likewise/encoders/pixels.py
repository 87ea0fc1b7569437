"""Pictures to square arrays of bytes, for encoders whose preprocessing is likewise's own."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def as_rgb(picture: Image.Image) -> Image.Image:
    """The picture in RGB; itself if it is so already (Pillow's `convert` would copy it)."""
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def squashed_pixels(pictures: Sequence[Image.Image], side: int) -> Tensor:
    """Pictures of any size and shape to (n, side, side, 3) uint8, without cropping anything away."""
    pixels = np.empty((len(pictures), side, side, 3), dtype=np.uint8)
    for row, picture in zip(pixels, pictures, strict=True):
        # reducing_gap shrinks huge pictures by whole factors first: much quicker, and no visible difference.
        square = as_rgb(picture).resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
        row[:] = np.asarray(square)
    return torch.from_numpy(pixels)
