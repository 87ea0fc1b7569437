"""Bag of audio words: how much of a recording resembles short windows of the recordings that train."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from likewise.catalog.audio.decode import Sound
from likewise.encoders.base import Description, Encoder, Modality
from likewise.encoders.log_mel import LogMel, pad_sounds
from likewise.encoders.sounds import SOUND_BATCH, make_examples, resample_sounds

RATE = 16_000
SECONDS = 8.0
WINDOW, STEP = 400, 160  # samples: 25 and 10 ms
BANDS = 64
CEPSTRA = 13
FRAMES = 30  # of a window: 300 ms, about a syllable and a half
HOP = 2  # frames between windows
SLOPES = 6  # cosines over the frames of a window
WORDS = (1_000, 500)  # of windows with the recording's own mean and deviation taken out, and of windows as they are
_WIDTH = CEPSTRA * SLOPES
_MOST_WORDS = 4_096
_FITTED_RECORDINGS = 1_000
_FITTED_WINDOWS = 64  # of a recording
_LEAST_DEVIATION = 1e-3
_QUIET = 0.25  # of the way from the quiet to the loudest frames: what is quieter at either end is silence


class AudioWordsDescription(Description):
    """The constants of this version, and how many words of each kind there are."""

    rate: Annotated[int, Field(ge=RATE, le=RATE)]
    seconds: Annotated[float, Field(ge=SECONDS, le=SECONDS)]
    cepstra: Annotated[int, Field(ge=CEPSTRA, le=CEPSTRA)]
    frames: Annotated[int, Field(ge=FRAMES, le=FRAMES)]
    slopes: Annotated[int, Field(ge=SLOPES, le=SLOPES)]
    levelled: Annotated[int, Field(ge=1, le=_MOST_WORDS)]
    plain: Annotated[int, Field(ge=1, le=_MOST_WORDS)]


class Windows(NamedTuple):
    """The windows of a recording as cosine coefficients of their cepstra, each (windows, 78) float32.

    Attributes:
        levelled: cepstra without their mean and deviation over the recording, which a voice and a microphone decide.
        plain: cepstra as they are, but for the level: steady sounds, such as of an instrument, differ in nothing else.
    """

    levelled: Tensor
    plain: Tensor


class AudioWords(Encoder):
    """Sounds to (1500,): the largest cosine between any window of the recording and each word, wherever it occurs.

    A window is 300 ms of 13 mel-frequency cepstra (Davis and Mermelstein, 1980), each along 6 cosines in time; the
    words are windows of recordings that train, drawn at random, which serve as well as learned ones (Coates and Ng,
    2011, on pictures). Their maximum over a recording says whether something like it is heard at all.
    """

    family = "audio-words"
    saved = AudioWordsDescription
    fitted = True
    most_fitted = _FITTED_RECORDINGS
    prepared_batch: ClassVar[int] = SOUND_BATCH

    cepstral: Tensor
    temporal: Tensor
    levelled: Tensor
    plain: Tensor

    def __init__(self, levelled: int = WORDS[0], plain: int = WORDS[1]) -> None:
        super().__init__(name=self.family, modality="audio", width=levelled + plain)
        self.spectrogram = LogMel(RATE, WINDOW, STEP, BANDS)
        self.register_buffer("cepstral", _build_cosines(BANDS, CEPSTRA), persistent=False)
        self.register_buffer("temporal", _build_cosines(FRAMES, SLOPES), persistent=False)
        for name, words in (("levelled", levelled), ("plain", plain)):
            self.register_buffer(name, torch.zeros(words, _WIDTH))
            self.register_buffer(f"{name}_centre", torch.zeros(_WIDTH))
            self.register_buffer(f"{name}_scale", torch.ones(_WIDTH))
        self.eval()

    @classmethod
    def condense(cls, value: Sound) -> Windows:
        """Windows of a recording, no more than 64, evenly spread."""
        with torch.inference_mode():
            reader = _build_reader()
            (windows,) = reader.find_windows(reader.prepare([value]))
            places = torch.linspace(0, len(windows.plain) - 1, min(_FITTED_WINDOWS, len(windows.plain))).long()
            return Windows(windows.levelled[places].clone(), windows.plain[places].clone())

    @classmethod
    def fit(cls, values: Sequence[Windows], seed: int) -> Self:
        rng = np.random.default_rng(seed)
        kinds = [torch.cat([windows[kind] for windows in values]) for kind in range(len(WORDS))]
        encoder = cls(*(min(most, len(windows)) for most, windows in zip(WORDS, kinds, strict=True)))
        for name, windows in zip(Windows._fields, kinds, strict=True):
            words: Tensor = getattr(encoder, name)
            chosen = np.sort(rng.choice(len(windows), len(words), replace=False))
            deviation = windows.std(dim=0, correction=0).clamp(min=_LEAST_DEVIATION)
            getattr(encoder, f"{name}_centre").copy_(windows.mean(dim=0))
            getattr(encoder, f"{name}_scale").copy_(deviation)
            words.copy_(encoder._normalise(name, windows[torch.from_numpy(chosen)]))
        return encoder

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        return cls(description["levelled"], description["plain"])

    def description(self) -> dict[str, Any]:
        return {
            "rate": RATE,
            "seconds": SECONDS,
            "cepstra": CEPSTRA,
            "frames": FRAMES,
            "slopes": SLOPES,
            "levelled": len(self.levelled),
            "plain": len(self.plain),
        }

    def prepare(self, values: Sequence[Sound], prompt: str | None = None) -> dict[str, Tensor]:
        """{"samples": (n, samples of the longest) float32, zero-padded, "lengths": (n,) int64, in samples}."""
        return pad_sounds(resample_sounds(values, RATE, SECONDS))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return torch.stack(
            [
                torch.cat(
                    [
                        (self._normalise(name, found) @ getattr(self, name).T).amax(dim=0)
                        for name, found in zip(Windows._fields, windows, strict=True)
                    ]
                )
                for windows in self.find_windows(inputs)
            ]
        )

    def find_windows(self, inputs: dict[str, Tensor]) -> list[Windows]:
        """The windows of prepared recordings, from where each begins to be loud to where it ends to."""
        frames = (inputs["lengths"] // STEP + 1).tolist()
        levels = self.spectrogram(inputs["samples"])
        return [self._cut(_trim_silence(each[:count])) for each, count in zip(levels, frames, strict=True)]

    def example(self, count: int) -> dict[str, Tensor]:
        return self.prepare(make_examples(count, RATE))

    def _cut(self, levels: Tensor) -> Windows:
        """(frames, bands) → windows; a recording that is shorter than one is padded with its mean."""
        cepstra = levels @ self.cepstral
        mean, deviation = cepstra.mean(dim=0), cepstra.std(dim=0, correction=0)
        centred = cepstra - mean
        missing = max(0, FRAMES - len(cepstra))
        if missing:
            centred = functional.pad(centred, (0, 0, missing // 2, missing - missing // 2))
        timbre = torch.where(torch.arange(CEPSTRA, device=mean.device) == 0, torch.zeros_like(mean), mean)
        levelled, plain = (
            (each.unfold(0, FRAMES, HOP) @ self.temporal).flatten(1)  # (windows, cepstra · slopes)
            for each in (centred / (deviation + _LEAST_DEVIATION), centred + timbre)
        )
        return Windows(levelled, plain)

    def _normalise(self, name: str, windows: Tensor) -> Tensor:
        """(n, 78) of unit norm."""
        scaled = (windows - getattr(self, f"{name}_centre")) / getattr(self, f"{name}_scale")
        return functional.normalize(scaled, dim=-1)


@cache
def _build_reader() -> AudioWords:
    """An encoder that only finds windows."""
    return AudioWords(1, 1)


def _trim_silence(levels: Tensor) -> Tensor:
    """(frames, bands) without the quiet frames at both ends."""
    loudness = levels.mean(dim=1)
    quiet = torch.quantile(loudness, 0.1)
    loud = (loudness > quiet + _QUIET * (loudness.max() - quiet)).nonzero()
    return levels[int(loud[0]) : int(loud[-1]) + 1] if len(loud) else levels


def _build_cosines(size: int, count: int) -> Tensor:
    """The first basis vectors of the orthonormal DCT-II: (size, count) float32."""
    angles = math.pi / size * (torch.arange(size, dtype=torch.float64)[:, None] + 0.5)
    basis = torch.cos(angles * torch.arange(count)) * math.sqrt(2 / size)
    basis[:, 0] /= math.sqrt(2)
    return basis.float()
