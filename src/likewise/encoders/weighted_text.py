"""What the words of a text add to any function of its features, from a few passes through BERT and back.

A token with the weight w counts w-fold wherever others attend to it and in the pooling; with 0, it is not there. What a
function loses without a token is the integral of its derivative by w from 0 to 1, which is close to the derivative at
½. Tokens of different words are weighed together, each word in one of a few copies of the text, as few words at half
weight hardly change what another one adds. Their own states keep their full weight, as these are never seen without
them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertModel

from likewise.encoders.single_text import has_plain_layers, linears
from likewise.encoders.text import TextEncoder

_HALF = 0.5
_LINEAR_POOLING = {"mean", "mean_sqrt_len_tokens"}  # which read the weight of a token as a share


def can_weigh_tokens(encoder: Any) -> bool:
    """Whether `measure_losses` works for an encoder: a plain BERT whose states are averaged."""
    if not isinstance(encoder, TextEncoder) or type(encoder.network) is not BertModel:
        return False
    return set(encoder.head.pooling.modes) <= _LINEAR_POOLING and has_plain_layers(encoder.network)


def find_tokens(encoder: TextEncoder, text: str, spans: Sequence[tuple[int, int]], prompt: str) -> Tensor | None:
    """The tokens of some spans (start, end) of a text: (spans, tokens) bool; None where that cannot be told."""
    prefix = encoder.prompt(prompt)
    offsets = encoder.find_offsets(text, prompt)
    if offsets is None:
        return None
    shifted = [(start + len(prefix), end + len(prefix)) for start, end in spans]
    overlaps = [[last > first and first < end and start < last for first, last in offsets] for start, end in shifted]
    return torch.tensor(overlaps, dtype=torch.bool).reshape(len(spans), len(offsets))


def measure_losses(
    encoder: TextEncoder, inputs: dict[str, Tensor], tokens: Tensor, copies: int, score: Callable[[Tensor], Tensor]
) -> Tensor:
    """What a score loses without each of some words: (words,) float32.

    Args:
        inputs: one prepared text, without padding.
        tokens: (words, tokens) bool, those of each word.
        copies: of the text; each word is weighed in one of them.
        score: features (copies, width) → (copies,), differentiable.
    """
    copies = max(1, min(copies, len(tokens)))
    turn = torch.arange(len(tokens), device=tokens.device) % copies
    weights = torch.ones(copies, tokens.shape[1], device=tokens.device)
    for copy in range(copies):
        weights[copy, tokens[turn == copy].any(dim=0)] = _HALF
    with torch.enable_grad():
        weights.requires_grad_(True)
        states = _run(encoder.network, inputs, weights).float()
        pooling = weights if "pooling_mask" not in inputs else weights * inputs["pooling_mask"]
        scores = score(encoder.head(states, pooling))
        (gradient,) = torch.autograd.grad(scores.sum(), [weights])
    return (gradient[turn] * tokens).sum(dim=1)


def _run(network: Any, inputs: dict[str, Tensor], weights: Tensor) -> Tensor:
    """The last hidden states (copies, tokens, width), where other tokens attend to a token by its weight."""
    copies, length = weights.shape
    names = ("input_ids", "token_type_ids")
    with torch.no_grad():
        states = network.embeddings(**{name: inputs[name].expand(copies, -1) for name in names if name in inputs})
    others = 1.0 - torch.eye(length, device=weights.device)
    bias = (weights.log()[:, None, :] * others)[:, None]
    heads = network.config.num_attention_heads
    for layer in network.encoder.layer:
        query, key, value, mix, widen, narrow = linears(layer)
        asked, keys, values = (
            linear(states).unflatten(-1, (heads, -1)).transpose(1, 2) for linear in (query, key, value)
        )
        attended = functional.scaled_dot_product_attention(asked, keys, values, bias.to(asked.dtype))
        states = layer.attention.output.LayerNorm(mix(attended.transpose(1, 2).flatten(2)) + states)
        states = layer.output.LayerNorm(narrow(functional.gelu(widen(states))) + states)
    return states
