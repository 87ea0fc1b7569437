"""Decoded recordings at the rate and length that an encoder reads."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.audio.decode import Sound

LONGEST_SECONDS = 15.0  # that any encoder reads: recordings are decoded no further
SOUND_BATCH = 32  # recordings that are held in memory at once


def resample_sounds(sounds: Sequence[Sound], rate: int, seconds: float) -> list[NDArray[np.float32]]:
    """The first seconds of each sound, at another rate: (at least 1 sample,) float32."""
    most = int(rate * seconds)
    found = []
    for sound in sounds:
        beginning = Sound(sound.samples[: int(sound.rate * seconds) + 1], sound.rate)
        samples = beginning.resample(rate)[:most]
        found.append(samples if len(samples) else np.zeros(1, np.float32))
    return found


def make_examples(count: int, rate: int) -> list[Sound]:
    """Tones of rising pitch, to try an encoder on."""
    times = np.arange(rate, dtype=np.float32) / rate
    return [Sound(np.sin(2 * np.pi * (220 + 55 * number) * times).astype(np.float32), rate) for number in range(count)]
