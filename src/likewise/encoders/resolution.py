"""Hugging Face's image encoders at another resolution than they have learned at."""

import copy
import inspect
from typing import Any

from PIL import Image

from likewise.errors import UserError

_OPTION = "interpolate_pos_encoding"


def resize_processor(processor: Any, side: int, name: str) -> Any:
    """An image processor that makes squares of `side` pixels; what it crops off keeps its share.

    Raises:
        UserError: it cannot.
    """
    other = copy.deepcopy(processor)
    picture = Image.new("RGB", (64, 64))
    try:
        now = other(images=[picture], return_tensors="pt")["pixel_values"].shape[-1]
        for attribute in ("size", "crop_size"):
            sizes = getattr(other, attribute, None)
            if sizes is not None:
                scaled = {key: round(pixels * side / now) for key, pixels in dict(sizes).items() if pixels is not None}
                setattr(other, attribute, type(sizes)(**scaled))
        made = tuple(other(images=[picture], return_tensors="pt")["pixel_values"].shape[2:])
    except (ValueError, KeyError, TypeError, AttributeError):
        made = None
    if made != (side, side):
        raise UserError(cannot_see(name, side))
    return other


def cannot_see(name: str, side: int) -> str:
    """What is said where an encoder has but one resolution."""
    return f"the encoder {name} cannot process pictures of {side} pixels: choose another resolution, or omit it"


def interpolate_positions(network: Any) -> dict[str, bool]:
    """The option that lets a network place its learned positions on another grid; some do so unasked."""
    return {_OPTION: True} if _OPTION in inspect.signature(network.forward).parameters else {}
