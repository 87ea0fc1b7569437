"""Tiny Hugging Face models with random weights, saved as their authors would, tokenizer and processor included."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

WORDS = ["red", "green", "blue", "shoe", "shirt", "jacket", "cat", "kitten", "car", "a", "the", "with", "of", "and"]
WORDS += ["photo", "warm", "##s", "##ing"]
TEXTS = [
    "red shoes",
    "a photo of the cat",
    "warm jacket with green and blue shirts and the red shoes of a car",
    "kitten",
]


def pictures() -> list[Image.Image]:
    """Four pictures of different shapes and contents."""
    noise = np.random.default_rng(0)
    shapes = [(40, 60), (60, 40), (50, 50), (33, 90)]
    return [Image.fromarray(noise.integers(0, 255, (*shape, 3), dtype=np.uint8)) for shape in shapes]


def least_cosine(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The worst agreement of two sets of vectors."""
    assert ours.shape == theirs.shape
    return torch.cosine_similarity(ours.flatten(1), theirs.flatten(1)).min().item()


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def save_bert(folder: Path) -> Path:
    """A BERT of two layers with a WordPiece tokenizer; 16 positions."""
    torch.manual_seed(1)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=16,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    return folder


def save_sentence_model(
    folder: Path, pooling: dict[str, Any], *, dense: bool = False, normalize: bool = True, **extra: Any
) -> Path:
    """The BERT of `save_bert` as a sentence-transformers model; `extra` goes to config_sentence_transformers.json."""
    save_bert(folder)
    package = "sentence_transformers.models"
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if dense:
        modules.append(("2_Dense", "Dense"))
    if normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    listed = [{"idx": i, "name": str(i), "path": p, "type": f"{package}.{t}"} for i, (p, t) in enumerate(modules)]
    _write(folder / "modules.json", listed)
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **pooling})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {"prompts": {}, "default_prompt_name": None, **extra})
    if dense:
        activation = "torch.nn.modules.activation.Tanh"
        sizes = {"in_features": 32, "out_features": 20, "bias": True, "activation_function": activation}
        _write(folder / "2_Dense" / "config.json", sizes)
        layer = {"linear.weight": torch.randn(20, 32), "linear.bias": torch.randn(20)}
        save_file(layer, folder / "2_Dense" / "model.safetensors")
    return folder


def save_e5(folder: Path) -> Path:
    """A BERT with a SentencePiece tokenizer, mean pooling and no prompts in its files, as multilingual E5 has them."""
    torch.manual_seed(7)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*special, "▁", "▁query", "▁passage", ":", *(f"▁{word}" for word in WORDS if word.isalpha())]
    pieces += [chr(letter) for letter in range(ord("a"), ord("z") + 1)]
    vocabulary = [(piece, 0.0 if piece in special else -float(len(piece) < 2) - 1.0) for piece in [*pieces, "<mask>"]]
    transformers.XLMRobertaTokenizer(vocab=vocabulary).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.BertConfig(vocab_size=len(vocabulary), max_position_embeddings=40, pad_token_id=1, **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    package = "sentence_transformers.models"
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [{"idx": i, "name": str(i), "path": p, "type": f"{package}.{t}"} for i, (p, t) in enumerate(modules)]
    _write(folder / "modules.json", listed)
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    return folder


def save_vit(folder: Path) -> Path:
    """A ViT with a CLS token, 32 pixels, patches of 8."""
    torch.manual_seed(2)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.ViTConfig(image_size=32, patch_size=8, **sizes)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_dinov2(folder: Path, registers: bool = False) -> Path:
    """A DINOv2, with or without register tokens: resize to 36, crop 28, patches of 14."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    if registers:
        config = transformers.Dinov2WithRegistersConfig(num_register_tokens=3, **sizes)
        transformers.Dinov2WithRegistersModel(config).save_pretrained(folder)
    else:
        transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).save_pretrained(folder)
    transformers.BitImageProcessorPil(
        size={"shortest_edge": 36}, crop_size={"height": 28, "width": 28}
    ).save_pretrained(folder)
    return folder


def save_convnext(folder: Path) -> Path:
    """A ConvNeXt of four stages: 64 pixels become a 2×2 grid."""
    torch.manual_seed(4)
    config = transformers.ConvNextConfig(hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1], image_size=64)
    transformers.ConvNextModel(config).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def save_clip(folder: Path) -> Path:
    """A CLIP whose halves and shared space all have different widths (32, 48, 24)."""
    torch.manual_seed(5)
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1, "!": 2}
    for letter in "abcdefghijklmnopqrstuvwxyz":
        vocabulary |= {letter: len(vocabulary), f"{letter}</w>": len(vocabulary) + 1}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    text = {"hidden_size": 32, "vocab_size": len(vocabulary), "max_position_embeddings": 20, **layers}
    text |= {"bos_token_id": 0, "eos_token_id": 1}
    vision = {"hidden_size": 48, "image_size": 32, "patch_size": 8, **layers}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder


def save_siglip(folder: Path) -> Path:
    """A SigLIP with a Gemma tokenizer, as SigLIP 2 has it; texts of 10 tokens."""
    torch.manual_seed(6)
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4, "▁": 5}
    vocabulary |= {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz", start=6)}
    tokenizer = transformers.GemmaTokenizer(vocab=vocabulary, merges=[], model_input_names=["input_ids"])
    tokenizer.save_pretrained(folder)
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    text = {"vocab_size": len(vocabulary), "max_position_embeddings": 10, **layers}
    text |= {"bos_token_id": 2, "eos_token_id": 1}
    vision = {"image_size": 32, "patch_size": 8, **layers}
    transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_siglip2(folder: Path) -> Path:
    """A SigLIP 2 that keeps the shape of pictures: up to 16 patches of 8 pixels."""
    save_siglip(folder)
    torch.manual_seed(7)
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    text = {"vocab_size": 32, "max_position_embeddings": 10, "bos_token_id": 2, "eos_token_id": 1, **layers}
    vision = {"num_patches": 16, "patch_size": 8, **layers}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    transformers.Siglip2Model(config).save_pretrained(folder)
    transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)
    return folder


def save_resnet(folder: Path) -> Path:
    """A ResNet, with batch normalisation: 64 pixels become a 2×2 grid."""
    torch.manual_seed(8)
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    transformers.ResNetModel(transformers.ResNetConfig(**sizes)).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def save_swin(folder: Path) -> Path:
    """A Swin Transformer: 64 pixels become an 8×8 grid without a CLS token."""
    torch.manual_seed(9)
    sizes = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "patch_size": 4}
    transformers.SwinModel(transformers.SwinConfig(image_size=64, **sizes)).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def save_mpnet(folder: Path) -> Path:
    """An MPNet of three layers, which share their position biases, with the tokenizer of `save_bert`."""
    save_bert(folder)
    torch.manual_seed(10)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    vocabulary = len(WORDS) + 5
    config = transformers.MPNetConfig(vocab_size=vocabulary, max_position_embeddings=20, pad_token_id=0, **sizes)
    transformers.MPNetModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def save_modernbert(folder: Path) -> Path:
    """A ModernBERT of three layers, global and local attention in turns, with the tokenizer of `save_bert`."""
    save_bert(folder)
    torch.manual_seed(11)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    config = transformers.ModernBertConfig(vocab_size=len(WORDS) + 5, max_position_embeddings=16, **sizes, **special)
    transformers.ModernBertModel(config).save_pretrained(folder)
    return folder
