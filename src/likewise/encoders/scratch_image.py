"""A small Vision Transformer with random weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from likewise.encoders.base import Encoder, Modality
from likewise.encoders.pixels import SquareDescription, count_patches, square_pixels
from likewise.encoders.transformer import Transformer, random_positions

SIDE = 96
PATCH = 12
WIDTH = 192
DEPTH = 4
HEADS = 6


class ScratchImage(Encoder):
    """Pictures to (64, 192): the states of an 8×8 grid of patches (https://arxiv.org/abs/2010.11929, without CLS)."""

    family = "scratch-image"
    saved = SquareDescription
    learning_rate = 1e-3  # random weights

    def __init__(self, name: str = "scratch-image", side: int = SIDE) -> None:
        rows = count_patches(name, side, PATCH)
        super().__init__(name=name, modality="image", width=WIDTH, grid=(rows, rows), minimum_side=side)
        self._side = side
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
        return cls(name, description["side"])

    def with_resolution(self, side: int) -> Self:
        with torch.random.fork_rng(devices=[]):
            other = type(self)(self.name, side)
        rows = self._side // PATCH
        grid = self.positions.detach().T.reshape(1, WIDTH, rows, rows)
        between = functional.interpolate(grid, size=other.grid, mode="bicubic").flatten(2)[0].T
        other.load_state_dict(self.state_dict() | {"positions": between})
        return other

    def description(self) -> dict[str, Any]:
        return {"side": self._side, "patch": PATCH, "heads": HEADS, "resample": "bicubic"}

    def prepare(self, values: Sequence[Image.Image], prompt: str | None = None) -> dict[str, Tensor]:
        """Pictures of any size, squashed to a square: {"pixels": (n, side, side, 3) uint8}."""
        return {"pixels": square_pixels(values, self._side)}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.transformer(self._patches(inputs)).float()

    @property
    def blocks(self) -> int:
        return DEPTH

    def forward_to(self, inputs: dict[str, Tensor], cut: int) -> Tensor:
        return self.transformer.forward_to(self._patches(inputs), cut).float()

    def forward_from(self, states: Tensor, cut: int) -> Tensor:
        return self.transformer.forward_from(states, cut).float()

    def _patches(self, inputs: dict[str, Tensor]) -> Tensor:
        pixels = inputs["pixels"].float() / 127.5 - 1.0
        rows = self._side // PATCH
        squares = pixels.reshape(-1, rows, PATCH, rows, PATCH, 3).transpose(2, 3).reshape(len(pixels), rows * rows, -1)
        return self.patches(squares) + self.positions
