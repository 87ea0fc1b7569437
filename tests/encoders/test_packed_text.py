"""Packed weights give nearly the features of the encoder, and only where the encoder is one that they are made for."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders.tiny_models import least_cosine, save_bert

from likewise.encoders import packed_text
from likewise.encoders.base import Encoder
from likewise.encoders.device import has_native_bfloat16
from likewise.encoders.packed_text import LEAST_COSINE, PackedText
from likewise.encoders.registry import load_encoder
from likewise.encoders.text import TextEncoder
from likewise.model.model import Model

FLOAT32 = {"text": "float32", "image": "float32"}
BATCHES = [
    [""],
    ["red"],
    ["red shoes for the beach"],
    ["waterproof boots " * 200],
    ["red", "a warm waterproof jacket with two pockets, for walks in the rain", ""],
    ["boots " * 300, *(f"a cup of tea number {number}" for number in range(5))],
]


@pytest.fixture(scope="module", autouse=True)
def native_bfloat16() -> None:
    if not has_native_bfloat16(torch.device("cpu")):
        pytest.skip("a processor that multiplies bfloat16 cannot be installed")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("lite-text", "text")


@pytest.fixture
def changed(encoder: TextEncoder) -> Iterator[torch.nn.Linear]:
    """A layer that a test may change."""
    linear = encoder.network.encoder.layer[3].intermediate.dense
    before = {name: weight.clone() for name, weight in linear.state_dict().items()}
    yield linear
    linear.load_state_dict(before)


def build(encoder: Encoder) -> PackedText:
    packed = PackedText.build(encoder)
    assert packed is not None
    return packed


def features(encoder: Encoder, texts: list[str]) -> torch.Tensor:
    with torch.inference_mode():
        whole: torch.Tensor = encoder(encoder.prepare(texts))
    return whole


@pytest.mark.parametrize("texts", BATCHES)
def test_the_features_are_nearly_those_of_the_encoder(encoder: Encoder, texts: list[str]) -> None:
    packed = build(encoder)(encoder.prepare(texts))
    assert packed.dtype == torch.float32
    assert not packed.requires_grad
    assert least_cosine(packed, features(encoder, texts)) >= LEAST_COSINE
    assert torch.allclose(packed.norm(dim=1), torch.ones(len(texts)), atol=1e-5)


def test_padding_does_not_change_a_text(encoder: Encoder) -> None:
    packed = build(encoder)
    alone, beside = (packed(encoder.prepare(texts)) for texts in (["red shoes"], ["red shoes", "boots " * 50]))
    assert least_cosine(alone, beside[:1]) >= LEAST_COSINE


@pytest.mark.parametrize("which", ["weight", "bias"])
def test_weights_that_change_are_packed_again(encoder: Encoder, changed: torch.nn.Linear, which: str) -> None:
    packed, before = build(encoder), features(encoder, ["red shoes"])
    with torch.no_grad():
        weight: torch.Tensor = getattr(changed, which)
        weight.add_(torch.linspace(-1, 1, len(weight)).reshape(-1, *[1] * (weight.dim() - 1)))
    assert least_cosine(before, features(encoder, ["red shoes"])) < 0.999
    assert least_cosine(packed(encoder.prepare(["red shoes"])), features(encoder, ["red shoes"])) > 0.9995


def test_a_network_that_somebody_watches_or_has_changed_is_not_packed(encoder: TextEncoder) -> None:
    handle = encoder.network.encoder.layer[2].output.dense.register_forward_hook(lambda *_: None)
    try:
        assert PackedText.build(encoder) is None
    finally:
        handle.remove()
    assert PackedText.build(encoder) is not None


def test_another_architecture_is_not_packed(tmp_path: Path) -> None:
    assert PackedText.build(load_encoder("scratch-text", "text")) is None
    bert = load_encoder(str(save_bert(tmp_path)), "text")
    assert PackedText.build(bert) is not None
    bert.network.config.hidden_act = "relu"
    assert PackedText.build(bert) is None


def test_weights_that_bfloat16_cannot_hold_are_not_packed(encoder: Encoder, changed: torch.nn.Linear) -> None:
    with torch.no_grad():
        changed.weight.add_(300)  # what the rows have in common drowns what they do not
    assert PackedText.build(encoder) is None


def test_a_processor_without_bfloat16_has_nothing_packed(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_text, "has_native_bfloat16", lambda device: False)
    assert PackedText.build(encoder) is None


def test_a_model_packs_texts_on_demand(encoder: Encoder) -> None:
    model = Model.create("lite", device="cpu", precision=FLOAT32)
    texts = ["red shoes", "green tea", "a warm waterproof jacket with two pockets"]
    before, fingerprint = model.encode_queries(texts), model.fingerprint
    items = model.encode_field_texts("description", texts)
    assert model.pack_texts()
    assert model.pack_texts()  # again is no harm
    after = model.encode_queries(texts)
    assert not np.array_equal(before, after)  # it was packed
    assert (before * after).sum(axis=1).min() >= LEAST_COSINE
    items_after = model.encode_field_texts("description", texts)
    assert not np.array_equal(items, items_after)
    assert (items * items_after).sum(axis=1).min() >= LEAST_COSINE
    assert model.fingerprint == fingerprint


def test_a_model_that_cannot_pack_says_so_and_answers_as_before() -> None:
    model = Model.create("scratch", device="cpu", precision=FLOAT32)
    before = model.encode_queries(["red shoes"])
    assert not model.pack_texts()
    np.testing.assert_array_equal(model.encode_queries(["red shoes"]), before)
