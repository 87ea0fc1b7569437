"""One text takes a shorter way through BERT, to the same features."""

import pytest
import torch

from likewise.encoders import text
from likewise.encoders.base import Encoder
from likewise.encoders.registry import load_encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("lite-text", "text")


@pytest.fixture
def shortcuts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each text had that took the shorter way."""
    taken: list[int] = []
    run = text.run_single_text
    monkeypatch.setattr(
        text, "run_single_text", lambda *inputs: taken.append(inputs[1]["input_ids"].shape[1]) or run(*inputs)
    )
    return taken


@pytest.mark.parametrize("words", ["", "red", "red shoes for the beach", "waterproof boots " * 200])
def test_the_features_are_the_same(encoder: Encoder, shortcuts: list[int], words: str) -> None:
    inputs = encoder.prepare([words])
    with torch.no_grad():
        whole = encoder(inputs)
    assert not shortcuts
    with torch.inference_mode():
        short = encoder(inputs)
    assert len(shortcuts) == 1
    assert torch.allclose(short, whole, atol=1e-5)
    assert torch.allclose(short, encoder(encoder.prepare([words, "boots " * 40]))[:1], atol=1e-5)


@torch.inference_mode()
def test_several_texts_and_a_cut_network_take_the_usual_way(encoder: Encoder, shortcuts: list[int]) -> None:
    encoder(encoder.prepare(["red", "blue"]))
    inputs = encoder.prepare(["red shoes"])
    states = encoder.forward_to(inputs, 3)
    assert not shortcuts
    assert states.shape == (1, inputs["input_ids"].shape[1], 384)
    hook = encoder.network.encoder.layer[2].output.dense.register_forward_hook(lambda *_: None)
    encoder(inputs)
    hook.remove()
    assert not shortcuts
    encoder(inputs)
    assert shortcuts
