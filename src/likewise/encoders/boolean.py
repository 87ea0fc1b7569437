"""Yes or no."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from likewise.encoders.base import Description, Encoder, Modality


class BooleanDescription(Description):
    """Nothing is fitted."""


class BooleanEncoder(Encoder):
    """Truth values to (2,), one-hot."""

    family = "boolean"
    saved = BooleanDescription
    fitted = True

    def __init__(self) -> None:
        super().__init__(name=self.family, modality=self.family, width=2)
        self.eval()

    @classmethod
    def fit(cls, values: Sequence[bool], seed: int) -> Self:
        return cls()

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        return cls()

    def description(self) -> dict[str, Any]:
        return {}

    def prepare(self, values: Sequence[bool], prompt: str | None = None) -> dict[str, Tensor]:
        """{"features": (n, 2) float32}."""
        return {"features": functional.one_hot(torch.tensor([int(value) for value in values]), 2).float()}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return inputs["features"]

    def example(self, count: int) -> dict[str, Tensor]:
        return self.prepare([number % 2 == 0 for number in range(count)])
