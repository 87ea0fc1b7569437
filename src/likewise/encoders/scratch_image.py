"""A small Vision Transformer with random weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn

from likewise.encoders.base import STATES, Encoder, Modality
from likewise.encoders.pixels import square_pixels
from likewise.encoders.transformer import Transformer, random_positions

SIDE = 96
PATCH = 12
WIDTH = 192
DEPTH = 4
HEADS = 6


class ScratchImage(Encoder):
    """Pictures to (64, 192): the states of an 8×8 grid of patches (https://arxiv.org/abs/2010.11929, without CLS)."""

    family = "scratch-image"
    learning_rate = 1e-3  # random weights

    def __init__(self, name: str = "scratch-image") -> None:
        rows = SIDE // PATCH
        super().__init__(name=name, modality="image", width=WIDTH, grid=(rows, rows), minimum_side=SIDE)
        self.patches = nn.Linear(3 * PATCH * PATCH, WIDTH)
        self.positions = random_positions(rows * rows, WIDTH)
        self.transformer = Transformer(WIDTH, DEPTH, HEADS)
        self.eval()

    @classmethod
    def random(cls, seed: int) -> Self:
        """Random weights that `seed` alone decides."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls()

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        return cls(name)

    def description(self) -> dict[str, Any]:
        return {"side": SIDE, "patch": PATCH, "heads": HEADS, "resample": "bicubic"}

    def prepare(self, values: Sequence[Image.Image], prompt: str | None = None) -> dict[str, Tensor]:
        """Pictures of any size, squashed to a square: {"pixels": (n, 96, 96, 3) uint8}."""
        return {"pixels": square_pixels(values, SIDE)}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.transformer(self._patches(inputs)).float()

    @property
    def blocks(self) -> int:
        return DEPTH

    def lower(self, inputs: dict[str, Tensor], cut: int) -> dict[str, Tensor]:
        return {STATES: self.transformer.lower(self._patches(inputs), None, cut).float()}

    def upper(self, activations: dict[str, Tensor], cut: int) -> Tensor:
        return self.transformer.upper(activations[STATES], None, cut).float()

    def _patches(self, inputs: dict[str, Tensor]) -> Tensor:
        pixels = inputs["pixels"].float() / 127.5 - 1.0
        rows = SIDE // PATCH
        squares = pixels.reshape(-1, rows, PATCH, rows, PATCH, 3).transpose(2, 3).reshape(len(pixels), rows * rows, -1)
        return self.patches(squares) + self.positions
