"""Recordings in every format that is read become the samples that were recorded, at any rate."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from catalog.sound_files import RATE, encoded, tone, wav

from likewise.catalog.audio import decode
from likewise.catalog.audio.decode import Sound, open_recording
from likewise.catalog.audio.formats import read_header
from likewise.catalog.audio.recording import AudioError
from likewise.config import AudioSettings
from likewise.errors import MissingExtraError


def decode_bytes(data: bytes, rate: int, seconds: float | None = None, **limits) -> np.ndarray:
    return decode.decode_bytes(data, seconds, **limits).resample(rate)


def resample(samples: np.ndarray, rate: int, to_rate: int) -> np.ndarray:
    return Sound(samples, rate).resample(to_rate)


FORMATS = [
    ("WAV", "PCM_U8", 0.01),
    ("WAV", "PCM_16", 1e-3),
    ("WAV", "PCM_24", 1e-3),
    ("WAV", "FLOAT", 1e-3),
    ("WAV", "DOUBLE", 1e-3),
    ("WAV", "ULAW", 0.03),
    ("WAV", "ALAW", 0.03),
    ("WAVEX", "PCM_16", 1e-3),
    ("FLAC", "PCM_16", 1e-3),
    ("OGG", "VORBIS", 0.05),
]


@pytest.mark.parametrize(("form", "subtype", "tolerance"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_comes_back(form: str, subtype: str, tolerance: float, channels: int) -> None:
    data = encoded(np.stack([tone()] * channels, axis=1), form, subtype)
    header = read_header(data, 8, 60.0)
    assert (header.rate, header.channels) == (RATE, channels)
    found = decode_bytes(data, RATE)
    assert found.dtype == np.float32
    assert found.shape == tone().shape
    assert np.abs(found - tone())[200:-200].max() < tolerance


@pytest.mark.parametrize(("form", "subtype"), [("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_a_lossy_tone_keeps_its_pitch_and_length(form: str, subtype: str) -> None:
    found = decode_bytes(encoded(tone(1.0), form, subtype), RATE)
    assert 0.95 * RATE <= len(found) <= 1.2 * RATE
    middle = found[4_000:12_000]
    assert np.abs(np.fft.rfft(middle)).argmax() == pytest.approx(440 * len(middle) / RATE, abs=1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 44_101, 99_991])
def test_a_tone_at_any_rate_is_the_same_tone(rate: int) -> None:
    found = resample(tone(0.5, 440.0, rate), rate, RATE)
    assert len(found) == pytest.approx(RATE / 2, abs=2)
    assert np.abs(found[200:7_800] - tone()[200:7_800]).max() < 0.02


def test_what_lies_above_the_new_rate_is_filtered_out() -> None:
    assert np.abs(resample(tone(0.5, 15_000.0, 48_000), 48_000, RATE))[200:-200].max() < 0.01


def test_channels_are_averaged() -> None:
    opposite = np.stack([tone(), -tone()], axis=1)
    assert np.abs(decode_bytes(encoded(opposite), RATE)).max() < 1e-3


def test_only_the_first_seconds_are_decoded() -> None:
    data = encoded(np.concatenate([tone(1.0), np.zeros(3 * RATE, np.float32)]))
    assert decode_bytes(data, RATE, 0.25).shape == (RATE // 4,)
    assert np.abs(decode_bytes(data, RATE, 1.0) - tone(1.0)).max() < 1e-3


def test_loud_samples_are_clipped() -> None:
    assert decode_bytes(encoded(40 * tone(), "WAV", "FLOAT"), RATE).max() == 1.0


def test_a_limit_is_named_in_the_error() -> None:
    with pytest.raises(AudioError, match="lasts 2 seconds; at most 1 may be read"):
        decode_bytes(encoded(tone(2.0)), RATE, limits=AudioSettings(max_seconds=1))
    assert decode_bytes(encoded(tone(2.0)), RATE, limits=AudioSettings(max_seconds=3)).shape == (2 * RATE,)


def test_a_file_of_ones_own_may_have_ten_times_the_bytes_of_a_download(tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(wav(bytes(2 * RATE)))
    assert len(open_recording(tmp_path / "long.wav", limits=AudioSettings(max_bytes=4_000)).samples) == RATE
    with pytest.raises(AudioError, match="more bytes than allowed"):
        open_recording(tmp_path / "long.wav", limits=AudioSettings(max_bytes=3_000))


def test_folders_pipes_and_missing_files_are_named(tmp_path: Path) -> None:
    for name, cause in [(".", "not-a-file"), ("none.wav", "no-file"), ("\0.wav", "malformed-source")]:
        with pytest.raises(AudioError) as raised:
            open_recording(tmp_path / name)
        assert raised.value.cause == cause


def test_without_soundfile_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'likewise\[audio\]'"):
        decode.decode_bytes(encoded_before)


encoded_before = encoded(tone())


def test_rates_far_apart_take_bounded_memory() -> None:
    found = resample(tone(0.5, 100.0, 383_981), 383_981, 1_000)
    assert math.isclose(len(found), 500, abs_tol=2)
