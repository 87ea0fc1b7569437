"""Log-mel spectrograms: how loud a recording is, by time and pitch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

_FLOOR = 1e-6  # of the power: quieter is silence


class LogMel(nn.Module):
    """Samples to the logarithm of the power in triangular bands of the mel scale.

    The mel scale is 2595 · log10(1 + hertz / 700); neighbouring triangles overlap by half and have height 1. A frame is
    seen through a Hann window around its middle; what lies before and behind the recording counts as silence.

    Args:
        rate: samples per second.
        window: samples of a frame.
        step: samples between the middles of two frames.
        bands: of the mel scale, from `lowest` hertz to half the rate.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, rate: int, window: int, step: int, bands: int, lowest: float = 50.0) -> None:
        super().__init__()
        self.step = step
        self._size = 1 << (window - 1).bit_length()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.register_buffer("filters", build_filters(rate, self._size, bands, lowest), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """(batch, samples) float32 → (batch, 1 + samples // step, bands) float32."""
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(
                samples.float(),
                self._size,
                self.step,
                self.window.numel(),
                self.window,
                center=True,
                pad_mode="constant",
                return_complex=True,
            )
            power = spectrum.real.square() + spectrum.imag.square()  # (batch, frequencies, frames)
            return torch.log(power.transpose(1, 2) @ self.filters + _FLOOR)


def build_filters(rate: int, size: int, bands: int, lowest: float) -> Tensor:
    """Triangles of the mel scale: (size // 2 + 1 frequencies, bands) float32."""
    highest = rate / 2
    edges = _to_hertz(torch.linspace(_to_mel(lowest), _to_mel(highest), bands + 2, dtype=torch.float64))
    frequencies = torch.linspace(0, highest, size // 2 + 1, dtype=torch.float64)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return functional.relu(torch.minimum(rising, falling)).float()


def _to_mel(hertz: float) -> float:
    return 2595.0 * float(torch.log10(torch.tensor(1.0 + hertz / 700.0, dtype=torch.float64)))


def _to_hertz(mel: Tensor) -> Tensor:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def pad_sounds(sounds: Sequence[NDArray[np.float32]], multiple: int = 1) -> dict[str, Tensor]:
    """Sounds as one batch: {"samples": (n, samples) float32, zero-padded, "lengths": (n,) int64, in samples}.

    Args:
        multiple: of which the number of samples is one.
    """
    lengths = [len(sound) for sound in sounds]
    whole = -(-max(lengths, default=1) // multiple) * multiple
    samples = np.zeros((len(sounds), whole), np.float32)
    for row, sound in zip(samples, sounds, strict=True):
        row[: len(sound)] = sound
    return {"samples": torch.from_numpy(samples), "lengths": torch.tensor(lengths)}
