"""The bag of audio words, which is fitted to the recordings that train."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.fft import dct
from torch.nn import functional

from likewise.catalog.audio.decode import Sound
from likewise.catalog.catalog import Catalog
from likewise.config import ModelSettings
from likewise.encoders import audio_words
from likewise.encoders.audio_words import RATE, AudioWords
from likewise.encoders.registry import find_fitted, restore_encoder
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.testing.encoders import encode

SYLLABLES = 12


def speak(*syllables: int, voice: float = 1.0, pause: float = 0.0, loudness: float = 0.3) -> Sound:
    """Syllables of 200 ms, each three formants that glide; a voice moves them all."""
    times = np.arange(round(0.2 * RATE)) / RATE
    parts = [np.zeros(round(pause * RATE))]
    for syllable in syllables:
        formants = np.random.default_rng(syllable).uniform(250, 3_500, (3, 2)) * voice
        glides = formants[:, :1] + (formants[:, 1:] - formants[:, :1]) * times / times[-1]
        parts.append(np.sin(2 * np.pi * np.cumsum(glides, axis=1) / RATE).sum(axis=0) * np.hanning(len(times)))
    noise = np.random.default_rng(0).normal(size=sum(map(len, parts))) * 0.01
    return Sound((loudness * (np.concatenate(parts) + noise) / 3).astype(np.float32), RATE)


def fit(sounds: list[Sound], seed: int = 0) -> AudioWords:
    return AudioWords.fit([AudioWords.condense(sound) for sound in sounds], seed)


@pytest.fixture(scope="module")
def encoder() -> AudioWords:
    rng = np.random.default_rng(1)
    return fit([speak(*rng.integers(SYLLABLES, size=4)) for _ in range(30)])


def cosines(features: torch.Tensor) -> torch.Tensor:
    centred = functional.normalize(features - features.mean(dim=0), dim=-1)
    return centred @ centred.T


def test_windows_are_what_their_definition_says() -> None:
    encoder, sound = AudioWords(1, 1), speak(3, 7, 1)
    inputs = encoder.prepare([sound])
    (windows,) = encoder.find_windows(inputs)
    levels = encoder.spectrogram(inputs["samples"])[0].numpy()[: len(sound.samples) // 160 + 1]
    loudness = levels.mean(axis=1)
    quiet_level = np.quantile(loudness, 0.1)
    loud = np.flatnonzero(loudness > quiet_level + 0.25 * (loudness.max() - quiet_level))
    cepstra = dct(levels[loud[0] : loud[-1] + 1], norm="ortho", axis=1)[:, :13]
    levelled = (cepstra - cepstra.mean(axis=0)) / (cepstra.std(axis=0) + 1e-3)
    plain = cepstra - cepstra.mean(axis=0) * (np.arange(13) == 0)
    for found, frames in zip(windows, (levelled, plain), strict=True):
        assert len(found) == 1 + (len(frames) - 30) // 2
        for number in (0, len(found) // 2):
            expected = dct(frames[2 * number : 2 * number + 30], norm="ortho", axis=0)[:6].T
            assert np.allclose(found[number], expected.ravel(), atol=2e-3)


def test_features_are_the_largest_cosine_with_each_word(encoder: AudioWords) -> None:
    sound = speak(2, 5, 9)
    (windows,) = encoder.find_windows(encoder.prepare([sound]))
    scaled = (windows.plain - encoder.plain_centre) / encoder.plain_scale
    expected = (functional.normalize(scaled, dim=-1) @ encoder.plain.T).amax(dim=0)
    assert torch.allclose(encode(encoder, [sound])[0, len(encoder.levelled) :], expected, atol=1e-5)
    assert encode(encoder, [sound]).abs().max() <= 1 + 1e-5


def test_a_word_counts_wherever_and_however_loudly_it_is_spoken(encoder: AudioWords) -> None:
    word, later, quietly, other = encode(
        encoder, [speak(4, 8), speak(4, 8, pause=0.7), speak(4, 8, loudness=0.1), speak(1, 10)]
    )
    for same in (later, quietly):
        assert (word - same).abs().mean() < 0.6 * (word - other).abs().mean()


def test_phrases_that_share_a_word_are_alike_also_in_another_voice(encoder: AudioWords) -> None:
    found = cosines(encode(encoder, [speak(0, 1, 2), speak(5, 1, 2, voice=1.06), speak(6, 7, 8), speak(9, 10, 11)]))
    assert found[0].argsort(descending=True)[1] == 1


def test_steady_tones_differ_by_their_pitch() -> None:
    times = np.arange(round(0.4 * RATE)) / RATE
    tones = [
        Sound((0.3 * np.sin(2 * np.pi * hertz * detune * times)).astype(np.float32), RATE)
        for hertz in (200, 500, 1_250)
        for detune in (0.98, 1.02)
    ]
    nearest = cosines(encode(fit(tones), tones)).fill_diagonal_(-1).argmax(dim=1)
    assert nearest.tolist() == [1, 0, 3, 2, 5, 4]


def test_a_sound_does_not_depend_on_its_batch(encoder: AudioWords) -> None:
    sounds = [speak(1), speak(2, 3, 4, 5, 6, 7), Sound(speak(3, 4).samples[:200], RATE)]
    for one, row in zip(sounds, encode(encoder, sounds), strict=True):
        assert torch.allclose(encode(encoder, [one])[0], row, atol=1e-4)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(1), np.zeros(8_000), np.ones(160), np.full(50_000, -1.0), np.eye(1, 400)[0]],
    ids=["one sample", "silence", "constant", "long constant", "click"],
)
def test_degenerate_sounds_have_finite_features(encoder: AudioWords, samples: np.ndarray) -> None:
    sound = Sound(samples.astype(np.float32), RATE)
    assert encode(encoder, [sound]).isfinite().all()
    fitted = fit([sound])
    assert encode(fitted, [sound, speak(1, 2)]).isfinite().all()


def test_only_the_first_eight_seconds_are_heard(encoder: AudioWords) -> None:
    long = speak(*range(40))
    longer = Sound(np.concatenate([long.samples, speak(3, 4, 5).samples]), RATE)
    assert torch.allclose(encode(encoder, [long]), encode(encoder, [longer]), atol=1e-4)
    assert len(AudioWords.condense(longer).plain) == 64


def test_the_seed_decides_the_words() -> None:
    sounds = [speak(*range(start, start + 20)) for start in range(40)]
    one, same, other = fit(sounds, 3), fit(sounds, 3), fit(sounds, 4)
    assert one.width == 1_500
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_a_saved_encoder_comes_back(encoder: AudioWords, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    restored = restore_encoder(tmp_path, "audio")
    restored.load_state_dict(encoder.state_dict())
    assert restored.fingerprint() == encoder.fingerprint()
    assert torch.equal(encode(restored, [speak(5)]), encode(encoder, [speak(5)]))


@pytest.mark.parametrize("change", [{"rate": 8_000}, {"levelled": 10**9}, {"plain": 0}, {"frames": 31}])
def test_a_description_of_another_version_is_refused(
    encoder: AudioWords, tmp_path: Path, change: dict[str, int]
) -> None:
    encoder.save(tmp_path)
    file = tmp_path / "encoder.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"description": content["description"] | change}))
    with pytest.raises(UserError, match=f"damaged .*{next(iter(change))}"):
        restore_encoder(tmp_path, "audio")


def test_it_is_for_recordings_only() -> None:
    assert find_fitted("audio-words", "audio") is AudioWords
    with pytest.raises(UserError, match=r"audio-words is for audio, not for number: choose one of number"):
        find_fitted("audio-words", "number")


def test_a_model_fits_it_to_some_of_the_recordings_that_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from catalog.sound_files import encoded

    for number in range(8):
        (tmp_path / f"{number}.wav").write_bytes(encoded(speak(number, number + 1).samples))
    rows = "".join(f"{number},bell {number},{number}.wav\n" for number in range(8))
    (tmp_path / "bells.csv").write_text(f"id,title,spoken\n{rows}")
    opened: list[str] = []
    monkeypatch.setattr(AudioWords, "most_fitted", 3)
    monkeypatch.setattr(
        audio_words.AudioWords, "condense", classmethod(lambda cls, value: opened.append(value) or _condense(value))
    )
    fields = {"title": "text", "spoken": "audio"}
    settings = ModelSettings(
        text_encoder="scratch-text",
        image_encoder="scratch-image",
        dim=16,
        fields=fields,
        encoders={"audio": "audio-words"},
    )
    float32 = {"text": "float32", "image": "float32"}
    with quiet():
        catalog = Catalog.read(tmp_path / "bells.csv", cache=tmp_path / "cache")
        model = Model.create(settings, "cpu", float32, catalog=catalog, rows=np.arange(6))
        assert len(opened) == 3
        seen = model.encode_items(catalog, ["spoken"])
        heard = model.encode_audio([catalog.open_recording(found[0]) for found in catalog.recordings("spoken")])
    assert np.allclose(seen, heard, atol=1e-3)
    assert list((tmp_path / "cache" / "features").glob("*/features.f16")), "recordings are decoded once"


_condense = AudioWords.condense
