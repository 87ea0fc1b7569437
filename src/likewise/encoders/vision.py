"""Any Hugging Face vision model: a patch grid where it has one, else its own pooled embedding."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

from likewise.encoders.base import Description, Modality
from likewise.encoders.hub import guard_remote_code, load_network, model_folder, read_config
from likewise.encoders.hugging_face import HuggingFaceEncoder, Width
from likewise.encoders.pixels import as_rgb
from likewise.encoders.resolution import cannot_see, interpolate_positions, resize_processor
from likewise.encoders.text import architecture, without_pooler
from likewise.errors import UserError


class VisionDescription(Description):
    """What `_layout` finds out, and what the model's own files say."""

    grid: Annotated[list[Annotated[int, Field(ge=1, le=1_024)]], Field(min_length=2, max_length=2)] | None
    prefix: Annotated[int, Field(ge=0, le=1)]
    width: Width
    convolutional: bool
    options: dict[Literal["interpolate_pos_encoding"], bool] | None = None
    processor: dict[str, Any]
    architecture: dict[str, Any]


class VisionEncoder(HuggingFaceEncoder):
    """Pictures to (prefix + rows · columns, width): the last hidden states of a ViT, DINOv2, ConvNeXt, Swin, ResNet…

    A CLS token stands first; register tokens are dropped. Where the model's own pooled embedding is no plain function
    of these states (an attention pool, say), the features are that embedding, (width,).
    """

    family = "vision"
    saved = VisionDescription

    def __init__(self, name: str, network: Any, processor: Any, description: dict[str, Any]) -> None:
        grid = description["grid"]
        super().__init__(
            name,
            "image",
            network,
            processor,
            description,
            width=description["width"],
            grid=None if grid is None else (grid[0], grid[1]),
            prefix=description["prefix"],
            minimum_side=smallest_side(processor),
        )
        self._registers: int | None = None
        if description["convolutional"]:
            self.network.to(memory_format=torch.channels_last)
        self.eval()

    @classmethod
    def from_pretrained(cls, name: str) -> Self:
        """Load a folder or hub id.

        Raises:
            UserError: the model cannot be found or loaded, or brings pictures to no fixed size.
        """
        folder = model_folder(name)
        config = read_config(folder, name)
        processor = load_processor(folder, name)
        network = load_network(AutoModel, folder, name, config, **_pooler_options(config)).eval()
        description = _layout(name, network, processor, {})
        description["processor"] = processing(processor)
        description["architecture"] = architecture(config)
        return cls(name, network, processor, description)

    def with_resolution(self, side: int) -> Self:
        processor, options = resize_processor(self.preparation, side, self.name), interpolate_positions(self.network)
        try:
            layout = _layout(self.name, self.network, processor, options)
        except UserError:
            raise UserError(cannot_see(self.name, side)) from None
        layout |= {"options": options, "processor": processing(processor)}
        return type(self)(self.name, self.network, processor, self._description | layout)

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        config = read_config(folder, name)
        options = _pooler_options(config)
        network = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False, **options)
        return cls(name, network, load_processor(folder, name), description)

    def prepare(self, values: Sequence[Image.Image], prompt: str | None = None) -> dict[str, Tensor]:
        """{"pixel_values": (n, 3, height, width) float32}, as the model's own image processor makes them."""
        return process(self.preparation, values)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        if self.grid is None:
            return self._run(inputs).pooler_output.flatten(1).float()
        states = self._states(inputs)
        return self._without_registers(states, states.shape[1] - self.feature_shape[0])

    def forward_from(self, states: Tensor, cut: int) -> Tensor:
        if self.grid is None:
            return super().forward_from(states, cut)
        if self._registers is None:
            with torch.no_grad():
                self._registers = self._states(self.example_here(1)).shape[1] - self.feature_shape[0]
        return self._without_registers(self.run_above(states, cut, self._states), self._registers)

    def _run(self, inputs: dict[str, Tensor]) -> Any:
        pixels = inputs["pixel_values"]
        if self._description["convolutional"]:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return self.network(pixel_values=pixels, **self._description.get("options", {}))

    def _states(self, inputs: dict[str, Tensor]) -> Tensor:
        return _sequence(self._run(inputs).last_hidden_state).float()

    def _without_registers(self, states: Tensor, registers: int) -> Tensor:
        """Without the tokens between prefix and grid."""
        if not registers:
            return states
        return torch.cat([states[:, : self.prefix], states[:, self.prefix + registers :]], dim=1)

    def pool(self, features: Tensor) -> Tensor:
        """The CLS token, or the mean of the grid (through ConvNeXt's last norm), or the pooled embedding itself."""
        if self.grid is None:
            return features
        return _pool(self.network, features, self.prefix, self._description["convolutional"])

    def find_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        return find_processed_box(self.preparation, width, height)

    def train(self, mode: bool = True) -> Self:
        """As usual, but batch statistics stay as stored."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


def load_processor(folder: Path, name: str) -> Any:
    """The image processor that lies in a model's folder, on Pillow and NumPy.

    Raises:
        UserError: there is none: a text model, or an incomplete copy.
    """
    if not any((folder / file).is_file() for file in ("preprocessor_config.json", "processor_config.json")):
        raise UserError(f"the encoder {name} holds no preprocessor_config.json: it is not for pictures, or incomplete")
    return guard_remote_code(
        name,
        lambda: AutoImageProcessor.from_pretrained(
            folder, backend="pil", trust_remote_code=False, local_files_only=True
        ),
    )


def process(processor: Any, pictures: Sequence[Image.Image]) -> dict[str, Tensor]:
    """Pictures through an image processor."""
    return dict(processor(images=[as_rgb(picture) for picture in pictures], return_tensors="pt"))


def processing(processor: Any) -> dict[str, Any]:
    """What an image processor does, as JSON values, without who made it."""
    values = processor.to_dict()
    return {key: values[key] for key in sorted(values) if key not in ("image_processor_type", "processor_class")}


def smallest_side(processor: Any) -> int | None:
    """Pixels that the shorter side of a picture needs so that the processor never enlarges it."""
    size = getattr(processor, "size", None)
    sides = [value for value in dict(size).values() if isinstance(value, int)] if size else []
    return max(sides, default=None)


def find_processed_box(processor: Any, width: int, height: int) -> tuple[float, float, float, float]:
    """The part of a picture that an image processor keeps (left, top, right, bottom), in pixels.

    Found out by sending the picture's coordinates through it, between black and white, so it holds for any processor.
    """
    down = Image.linear_gradient("L")  # 0 at the top, 255 at the bottom
    samples = [Image.new("L", (width, height), 0), Image.new("L", (width, height), 255)]
    samples += [ramp.resize((width, height), Image.Resampling.BILINEAR) for ramp in (down.rotate(90), down)]
    black, white, horizontal, vertical = process(processor, samples)["pixel_values"][:, 0].double()
    columns = ((horizontal - black) / (white - black)).mean(dim=0)
    rows = ((vertical - black) / (white - black)).mean(dim=1)
    (left, right), (top, bottom) = (_find_ends(line) for line in (columns, rows))
    return left * width, top * height, right * width, bottom * height


def _find_ends(line: Tensor) -> tuple[float, float]:
    """Where a line of values that grow from 0 to 1 over the picture begins and ends, from its middle half."""
    count = len(line)
    first, last = count // 4, count - 1 - count // 4
    slope = float(line[last] - line[first]) / max(1, last - first)
    start = float(line[first]) - slope * (first + 0.5)
    return max(0.0, start), min(1.0, start + slope * count)


def _layout(name: str, network: Any, processor: Any, options: dict[str, bool]) -> dict[str, Any]:
    """Grid, prefix and width, found out by sending two pictures through the model, with options of its forward."""
    tall_and_wide = [Image.effect_noise(size, 60).convert("RGB") for size in ((90, 180), (180, 90))]
    try:
        pixels = process(processor, tall_and_wide)["pixel_values"]
    except (ValueError, KeyError):
        raise UserError(
            f"the image processor of {name} does not resize pictures to a fixed size; choose another encoder"
        ) from None
    with torch.no_grad():
        output, again = (guard_remote_code(name, lambda: network(pixel_values=pixels, **options)) for _ in range(2))
    if not torch.allclose(output.last_hidden_state, again.last_hidden_state, rtol=1e-3, atol=1e-4):
        raise UserError(f"the encoder {name} is not deterministic; choose another")
    states, pooled = _sequence(output.last_hidden_state), getattr(output, "pooler_output", None)
    convolutional = output.last_hidden_state.dim() == 4
    rows, columns, extra = _grid(output.last_hidden_state, pixels, getattr(network.config, "patch_size", None))
    prefix = int(extra > 0)
    kept = torch.cat([states[:, :prefix], states[:, extra:]], dim=1)
    layout = {"grid": [rows, columns], "prefix": prefix, "width": states.shape[-1], "convolutional": convolutional}
    if pooled is None:
        return layout
    ours, theirs = _pool(network, kept, prefix, convolutional), pooled.flatten(1)
    if ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4):
        return layout
    return layout | {"grid": None, "prefix": 0, "width": theirs.shape[-1]}


def _grid(states: Tensor, pixels: Tensor, patch: Any) -> tuple[int, int, int]:
    """(rows, columns, tokens before the grid)"""
    if states.dim() == 4:
        return states.shape[2], states.shape[3], 0
    tokens = states.shape[1]
    patch_height, patch_width = patch if isinstance(patch, tuple | list) else (patch, patch)
    if patch_height:
        rows, columns = pixels.shape[2] // patch_height, pixels.shape[3] // patch_width
        if rows * columns <= tokens:
            return rows, columns, tokens - rows * columns
    for extra in (0, 1):  # models that merge patches as they go: Swin has no other tokens, DINOv3's ConvNeXt has one
        side = math.isqrt(tokens - extra)
        if side * side == tokens - extra:
            return side, side, extra
    return 1, tokens, 0


def _sequence(states: Tensor) -> Tensor:
    """(batch, width, rows, columns) → (batch, rows · columns, width); sequences stay as they are."""
    return states.flatten(2).transpose(1, 2) if states.dim() == 4 else states


def _pool(network: Any, features: Tensor, prefix: int, convolutional: bool) -> Tensor:
    if prefix:
        return features[:, 0]
    mean = features.mean(dim=1)
    return network.layernorm(mean) if convolutional and hasattr(network, "layernorm") else mean


def _pooler_options(config: Any) -> dict[str, Any]:
    """ViT's pooler is in few checkpoints and hides the grid; BEiT's, a mean over the patches, belongs to the model."""
    return {} if getattr(config, "use_mean_pooling", False) else without_pooler(config)
