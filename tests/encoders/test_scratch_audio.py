"""The audio Transformer that is trained here, and the spectrogram that it reads."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from likewise.catalog.audio.decode import Sound
from likewise.encoders.log_mel import LogMel, build_filters
from likewise.encoders.registry import load_encoder, restore_encoder
from likewise.errors import UserError
from likewise.testing.encoders import *  # noqa: F403
from likewise.testing.encoders import Subject, encode


def tone(hertz: float, seconds: float = 0.5, rate: int = 16_000, loudness: float = 0.3) -> Sound:
    times = np.arange(round(seconds * rate)) / rate
    return Sound((loudness * np.sin(2 * np.pi * hertz * times)).astype(np.float32), rate)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject("scratch-audio", "audio", [tone(300), tone(700, 0.9), tone(1_500, 0.013, rate=44_100)])


def test_a_spectrogram_is_what_its_definition_says() -> None:
    rate, window, step, bands, lowest, size = 8_000, 200, 80, 20, 50.0, 256
    samples = np.random.default_rng(0).normal(size=1_000) * 0.1
    found = LogMel(rate, window, step, bands, lowest)(torch.from_numpy(samples).float()[None])[0]
    assert found.shape == (1 + 1_000 // step, bands)
    padded = np.concatenate([np.zeros(size // 2), samples, np.zeros(size // 2)])
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / window) for n in range(window)]
    weights = np.zeros(size)
    weights[(size - window) // 2 : (size + window) // 2] = hann
    mel = [2595 * math.log10(1 + hertz / 700) for hertz in (lowest, rate / 2)]
    edges = [700 * (10 ** ((mel[0] + (mel[1] - mel[0]) * k / (bands + 1)) / 2595) - 1) for k in range(bands + 2)]
    for frame in (0, 5, 12):
        seen = padded[frame * step : frame * step + size] * weights
        for band in (0, 7, 19):
            low, middle, high = edges[band : band + 3]
            energy = 0.0
            for k in range(size // 2 + 1):
                hertz = k * rate / size
                height = max(0.0, min((hertz - low) / (middle - low), (high - hertz) / (high - middle)))
                if height:
                    angle = 2 * np.pi * k * np.arange(size) / size
                    energy += height * ((seen @ np.cos(angle)) ** 2 + (seen @ np.sin(angle)) ** 2)
            assert found[frame, band].item() == pytest.approx(math.log(energy + 1e-6), abs=1e-3)


def test_every_band_of_the_scratch_encoder_hears_something() -> None:
    assert (build_filters(16_000, 512, 64, 50.0).sum(dim=0) > 0).all()


def test_a_sound_does_not_depend_on_its_batch() -> None:
    encoder = load_encoder("scratch-audio", "audio")
    sounds = [tone(300), tone(700, 3.1), tone(1_500, 0.013)]
    together = encode(encoder, sounds)
    assert together.shape == (3, encoder.width)
    for one, row in zip(sounds, together, strict=True):
        assert torch.allclose(encode(encoder, [one])[0], row, atol=1e-4)


def test_loudness_and_rate_matter_little_and_pitch_a_lot() -> None:
    encoder = load_encoder("scratch-audio", "audio")
    plain, quiet, fast, other = encode(
        encoder, [tone(300), tone(300, loudness=0.1), tone(300, rate=44_100), tone(2_000)]
    )
    near = functional.cosine_similarity(plain, quiet, dim=0), functional.cosine_similarity(plain, fast, dim=0)
    assert min(near) > functional.cosine_similarity(plain, other, dim=0)


def test_only_the_first_eight_seconds_are_heard() -> None:
    encoder = load_encoder("scratch-audio", "audio")
    long = tone(300, 8.0)
    longer = Sound(np.concatenate([long.samples, tone(900, 4.0).samples]), 16_000)
    assert torch.allclose(encode(encoder, [long]), encode(encoder, [longer]), atol=1e-4)


def test_it_learns_to_distinguish_pitches() -> None:
    encoder = load_encoder("scratch-audio", "audio")
    pitches = (200, 400, 800, 1_600)
    inputs = encoder.prepare([tone(hertz * detune, 0.4) for hertz in pitches for detune in (0.97, 1.0, 1.03)])
    labels = torch.arange(4).repeat_interleave(3)
    torch.manual_seed(0)
    head = torch.nn.Linear(encoder.width, 4)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-4)
    for _ in range(12):
        optimizer.zero_grad()
        functional.cross_entropy(head(encoder(inputs)), labels).backward()
        optimizer.step()
    held_out = encode(encoder, [tone(hertz * 1.015, 0.5) for hertz in pitches])
    with torch.no_grad():
        answers = head(held_out)
    assert answers.argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_a_saved_encoder_comes_back(tmp_path: Path) -> None:
    encoder = load_encoder("scratch-audio", "audio", seed=3)
    encoder.save(tmp_path)
    restored = restore_encoder(tmp_path, "audio")
    restored.load_state_dict(encoder.state_dict())
    assert restored.fingerprint() == encoder.fingerprint()
    assert restored.fingerprint() != load_encoder("scratch-audio", "audio", seed=4).fingerprint()


def test_a_description_of_another_version_is_refused(tmp_path: Path) -> None:
    load_encoder("scratch-audio", "audio").save(tmp_path)
    file = tmp_path / "encoder.json"
    content = json.loads(file.read_text())
    for change in ({"rate": 8_000}, {"seconds": 1e9}, {"bands": True}):
        file.write_text(json.dumps(content | {"description": content["description"] | change}))
        with pytest.raises(UserError, match=f"damaged .*{next(iter(change))}"):
            restore_encoder(tmp_path, "audio")


def test_other_modalities_are_refused() -> None:
    with pytest.raises(UserError, match="scratch-audio is for audio, not for text"):
        load_encoder("scratch-audio", "text")
    with pytest.raises(UserError, match="did you mean scratch-audio"):
        load_encoder("scratch-audi", "audio")
