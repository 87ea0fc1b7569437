"""Low-rank adaptation (https://arxiv.org/abs/2106.09685) of the blocks behind a cut, through the library peft.

Every linear layer W of these blocks becomes W + B·A with small trainable B and A, and everything else stays as it is.
At the end the product is added to W, so that what is saved and served is the plain encoder.
"""

from typing import Any

import torch
from torch import nn

from likewise.encoders.base import Encoder
from likewise.encoders.hugging_face import HuggingFaceEncoder
from likewise.errors import MissingExtraError, UserError


def add_lora(
    encoder: Encoder, rank: int = 16, *, cut: int = 0, scale: float = 2.0, dropout: float = 0.0, seed: int = 0
) -> list[str]:
    """Add trainable low-rank maps to all linear layers of the blocks from `cut` on; nothing else trains.

    The features do not change yet, since B starts at zero. What lies before the cut never does, so that its cached
    activations stay true.

    Args:
        encoder: one from Hugging Face.
        rank: columns of B and rows of A.
        cut: the first block that adapts.
        scale: the weight of B·A (alpha / rank).
        dropout: of the inputs of A.
        seed: decides the random A.

    Returns:
        The names of the parameters that are left to train.

    Raises:
        MissingExtraError: peft is not installed.
        UserError: an encoder that has no blocks of linear layers.
    """
    try:
        import peft
    except ImportError:
        raise MissingExtraError("peft", "lora") from None
    if not isinstance(encoder, HuggingFaceEncoder):
        raise UserError(
            f"LoRA is for encoders from Hugging Face: cut the encoder {encoder.name} between blocks instead"
        )
    encoder.check_cut(cut)
    targets = _linear_layers(encoder, cut)
    if not targets:
        raise UserError(f"the blocks of the encoder {encoder.name} have no linear layers: train it without LoRA")
    config = peft.LoraConfig(r=rank, lora_alpha=scale * rank, lora_dropout=dropout, target_modules=targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, encoder.network)
    encoder.train(encoder.training)  # what was put in is in the same mode
    trained = [name for name, _ in encoder.named_parameters() if ".lora_" in name]
    encoder.requires_grad_(False)
    for name in trained:
        encoder.get_parameter(name).requires_grad_(True)
    return trained


def has_lora(encoder: Encoder) -> bool:
    """Whether `add_lora` has put something in that `merge_lora` has not taken out yet."""
    return bool(_adapt(encoder))


def merge_lora(encoder: Encoder) -> None:
    """Add what `add_lora` put in and training has learned to the plain weights, and take it out again."""
    for name, layer in _adapt(encoder):
        layer.merge()
        plain = layer.get_base_layer()
        plain.weight = nn.Parameter(plain.weight.detach().clone())  # peft writes past the version that caches look at
        parent, _, attribute = name.rpartition(".")
        setattr(encoder.get_submodule(parent), attribute, plain)
    if hasattr(encoder.network, "peft_config"):
        del encoder.network.peft_config


def _adapt(encoder: Encoder) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in encoder.named_modules() if hasattr(module, "lora_A")]


def _linear_layers(encoder: HuggingFaceEncoder, cut: int) -> list[str]:
    """The full names of the linear layers in the blocks from `cut` on."""
    inside = {module for block in encoder.stack.blocks[cut:] for module in block.modules()}
    return [name for name, module in encoder.network.named_modules() if module in inside and type(module) is nn.Linear]
