"""The halves of CLIP and SigLIP models: each gives its projected embedding, in the space that both share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor
from transformers import (
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    Siglip2TextModel,
    Siglip2VisionModel,
    SiglipTextModel,
    SiglipVisionModel,
)

from likewise.encoders.base import Description, Modality
from likewise.encoders.hub import load_network, model_folder, read_config
from likewise.encoders.hugging_face import HuggingFaceEncoder, Width
from likewise.encoders.resolution import cannot_see, interpolate_positions, resize_processor
from likewise.encoders.text import architecture, load_tokenizer
from likewise.encoders.tokenizing import BatchTokenizer
from likewise.encoders.vision import load_processor, process, processing, smallest_side
from likewise.errors import UserError

# transformers' model type → its text half and its picture half
DUAL_MODELS: dict[str, tuple[Any, Any]] = {
    "clip": (CLIPTextModelWithProjection, CLIPVisionModelWithProjection),
    "siglip": (SiglipTextModel, SiglipVisionModel),
    "siglip2": (Siglip2TextModel, Siglip2VisionModel),
}

_MASK = "pixel_attention_mask"


class DualTextDescription(Description):
    """One half of a dual model, which reads texts."""

    kind: Literal["clip", "siglip", "siglip2"]
    width: Width
    max_length: Annotated[int, Field(ge=1, le=32_768)]
    padded: bool
    tokenizer: str
    architecture: dict[str, Any]


class DualImageDescription(Description):
    """The other half, which sees pictures."""

    kind: Literal["clip", "siglip", "siglip2"]
    width: Width
    options: dict[Literal["interpolate_pos_encoding"], bool] | None = None
    processor: dict[str, Any]
    architecture: dict[str, Any]


class DualTextEncoder(HuggingFaceEncoder):
    """Texts to (width,): what the model's `get_text_features` gives, not yet of unit length."""

    family = "dual-text"
    saved = DualTextDescription

    def __init__(self, name: str, network: Any, tokenizer: BatchTokenizer, description: dict[str, Any]) -> None:
        super().__init__(name, "text", network, tokenizer.tokenizer, description, width=description["width"], dual=True)
        self.tokenizer = tokenizer
        self.eval()

    @classmethod
    def from_pretrained(cls, name: str) -> Self:
        """Load the text half of a folder or hub id.

        Raises:
            UserError: the model cannot be found or loaded.
        """
        folder = model_folder(name)
        whole = read_config(folder, name)
        config = half_config(whole, "text")
        network = load_network(DUAL_MODELS[whole.model_type][0], folder, name, config)
        # SigLIP reads the last position, so it needs every text at the length it was trained on.
        padded = whole.model_type != "clip"
        tokenizer = BatchTokenizer(load_tokenizer(folder, name), config.max_position_embeddings, padded)
        description = {
            "kind": whole.model_type,
            "width": config.projection_dim if whole.model_type == "clip" else config.projection_size,
            "max_length": config.max_position_embeddings,
            "padded": padded,
            "tokenizer": tokenizer.digest(),
            "architecture": architecture(config),
        }
        return cls(name, network, tokenizer, description)

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        model_class = DUAL_MODELS[description["kind"]][0]
        network = model_class(read_config(folder, name, model_class.config_class))
        tokenizer = load_tokenizer(folder, name)
        return cls(
            name, network, BatchTokenizer(tokenizer, description["max_length"], description["padded"]), description
        )

    def prepare(self, values: Sequence[str], prompt: str | None = None) -> dict[str, Tensor]:
        inputs = self.tokenizer(values)
        return {key: value for key, value in inputs.items() if key in self.tokenizer.names}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return _embedding(self.network(**inputs), "text_embeds")

    def count_truncated(self, texts: Sequence[str]) -> int:
        return self.tokenizer.count_truncated(texts)

    def knows_word(self, word: str) -> bool:
        return self.tokenizer.knows_word(word)

    def unknown_share(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.tokenizer.unknown_shares(texts)


class DualImageEncoder(HuggingFaceEncoder):
    """Pictures to (width,): what the model's `get_image_features` gives, not yet of unit length."""

    family = "dual-image"
    saved = DualImageDescription

    def __init__(self, name: str, network: Any, processor: Any, description: dict[str, Any]) -> None:
        width, side = description["width"], smallest_side(processor)
        super().__init__(name, "image", network, processor, description, width=width, minimum_side=side, dual=True)
        self.eval()

    @classmethod
    def from_pretrained(cls, name: str) -> Self:
        """Load the picture half of a folder or hub id.

        Raises:
            UserError: the model cannot be found or loaded.
        """
        folder = model_folder(name)
        whole = read_config(folder, name)
        config = half_config(whole, "vision")
        network = load_network(DUAL_MODELS[whole.model_type][1], folder, name, config)
        processor = load_processor(folder, name)
        description = {
            "kind": whole.model_type,
            "width": config.projection_dim if whole.model_type == "clip" else config.hidden_size,
            "processor": processing(processor),
            "architecture": architecture(config),
        }
        return cls(name, network, processor, description)

    def with_resolution(self, side: int) -> Self:
        processor = resize_processor(self.preparation, side, self.name)
        changed = {"options": interpolate_positions(self.network), "processor": processing(processor)}
        other = type(self)(self.name, self.network, processor, self._description | changed)
        try:
            with torch.inference_mode():
                other(other.example(1))
        except (ValueError, RuntimeError):
            raise UserError(cannot_see(self.name, side)) from None
        return other

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        model_class = DUAL_MODELS[description["kind"]][1]
        network = model_class(read_config(folder, name, model_class.config_class))
        return cls(name, network, load_processor(folder, name), description)

    def prepare(self, values: Sequence[Image.Image], prompt: str | None = None) -> dict[str, Tensor]:
        """The tensors of the model's own image processor."""
        return process(self.preparation, values)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return _embedding(self.network(**inputs, **self._description.get("options", {})), "image_embeds")

    def forward_to(self, inputs: dict[str, Tensor], cut: int) -> Tensor:
        states = super().forward_to(inputs, cut)
        # pictures of many shapes: what is no patch becomes 0, and `stand_in` knows it by that
        return states * inputs[_MASK].unsqueeze(-1) if _MASK in inputs else states

    def stand_in(self, states: Tensor) -> dict[str, Tensor]:
        picture = super().stand_in(states)
        if _MASK not in picture:
            return picture
        count = len(states)
        return {
            "pixel_values": picture["pixel_values"].expand(count, -1, -1),
            "spatial_shapes": torch.ones_like(picture["spatial_shapes"]).expand(count, -1),
            _MASK: (states != 0).any(dim=-1).to(picture[_MASK].dtype),
        }


def half_config(whole: Any, half: str) -> Any:
    """The configuration of one half; CLIP's own width of the shared space stands in the configuration of the whole."""
    config = getattr(whole, f"{half}_config")
    if whole.model_type == "clip":
        config.projection_dim = whole.projection_dim
    return config


def _embedding(output: Any, projected: str) -> Tensor:
    embedding: Tensor = output.get(projected, output.get("pooler_output"))
    return embedding.float()
