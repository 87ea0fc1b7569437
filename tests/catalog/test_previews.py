"""Previews of recordings: their beginning as a WAV, made once, and made again where the copy was damaged."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from catalog.sound_files import encoded, tone

from likewise.catalog.audio.decode import decode_bytes
from likewise.catalog.audio.previews import find_preview, make_preview, preview_path
from likewise.catalog.audio.recording import AudioError, Recording
from likewise.errors import UserError


def keep(path: Path, data: bytes) -> Recording:
    path.write_bytes(data)
    return Recording(hashlib.sha256(data).hexdigest(), path)


@pytest.mark.parametrize("form", ["WAV", "OGG", "FLAC", "MP3"])
def test_a_preview_sounds_like_its_recording(form: str, tmp_path: Path) -> None:
    recording = keep(tmp_path / "a", encoded(tone(1.0, 440), form))
    path = make_preview(recording, tmp_path / "cache")
    assert path.read_bytes()[:4] == b"RIFF"
    sound = decode_bytes(path.read_bytes())
    spectrum = np.abs(np.fft.rfft(sound.samples))
    assert sound.rate == 16_000
    assert spectrum.argmax() * sound.rate / len(sound.samples) == pytest.approx(440, abs=2)


def test_long_recordings_of_many_channels_are_cut_short(tmp_path: Path) -> None:
    samples = np.stack([tone(40.0, 300, rate=48_000)] * 2, axis=1)
    recording = keep(tmp_path / "long.flac", encoded(samples, "FLAC", rate=48_000))
    path = make_preview(recording, tmp_path / "cache")
    sound = decode_bytes(path.read_bytes())
    assert (sound.rate, len(sound.samples)) == (24_000, 30 * 24_000)
    assert find_preview(recording.key, tmp_path / "cache") == path
    assert path.stat().st_size < 1_500_000


def test_a_damaged_preview_is_made_again(tmp_path: Path) -> None:
    recording = keep(tmp_path / "a.wav", encoded(tone()))
    path = make_preview(recording, tmp_path / "cache")
    intact = path.read_bytes()
    for damaged in (b"", intact[:-2], intact[:60] + b"\x07" + intact[61:], b"<html>", intact + b"more"):
        path.write_bytes(damaged)
        assert find_preview(recording.key, tmp_path / "cache") is None
        assert make_preview(recording, tmp_path / "cache").read_bytes() == intact
    other = "0" * 64
    preview_path(other, tmp_path / "cache").parent.mkdir()
    preview_path(other, tmp_path / "cache").write_bytes(intact)
    assert find_preview(other, tmp_path / "cache") is None, "it lies under another name"


def test_nothing_but_the_recording_that_the_key_names_is_played(tmp_path: Path) -> None:
    recording = keep(tmp_path / "a.wav", encoded(tone()))
    (tmp_path / "a.wav").write_bytes(encoded(tone(0.5, 900)))
    with pytest.raises(AudioError, match="changed"):
        make_preview(recording, tmp_path / "cache")
    secret = keep(tmp_path / "secret.wav", b"a password")
    with pytest.raises(AudioError):
        make_preview(secret, tmp_path / "cache")
    path = make_preview(keep(tmp_path / "b.wav", encoded(tone())), tmp_path / "cache")
    path.unlink()
    path.symlink_to(tmp_path / "secret.wav")
    assert find_preview(path.stem, tmp_path / "cache") is None
    with pytest.raises(UserError):
        preview_path("../../etc/passwd", tmp_path)
