"""The forward pass of BERT for one text without padding, as transformers computes it, without its bookkeeping.

A query waits for it, and for a few tokens masks, dispatch and wrappers take a good part of the time.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertModel


def can_run_single_text(network: Any, inputs: dict[str, Tensor]) -> bool:
    """Whether `run_single_text` gives what the network gives: one unpadded text, a plain BERT, and nobody watching."""
    if type(network) is not BertModel or not torch.is_inference_mode_enabled() or network.training:
        return False
    if len(inputs["input_ids"]) != 1 or not inputs["attention_mask"].all():
        return False
    return has_plain_layers(network)


def has_plain_layers(network: BertModel) -> bool:
    """Whether a BERT's layers are as transformers made them, with the usual activation and attention to both sides."""
    if network.config.is_decoder or network.config.hidden_act != "gelu":
        return False
    return all(_is_plain(module) for layer in network.encoder.layer for module in (layer, *linears(layer)))


def run_single_text(network: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The last hidden states, (1, tokens, width); equal to those of transformers up to rounding."""
    embedded = network.embeddings(input_ids=inputs["input_ids"], token_type_ids=inputs.get("token_type_ids"))
    states, heads = embedded[0], network.config.num_attention_heads
    for layer in network.encoder.layer:
        query, key, value, mix, widen, narrow = linears(layer)
        split = [linear(states).unflatten(-1, (heads, -1)).transpose(0, 1) for linear in (query, key, value)]
        attended = functional.scaled_dot_product_attention(*split).transpose(0, 1).flatten(1)
        states = layer.attention.output.LayerNorm(mix(attended) + states)
        states = layer.output.LayerNorm(narrow(functional.gelu(widen(states))) + states)
    return states[None]


def linears(layer: Any) -> tuple[nn.Linear, ...]:
    """The linear layers of a BERT layer: query, key, value, the attention's output, and the two of its perceptron."""
    attention = layer.attention.self
    mix, widen, narrow = layer.attention.output.dense, layer.intermediate.dense, layer.output.dense
    return attention.query, attention.key, attention.value, mix, widen, narrow


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is as transformers made it: no LoRA, and no hook, as of a network that is cut at a block."""
    watched = module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
    return not watched and (type(module) is nn.Linear or type(module).__name__ == "BertLayer")
