"""Zero-shot baselines: a CLIP or SigLIP model as it was published, with no training on the catalogue."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from likewise.config import OWN_FIELDS, ModelSettings
from likewise.encoders.registry import is_dual
from likewise.errors import UserError
from likewise.model.model import Model


def load_zero_shot(name: str, like: Model, cache: Path | None = None) -> Model:
    """A CLIP or SigLIP model with title, description and image of another model; an item is the mean of its fields.

    Args:
        name: a Hugging Face id or a folder.
        like: the model that it is compared with, on the same device.
        cache: a folder that remembers at which precision the encoders are fastest.

    Raises:
        UserError: there is no such model, it is not a dual encoder, or the other model has none of these fields.
    """
    if not is_dual(name):
        raise UserError(f"{name} is not a dual encoder: a zero-shot baseline is a CLIP or SigLIP model")
    fields = {field: kind for field, kind in OWN_FIELDS.items() if field in like.fields}
    if not fields:
        raise UserError(
            f"there is no zero-shot baseline for this model: {name} reads title, description and image, and the "
            f"model's fields are {', '.join(like.fields)}"
        )
    settings = ModelSettings(text_encoder=name, image_encoder=name, dim="auto", fields=fields)
    device: Any = like.device.type
    return Model.create(settings, device, cache=cache)


def name_zero_shot(name: str, taken: Collection[str]) -> str:
    """How tables call a model: its Hugging Face id, or its folder's name unless another system has that."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return name
    resolved = folder.resolve()
    return str(resolved) if resolved.name in taken else resolved.name
