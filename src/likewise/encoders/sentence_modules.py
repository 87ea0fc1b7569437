"""What follows a sentence-transformers backbone: pooling, dense layers, normalisation, as its files describe them."""

from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from likewise.errors import UserError
from likewise.parsing import read_json

POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": nn.Identity,
    "torch.nn.modules.activation.Tanh": nn.Tanh,
    "torch.nn.modules.activation.ReLU": nn.ReLU,
    "torch.nn.modules.activation.GELU": nn.GELU,
    "torch.nn.modules.activation.SiLU": nn.SiLU,
    "torch.nn.modules.activation.Sigmoid": nn.Sigmoid,
}
_OLD_NAMES = {"cls_token": "cls", "max_tokens": "max", "mean_tokens": "mean", "weightedmean_tokens": "weightedmean"}


# Prompts that a model was trained with, and that its card asks for, but that its files do not hold.
E5_PROMPTS = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "passage"}
DOCUMENTED_PROMPTS: dict[str, dict[str, Any]] = {
    f"{language}e5-{size}{version}": E5_PROMPTS
    for language, version in (("multilingual-", ""), ("", ""), ("", "-v2"))
    for size in ("small", "base", "large")
}


class Pooling(nn.Module):
    """Token states to one vector; several modes are set side by side.

    The names are those of sentence-transformers: https://sbert.net/docs/package_reference/sentence_transformer/modules.html
    """

    def __init__(self, modes: list[str]) -> None:
        super().__init__()
        self.modes = modes

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(batch, length, width) and a (batch, length) mask of ones and zeros → (batch, modes · width)."""
        return torch.cat([_pool(mode, states, mask) for mode in self.modes], dim=-1)


def _pool(mode: str, states: Tensor, mask: Tensor) -> Tensor:
    rows = torch.arange(len(states), device=states.device)
    weights = mask.unsqueeze(-1).to(states.dtype)
    if mode == "cls":
        return states[rows, mask.int().argmax(dim=1)]
    if mode == "lasttoken":
        return states[rows, mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)]
    if mode == "max":
        return states.masked_fill(weights == 0, float("-inf")).amax(dim=1)
    if mode == "weightedmean":  # position weights start at the first token that is not padding
        weights = weights * mask.cumsum(dim=1).unsqueeze(-1).to(states.dtype)
    total, count = (states * weights).sum(dim=1), weights.sum(dim=1).clamp(min=1e-9)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)


class Dense(nn.Module):
    """A linear layer with an activation."""

    def __init__(self, width_in: int, width_out: int, bias: bool, activation: str) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width_out, bias=bias)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, pooled: Tensor) -> Tensor:
        return self.activation(self.linear(pooled))


class Normalize(nn.Module):
    """To unit length."""

    def forward(self, pooled: Tensor) -> Tensor:
        return nn.functional.normalize(pooled, dim=-1)


class SentenceHead(nn.Module):
    """Pooling, then the modules after it, built from `description` (see `read_description`)."""

    def __init__(self, description: dict[str, Any]) -> None:
        super().__init__()
        self.pooling = Pooling(description["pooling"])
        layers = [Normalize() if layer == "normalize" else Dense(**layer) for layer in description["layers"]]
        self.layers = nn.Sequential(*layers)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return self.layers(self.pooling(states, mask))

    def width(self, backbone_width: int) -> int:
        """Length of the vectors that come out."""
        dense = [layer.linear.out_features for layer in self.layers if isinstance(layer, Dense)]
        return dense[-1] if dense else backbone_width * len(self.pooling.modes)


def read_description(folder: Path, name: str) -> dict[str, Any]:
    """The files of a sentence-transformers model as one plain dictionary; a bare transformer is pooled by the mean.

    Keys: "pooling" (list of modes), "layers" ("normalize", or the arguments of `Dense`), "include_prompt",
    "max_length" (int or None), "lower_case", "prompts" (name → text), "default_prompt" (name or None).

    Raises:
        UserError: the model has a module that likewise does not know.
    """
    transformer = _read(folder / "sentence_bert_config.json")
    prompts = _read(folder / "config_sentence_transformers.json")
    if not any((prompts.get("prompts") or {}).values()):
        prompts = DOCUMENTED_PROMPTS.get(PurePath(name).name, prompts)
    description: dict[str, Any] = {
        "pooling": ["mean"],
        "layers": [],
        "include_prompt": True,
        "max_length": transformer.get("max_seq_length"),
        "lower_case": bool(transformer.get("do_lower_case", False)),
        "prompts": {key: text for key, text in (prompts.get("prompts") or {}).items() if text},
        "default_prompt": prompts.get("default_prompt_name"),
    }
    for module in _read(folder / "modules.json") or []:
        kind, config = module["type"].rsplit(".", 1)[-1], _read(folder / module["path"] / "config.json")
        if kind == "Pooling":
            description["pooling"] = _pooling_modes(config, name)
            description["include_prompt"] = config.get("include_prompt", True)
        elif kind == "Normalize":
            description["layers"].append("normalize")
        elif kind == "Dense":
            description["layers"].append(_dense_arguments(config, name))
        elif kind not in ("Transformer", "Dropout"):
            raise UserError(
                f"the text encoder {name} has a module {kind!r} that likewise does not support; choose another"
            )
    return description


def load_dense_weights(head: SentenceHead, folder: Path) -> None:
    """Fill the dense layers of `head` from a model's folder; safetensors only."""
    paths = [
        folder / module["path"] for module in _read(folder / "modules.json") or [] if module["type"].endswith("Dense")
    ]
    for path, layer in zip(paths, [layer for layer in head.layers if isinstance(layer, Dense)], strict=True):
        if not (path / "model.safetensors").is_file():
            raise UserError(f"{path} holds no model.safetensors; likewise loads no other format of weights")
        layer.load_state_dict(load_file(path / "model.safetensors"))


def _read(path: Path) -> Any:
    return read_json(path) if path.is_file() else {}


def _pooling_modes(config: dict[str, Any], name: str) -> list[str]:
    modes = config.get("pooling_mode")
    if modes is None:
        flags = [
            key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on
        ]
        found = {_OLD_NAMES.get(flag, flag) for flag in flags}
        modes = [
            mode
            for mode in ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
            if mode in found
        ]
    modes = [modes] if isinstance(modes, str) else list(modes)
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown:
        raise UserError(
            f"the text encoder {name} pools by {unknown[0]!r}, which likewise does not support; choose another"
        )
    return modes or ["mean"]


def _dense_arguments(config: dict[str, Any], name: str) -> dict[str, Any]:
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if activation not in ACTIVATIONS or config.get("use_residual"):
        raise UserError(f"the text encoder {name} has a dense layer that likewise does not support ({activation})")
    return {
        "width_in": config["in_features"],
        "width_out": config["out_features"],
        "bias": config.get("bias", True),
        "activation": activation,
    }
