"""A small Transformer over log-mel spectrograms, with random weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from likewise.catalog.audio.decode import Sound
from likewise.encoders.base import Description, Encoder, Modality
from likewise.encoders.log_mel import LogMel, pad_sounds
from likewise.encoders.sounds import SOUND_BATCH, make_examples, resample_sounds
from likewise.encoders.transformer import Transformer, random_positions

RATE = 16_000
SECONDS = 8.0
WINDOW, STEP = 400, 160  # samples: 25 and 10 ms
BANDS = 64
FRAMES = 8  # of a patch
WIDTH = 192
DEPTH = 4
HEADS = 6
_DEVIATION = 4.0  # of what speech has in a band
_PATCHES = int(SECONDS * RATE / STEP / FRAMES)
_PATCH_SAMPLES = FRAMES * STEP


class ScratchAudioDescription(Description):
    """The constants of this version: a saved encoder that has others was made by another one."""

    rate: Annotated[int, Field(ge=RATE, le=RATE)]
    seconds: Annotated[float, Field(ge=SECONDS, le=SECONDS)]
    window: Annotated[int, Field(ge=WINDOW, le=WINDOW)]
    step: Annotated[int, Field(ge=STEP, le=STEP)]
    bands: Annotated[int, Field(ge=BANDS, le=BANDS)]
    frames: Annotated[int, Field(ge=FRAMES, le=FRAMES)]
    heads: Annotated[int, Field(ge=HEADS, le=HEADS)]


class ScratchAudio(Encoder):
    """Sounds to (192,): the mean state of a Transformer over patches of the spectrogram, 80 ms wide and all bands high.

    Source: https://arxiv.org/abs/2104.01778, with patches that span all bands. The level of the whole recording is
    taken out, so that a quiet speaker sounds like a loud one.
    """

    family = "scratch-audio"
    saved = ScratchAudioDescription
    learning_rate = 1e-3  # random weights
    prepared_batch = SOUND_BATCH

    def __init__(self, name: str = "scratch-audio") -> None:
        super().__init__(name=name, modality="audio", width=WIDTH)
        self.spectrogram = LogMel(RATE, WINDOW, STEP, BANDS)
        self.patches = nn.Linear(FRAMES * BANDS, WIDTH)
        self.positions = random_positions(_PATCHES, WIDTH)
        self.transformer = Transformer(WIDTH, DEPTH, HEADS)
        self.eval()

    @classmethod
    def build(cls, seed: int) -> Self:
        return cls.random(seed)

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
        return {
            "rate": RATE,
            "seconds": SECONDS,
            "window": WINDOW,
            "step": STEP,
            "bands": BANDS,
            "frames": FRAMES,
            "heads": HEADS,
        }

    def prepare(self, values: Sequence[Sound], prompt: str | None = None) -> dict[str, Tensor]:
        """{"samples": (n, whole patches of the longest) float32, zero-padded, "lengths": (n,) int64, in samples}."""
        return pad_sounds(resample_sounds(values, RATE, SECONDS), _PATCH_SAMPLES)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        samples, lengths = inputs["samples"], inputs["lengths"]
        count = samples.shape[1] // _PATCH_SAMPLES
        levels = self.spectrogram(samples)[:, : count * FRAMES]
        frames = torch.arange(levels.shape[1], device=levels.device) < (lengths[:, None] / STEP).ceil()
        weights = frames[:, :, None] / (frames.sum(dim=1)[:, None, None] * BANDS)
        mean = (levels * weights).sum(dim=(1, 2), keepdim=True)
        levels = (levels - mean) / _DEVIATION * frames[:, :, None]
        present = frames[:, ::FRAMES]
        states = self.patches(levels.reshape(len(levels), count, -1)) + self.positions[:count]
        states = self.transformer(states, present)
        shares = present[:, :, None].to(states.dtype)
        return ((states * shares).sum(dim=1) / shares.sum(dim=1)).float()

    def example(self, count: int) -> dict[str, Tensor]:
        return self.prepare(make_examples(count, RATE))
