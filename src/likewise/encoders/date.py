"""Dates: how long ago, and where in the year, the week and the day."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.encoders.base import Encoder, Modality
from likewise.encoders.number import QuantileDescription, count_features, fit_quantiles, quantile_features

_YEAR, _WEEK, _DAY = 365.2425, 7.0, 1.0  # in days
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DateEncoder(Encoder):
    """Dates to features of their trend, as of numbers, and sines and cosines of three cycles."""

    family = "date"
    saved = QuantileDescription
    fitted = True

    def __init__(self, quantiles: Sequence[float]) -> None:
        super().__init__(name=self.family, modality=self.family, width=count_features(quantiles) + 6)
        self.quantiles = np.array(quantiles, np.float64)
        self.eval()

    @classmethod
    def fit(cls, values: Sequence[datetime], seed: int) -> Self:
        return cls(fit_quantiles(_count_days(values)))

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        return cls(description["quantiles"])

    def description(self) -> dict[str, Any]:
        return {"quantiles": self.quantiles.tolist()}

    def prepare(self, values: Sequence[datetime], prompt: str | None = None) -> dict[str, Tensor]:
        """{"features": (n, width) float32}; a date without a time zone counts as UTC."""
        days = _count_days(values)
        angles = 2 * np.pi * np.stack([days / cycle for cycle in (_YEAR, _WEEK, _DAY)], axis=1)
        features = [quantile_features(days, self.quantiles), np.sin(angles), np.cos(angles)]
        return {"features": torch.from_numpy(np.concatenate(features, axis=1).astype(np.float32))}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return inputs["features"]

    def example(self, count: int) -> dict[str, Tensor]:
        return self.prepare([datetime(2020, 1 + number % 12, 1) for number in range(count)])


def _count_days(values: Sequence[datetime]) -> NDArray[np.float64]:
    """(n,) days since 1970."""
    aware = [value if value.tzinfo is not None else value.replace(tzinfo=UTC) for value in values]
    return np.array([(value - _EPOCH).total_seconds() / 86_400 for value in aware], np.float64)
