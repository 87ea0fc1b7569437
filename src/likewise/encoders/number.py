"""Numbers: where a value lies among those that training rows have."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from likewise.encoders.base import Description, Encoder, Modality

Doubles = NDArray[np.float64]

_BINS = 16
_FREQUENCIES = 4
_LARGEST = 1e30  # beyond it, differences of single precision overflow


class QuantileDescription(Description):
    """What is fitted: the quantiles between the bins, in ascending order."""

    quantiles: Annotated[
        list[Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]], Field(min_length=2, max_length=_BINS + 1)
    ]

    @field_validator("quantiles")
    @classmethod
    def _ascends(cls, quantiles: list[float]) -> list[float]:
        if any(low >= high for low, high in pairwise(quantiles)):
            raise ValueError("the quantiles are not in ascending order")
        return quantiles


class NumberEncoder(Encoder):
    """Numbers to piecewise-linear and periodic features of their quantile (Gorishniy et al., 2022).

    An item without a number lacks the field, so there is no value that stands for "missing".
    """

    family = "number"
    saved = QuantileDescription
    fitted = True

    def __init__(self, quantiles: Sequence[float]) -> None:
        super().__init__(name=self.family, modality=self.family, width=count_features(quantiles))
        self.quantiles = np.array(quantiles, np.float64)
        self.eval()

    @classmethod
    def fit(cls, values: Sequence[float], seed: int) -> Self:
        return cls(fit_quantiles(np.array(values, np.float64)))

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        return cls(description["quantiles"])

    def description(self) -> dict[str, Any]:
        return {"quantiles": self.quantiles.tolist()}

    def prepare(self, values: Sequence[float], prompt: str | None = None) -> dict[str, Tensor]:
        """{"features": (n, width) float32}."""
        features = quantile_features(np.array(values, np.float64), self.quantiles)
        return {"features": torch.from_numpy(features.astype(np.float32))}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return inputs["features"]

    def example(self, count: int) -> dict[str, Tensor]:
        return self.prepare([float(self.quantiles[number % len(self.quantiles)]) for number in range(count)])


def fit_quantiles(values: Doubles) -> list[float]:
    """At most 17 distinct quantiles of some numbers (n,), the least and the greatest among them."""
    bounded = np.clip(values[np.isfinite(values)], -_LARGEST, _LARGEST)
    found = np.unique(np.quantile(bounded, np.linspace(0, 1, _BINS + 1))) if len(bounded) else np.zeros(1)
    if len(found) < 2:
        margin = max(1.0, abs(float(found[0]))) / 2
        found = np.clip([found[0] - margin, found[0] + margin], -_LARGEST, _LARGEST)
    return [float(edge) for edge in found]


def count_features(quantiles: Sequence[float]) -> int:
    """The width of `quantile_features`."""
    return len(quantiles) - 1 + 2 * _FREQUENCIES + 1


def quantile_features(values: Doubles, quantiles: Doubles) -> Doubles:
    """Features (n, width) of numbers (n,), all of them between −3 and 3.

    The share of each bin that lies below the value (piecewise-linear encoding); sines and cosines of the quantile that
    this makes; and its distance from the median in interquartile ranges, by its logarithm, which goes on beyond the
    least and the greatest.
    """
    bounded = np.clip(np.nan_to_num(values, posinf=_LARGEST, neginf=-_LARGEST), -_LARGEST, _LARGEST)
    with np.errstate(over="ignore"):  # far beyond a narrow bin
        bins = np.clip((bounded[:, None] - quantiles[:-1]) / np.diff(quantiles), 0.0, 1.0)
    angles = np.pi * bins.mean(axis=1, keepdims=True) * 2.0 ** np.arange(_FREQUENCIES)
    low, median, high = np.quantile(quantiles, [0.25, 0.5, 0.75])
    distance = np.clip(np.arcsinh((bounded - median) / max(high - low, 1e-30)) / 3, -3.0, 3.0)
    return np.concatenate([bins, np.sin(angles), np.cos(angles), distance[:, None]], axis=1)
