"""Conversion of pictures of any mode and colour profile to 8-bit sRGB."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_LARGEST_PROFILE = 4_000_000  # bytes; the profiles of printing houses take up to two million
_PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded picture to RGB.

    Transparency is laid over white, 16-bit and floating-point values are scaled to 8 bits instead of clipped, and an
    embedded colour profile is converted to sRGB.

    Args:
        image: a loaded picture of any mode that Pillow reads.

    Returns:
        The picture in mode "RGB" with nothing in `info`; a new object.
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = _scale_to_8_bits(image)
    if image.has_transparency_data:
        image = _paste_on_white(image)
    if profile and image.mode in _PROFILE_SPACES:
        image = _to_srgb(image, bytes(profile))
    rgb = image.convert("RGB")
    rgb.info.clear()  # what held for the file (profile, transparency, EXIF) no longer holds for these pixels
    return rgb


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            grey[values == clear] = 255
    else:
        grey = _stretch(np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0))
    return Image.fromarray(grey)


def _stretch(values: np.ndarray) -> np.ndarray:
    """Guess what white is: 1.0, 255 or 65535, whichever holds all values; else the brightest value."""
    low, high = float(values.min()), float(values.max())
    values = values - min(low, 0.0)
    high -= min(low, 0.0)
    whites = (1.0, 255.0, 65535.0) if high > 1.0 or np.any(values % 1.0) else (255.0,)
    white = next((white for white in whites if high <= white), high)
    return np.rint(values * (255.0 / white)).astype(np.uint8)


def _paste_on_white(image: Image.Image) -> Image.Image:
    try:
        image = image.convert("RGBA")
    except ValueError:  # a transparency chunk that does not fit the mode
        image.info.pop("transparency", None)
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    if len(profile) > _LARGEST_PROFILE:
        return image
    transform = _build_transform(profile, image.mode)
    if transform is None:
        return image
    converted = ImageCms.applyTransform(image, transform)
    return image if converted is None else converted


@lru_cache(maxsize=32)
def _build_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the way from an embedded profile to sRGB; None where there is nothing to do, or the profile is damaged."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
            return None
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
