"""Tiny Hugging Face audio models with random weights, saved with their feature extractors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

_SPEECH: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 8, 4),
    "conv_stride": (10, 8, 4),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def save_ast(folder: Path) -> Path:
    """An Audio Spectrogram Transformer that reads a second."""
    torch.manual_seed(1)
    config = transformers.ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_length=100,
        num_mel_bins=32,
    )
    transformers.ASTModel(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(max_length=100, num_mel_bins=32).save_pretrained(folder)
    return folder


def save_wav2vec2(folder: Path, norm: str = "layer", mask: bool = True) -> Path:
    """A Wav2Vec2 with three convolutions; its extractor gives a mask of samples."""
    torch.manual_seed(1)
    config = transformers.Wav2Vec2Config(**_SPEECH, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=mask).save_pretrained(folder)
    return folder


def save_hubert(folder: Path) -> Path:
    """A HuBERT as its base models are: group norm, and an extractor that gives no mask."""
    torch.manual_seed(1)
    transformers.HubertModel(transformers.HubertConfig(**_SPEECH, feat_extract_norm="group")).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def save_clap(folder: Path, fusion: bool = True) -> Path:
    """A CLAP of which only the audio half is used; an extractor as of its published models."""
    torch.manual_seed(1)
    audio = {
        "hidden_size": 64,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "num_hidden_layers": 2,
        "num_mel_bins": 64,
        "spec_size": 256,
        "window_size": 4,
        "patch_size": 16,
        "patch_stride": [16, 16],
        "projection_dim": 24,
        "enable_fusion": fusion,
    }
    audio["hidden_size"] = 16
    text = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "projection_dim": 24,
    }
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=24)
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        feature_size=64, max_length_s=2, truncation="fusion" if fusion else "rand_trunc"
    ).save_pretrained(folder)
    return folder


SAVE: dict[str, Callable[[Path], Path]] = {
    "ast": save_ast,
    "wav2vec2": save_wav2vec2,
    "wav2vec2-base": lambda folder: save_wav2vec2(folder, norm="group", mask=False),
    "wav2vec2-base-masked": lambda folder: save_wav2vec2(folder, norm="group"),
    "hubert-base": save_hubert,
    "clap": save_clap,
    "clap-unfused": lambda folder: save_clap(folder, fusion=False),
}
