"""The encoders that start from random weights."""

import pytest
import torch
from encoders.tiny_models import pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.encoders.registry import load_encoder, restore_encoder

TEXT = load_encoder("scratch-text", "text")


def encode(encoder, values):
    with torch.no_grad():
        return encoder(encoder.prepare(values))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=200), min_size=1, max_size=4))
def test_any_text_has_finite_features(texts):
    features = encode(TEXT, texts)
    assert features.shape == (len(texts), 192)
    assert torch.isfinite(features).all()


def test_a_text_does_not_depend_on_its_batch():
    alone = encode(TEXT, ["red shoes"])
    together = encode(TEXT, ["red shoes", "a much longer text that needs more padding than the other one"])
    assert torch.allclose(alone[0], together[0], atol=1e-5)


def test_spelling_variants_are_nearer_than_other_words_before_training():
    boot, boots, lamp = encode(TEXT, ["hiking boot", "hiking boots", "table lamp"])
    assert torch.cosine_similarity(boot, boots, dim=0) > torch.cosine_similarity(boot, lamp, dim=0)


def test_word_order_counts_and_case_does_not():
    a, b, c = encode(TEXT, ["dog bites man", "man bites dog", "DOG bites Man"])
    assert not torch.allclose(a, b, atol=1e-3)
    assert torch.allclose(a, c, atol=1e-5)


def test_long_texts_are_counted():
    assert TEXT.count_truncated(["word " * 64, "word " * 65, ""]) == 1
    assert TEXT.prepare(["word " * 65])["pieces"].shape == (1, 64, 8)


def test_pictures_become_a_grid():
    image = load_encoder("scratch-image", "image")
    features = encode(image, pictures())
    assert image.grid == (8, 8) and image.minimum_side == 96
    assert features.shape == (4, *image.feature_shape) == (4, 64, 192)
    assert image.pool(features).shape == (4, 192)


@pytest.mark.parametrize(("name", "modality"), [("scratch-text", "text"), ("scratch-image", "image")])
def test_the_seed_decides_the_weights(name, modality):
    first, same, other = (load_encoder(name, modality, seed=seed).fingerprint() for seed in (1, 1, 2))
    assert first == same != other


@pytest.mark.parametrize(("name", "values"), [("scratch-text", ["a", "b c"]), ("scratch-image", pictures())])
def test_every_weight_is_trained(name, values):
    encoder = load_encoder(name, name.removeprefix("scratch-")).train()
    encoder(encoder.prepare(values)).square().sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())


@pytest.mark.parametrize(("name", "values"), [("scratch-text", ["a", "b c"]), ("scratch-image", pictures())])
def test_reopened(tmp_path, name, values):
    encoder = load_encoder(name, name.removeprefix("scratch-"), seed=4)
    encoder.save(tmp_path)
    reopened = restore_encoder(tmp_path, encoder.modality)
    reopened.load_state_dict(encoder.state_dict())
    assert torch.equal(encode(reopened, values), encode(encoder, values))
