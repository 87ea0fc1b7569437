"""A plain BERT in bfloat16, its weights packed once in the order in which the processor multiplies them.

A query is a few tokens, and its time is that of reading the weights: half as many bytes, in the right order, take less
than half of it. Batches gain from matrix units that multiply bfloat16. Sums, LayerNorm and pooling stay in float32.
"""

import platform
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertModel

from likewise.encoders.base import Encoder
from likewise.encoders.device import has_native_bfloat16
from likewise.encoders.single_text import has_plain_layers, linears
from likewise.encoders.text import TextEncoder

LEAST_COSINE = 0.9999  # of features with those of float32
_EXAMPLES = 8
_PROCESSORS = ("x86_64", "AMD64")  # where it was measured


@dataclass(frozen=True)
class _PackedLinear:
    weight: Tensor
    bias: Tensor

    @classmethod
    def pack(cls, *sources: nn.Linear) -> "_PackedLinear":
        """Pack linear layers that read the same states as one."""
        weight = torch.cat([source.weight.detach() for source in sources]).to(torch.bfloat16)
        bias = torch.cat([source.bias.detach() for source in sources]).to(torch.bfloat16)
        return cls(torch.ops.mkldnn._reorder_linear_weight(weight), bias)

    def __call__(self, states: Tensor, activation: str = "none") -> Tensor:
        packed: Tensor = torch.ops.mkldnn._linear_pointwise(
            states.to(torch.bfloat16), self.weight, self.bias, activation, [], "none"
        )
        return packed


@dataclass(frozen=True)
class _PackedLayer:
    attention: _PackedLinear  # queries, keys and values
    mix: _PackedLinear
    widen: _PackedLinear
    narrow: _PackedLinear
    first_norm: nn.LayerNorm
    second_norm: nn.LayerNorm

    @classmethod
    def pack(cls, layer: Any) -> "_PackedLayer":
        query, key, value, *others = linears(layer)
        mix, widen, narrow = map(_PackedLinear.pack, others)
        norms = layer.attention.output.LayerNorm, layer.output.LayerNorm
        return cls(_PackedLinear.pack(query, key, value), mix, widen, narrow, *norms)

    def __call__(self, states: Tensor, heads: int, mask: Tensor | None) -> Tensor:
        """(batch, tokens, width) float32 → the same."""
        query, key, value = self.attention(states).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)
        states = self.first_norm(self.mix(attended) + states)
        mixed: Tensor = self.second_norm(self.narrow(self.widen(states, "gelu")) + states)
        return mixed


class PackedText:
    """The features of a text encoder from packed weights, which are packed again when the encoder's have changed.

    Callable like the encoder, on the CPU. The features have a cosine of at least `LEAST_COSINE` to the encoder's own.
    The copy takes half the memory of the weights of the layers, which stay for all that is not a query.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self._packed: tuple[object, tuple[_PackedLayer, ...]] = (None, ())

    @classmethod
    def build(cls, encoder: Encoder) -> "PackedText | None":
        """Pack an encoder's weights; None where that is not possible here, not faster, or not exact enough."""
        if not isinstance(encoder, TextEncoder) or not _can_pack(encoder):
            return None
        packed = cls(encoder)
        inputs = encoder.example(_EXAMPLES)
        with torch.inference_mode():
            cosines = functional.cosine_similarity(packed(inputs), encoder(inputs))
        return packed if float(cosines.min()) >= LEAST_COSINE else None

    def __call__(self, inputs: dict[str, Tensor]) -> Tensor:
        """Prepared inputs → features (n, width) float32, without gradients."""
        network, attention_mask = self.encoder.network, inputs["attention_mask"]
        with torch.inference_mode():
            states = network.embeddings(input_ids=inputs["input_ids"], token_type_ids=inputs.get("token_type_ids"))
            mask = None if attention_mask.all() else attention_mask[:, None, None, :].bool()
            for layer in self._layers():
                states = layer(states, network.config.num_attention_heads, mask)
            features: Tensor = self.encoder.head(states, inputs.get("pooling_mask", attention_mask))
        return features

    def _layers(self) -> tuple[_PackedLayer, ...]:
        layers = self.encoder.network.encoder.layer
        linear = [weight for layer in layers for each in linears(layer) for weight in (each.weight, each.bias)]
        version = [(weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in linear]
        known, packed = self._packed
        if known != version:
            packed = tuple(_PackedLayer.pack(layer) for layer in layers)
            self._packed = (version, packed)
        return packed


def _can_pack(encoder: TextEncoder) -> bool:
    cpu = torch.device("cpu")
    if (
        platform.machine() not in _PROCESSORS
        or not has_native_bfloat16(cpu)
        or not torch.backends.mkldnn.is_available()
    ):
        return False
    if type(encoder.network) is not BertModel or not has_plain_layers(encoder.network):
        return False
    return all(weight.device == cpu and weight.dtype == torch.float32 for weight in encoder.network.parameters())
