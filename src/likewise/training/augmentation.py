"""Image augmentation that keeps showing the product: random crop, light and rotation, never another colour."""

import math

import numpy as np
from PIL import Image, ImageEnhance

_SMALLEST = 0.5  # share of the area that a section shows
_WIDEST = 4 / 3
_LIGHT = 0.2  # brightness, contrast and saturation change by at most so much
_DEGREES, _TURNED = 10.0, 0.3  # at most, and how often


def augment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random crop of an RGB picture, perhaps rotated a little, in another light.

    Hue stays as it is and nothing is greyed, since people search for colours; small crops are avoided, since they
    show the shelf and not the product.
    """
    if rng.random() < _TURNED:
        angle = float(rng.uniform(-_DEGREES, _DEGREES))
        image = _rotate(image, angle)
    image = image.crop(_section(image.width, image.height, rng))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float(rng.uniform(1 - _LIGHT, 1 + _LIGHT)))
    return image


def _section(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a random rectangle."""
    area = rng.uniform(_SMALLEST, 1.0)
    aspect = math.exp(rng.uniform(-math.log(_WIDEST), math.log(_WIDEST)))
    across = min(width, max(1, round(width * math.sqrt(area * aspect))))
    down = min(height, max(1, round(height * math.sqrt(area / aspect))))
    left, top = int(rng.integers(0, width - across + 1)), int(rng.integers(0, height - down + 1))
    return left, top, left + across, top + down


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Rotate about the centre, without the empty corners."""
    turned = image.rotate(degrees, resample=Image.Resampling.BILINEAR)
    radians = math.radians(abs(degrees))
    # the largest centred rectangle of the same shape that lies within the turned picture
    longer, shorter = max(image.size), min(image.size)
    share = 1 / (math.cos(radians) + longer / shorter * math.sin(radians))
    across, down = max(1, round(image.width * share)), max(1, round(image.height * share))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    return turned.crop((left, top, left + across, top + down))
