"""The picture encoder of the peers: EfficientNet-Lite0 as its package gives it, and the usual augmentation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image, ImageOps
from torch import Tensor, nn

from likewise.catalog.images.decode import open_picture
from likewise.encoders.efficientnet import MOST_CROPPED, SIDE
from likewise.encoders.packaged import EFFICIENTNET_LITE0
from likewise.encoders.pixels import as_rgb, square_pixels

WIDTH = 1280
_SMALLEST_CROP = 0.5  # share of the area
_ASPECTS = (3 / 4, 4 / 3)


class PooledEfficientNet(nn.Module):
    """Pixels (n, 224, 224, 3) uint8 → the mean of the last feature map (n, 1280).

    Batch normalisation keeps its stored statistics, as is usual in fine-tuning on few pictures.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network.load_state_dict(torch.load(EFFICIENTNET_LITE0.locate(), weights_only=True))
        self.network._fc = nn.Identity()
        self.network.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = (pixels.permute(0, 3, 1, 2).float() - 127) / 128
        maps: Tensor = self.network.extract_features(scaled)
        return maps.mean(dim=(2, 3))

    def train(self, mode: bool = True) -> "PooledEfficientNet":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def pixels_of(paths: Sequence[Path | str], rng: np.random.Generator | None = None) -> Tensor:
    """Pictures as (n, 224, 224, 3) uint8: the whole of each, or with `rng` a random crop, mirrored half of the time."""
    opened = [as_rgb(open_picture(path, SIDE)) for path in paths]
    if rng is None:
        return square_pixels(opened, SIDE, MOST_CROPPED)
    return square_pixels([_augmented(picture, rng) for picture in opened], SIDE)


@torch.no_grad()  # not inference mode: a head learns from these features
def pooled_features(encoder: PooledEfficientNet, paths: Sequence[Path | str], batch: int = 32) -> Tensor:
    """(n, 1280) features of whole pictures, without gradients."""
    encoder.eval()
    parts = [encoder(pixels_of(paths[start : start + batch])) for start in range(0, len(paths), batch)]
    return torch.cat(parts) if parts else torch.empty(0, WIDTH)


def _augmented(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random resized crop (Szegedy et al., 2015), before its resizing."""
    area = picture.width * picture.height * rng.uniform(_SMALLEST_CROP, 1.0)
    aspect = np.exp(rng.uniform(*np.log(_ASPECTS)))
    width = min(picture.width, max(1, round(np.sqrt(area * aspect))))
    height = min(picture.height, max(1, round(np.sqrt(area / aspect))))
    left, top = rng.integers(picture.width - width + 1), rng.integers(picture.height - height + 1)
    crop = picture.crop((left, top, left + width, top + height))
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop
