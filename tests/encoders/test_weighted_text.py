"""What words add to a score, from derivatives, follows what leaving them out does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from encoders.tiny_models import save_sentence_model
from torch import Tensor

from likewise.encoders.registry import load_encoder
from likewise.encoders.text import TextEncoder
from likewise.encoders.weighted_text import can_weigh_tokens, find_tokens, measure_losses

TEXT = "warm red jacket with the blue cat"
SPANS = [(0, 4), (5, 8), (9, 15), (16, 20), (21, 24), (25, 29), (30, 33)]


def load(folder: Path, pooling: str, **prompts: object) -> TextEncoder:
    save_sentence_model(folder, {f"pooling_mode_{pooling}": True}, **prompts)
    encoder = load_encoder(str(folder), "text")
    assert isinstance(encoder, TextEncoder)
    for weight in encoder.network.encoder.parameters():  # random ones hardly mix the words
        weight.data.mul_(2.0)
    return encoder


def leave_out(encoder: TextEncoder, tokens: Tensor, direction: Tensor) -> np.ndarray:
    """By a mask: the words behind keep their positions."""
    inputs = {name: tensor.expand(1 + len(tokens), -1) for name, tensor in encoder.prepare([TEXT], "document").items()}
    seen = torch.cat([torch.zeros_like(tokens[:1]), tokens]).logical_not()
    with torch.inference_mode():
        scores = encoder(inputs | {"attention_mask": inputs["attention_mask"] * seen}) @ direction
    return (scores[0] - scores[1:]).numpy()


@pytest.mark.parametrize("prompts", [{}, {"prompts": {"document": "a photo of "}, "default_prompt_name": "document"}])
def test_losses_follow_those_of_leaving_words_out(tmp_path: Path, prompts: dict) -> None:
    encoder = load(tmp_path, "mean_tokens", **prompts)
    assert can_weigh_tokens(encoder)
    agreement = []
    for seed in range(8):
        direction = torch.randn(32, generator=torch.Generator().manual_seed(seed))

        def score(features: Tensor, direction: Tensor = direction) -> Tensor:
            return features @ direction

        tokens = find_tokens(encoder, TEXT, SPANS, "document")
        inputs = encoder.prepare([TEXT], prompt="document")
        losses = measure_losses(encoder, inputs, tokens, 4, score).numpy()
        agreement.append(np.corrcoef(losses, leave_out(encoder, tokens, direction))[0, 1])
    assert np.mean(agreement) > 0.9
    assert not any(weight.grad is not None for weight in encoder.parameters())


def test_tokens_of_a_word_are_found_behind_a_prompt(tmp_path: Path) -> None:
    encoder = load(tmp_path, "mean_tokens", prompts={"document": "a photo of "}, default_prompt_name="document")
    tokens = find_tokens(encoder, "red shoes", [(0, 3), (4, 9)], "document")
    assert tokens.int().tolist() == [
        [0, 0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0],
    ]  # red, shoe ##s


def test_other_poolings_and_networks_are_left_to_others(tmp_path: Path) -> None:
    assert not can_weigh_tokens(load(tmp_path / "cls", "cls_token"))
    assert not can_weigh_tokens(load_encoder("scratch-text", "text"))
