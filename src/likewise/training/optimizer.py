"""Optimizer: which parameters train, and how fast each part of the network learns."""

import math
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from torch import nn

from likewise.config import TrainConfig
from likewise.encoders.base import Encoder
from likewise.errors import UserError
from likewise.model.field_encoders import name_module
from likewise.model.network import Network

_ENCODERS = "network.encoders."
_NUMBER = re.compile(r"\.(\d+)\.")


_REFERENCE_BATCH = 128  # the batch size that the configured learning rates are meant for


def build_optimizer(objective: nn.Module, network: Network, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that train; those that `config.lr_scales` freezes no longer require gradients.

    Args:
        objective: loss and network.
        network: a part of the objective.
        config: rates and weight decay; the rates are scaled by the root of the batch size.

    Raises:
        UserError: a pattern of `config.lr_scales` fits no parameter that trains.
    """
    trained = find_trained_parameters(objective, config)
    groups = group_parameters(trained, network, config, math.sqrt(config.rows_per_batch / _REFERENCE_BATCH))
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def find_trained_parameters(objective: nn.Module, config: TrainConfig) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name; those that `config.lr_scales` freezes no longer do.

    Raises:
        UserError: a pattern of `config.lr_scales` fits no parameter that trains; of an effort, in any of its stages.
    """
    known = dict(objective.named_parameters())
    trained = {name: weight for name, weight in known.items() if weight.requires_grad}
    named = trained if config.effort is None else known
    for pattern, rate in config.lr_scales.items():
        fitting = [name for name in trained if _fits(name, pattern)]
        if not any(_fits(name, pattern) for name in named):
            parts = sorted({".".join(name.removeprefix("network.").split(".")[:2]) for name in trained})
            raise UserError(f"lr_scales: no trainable parameter matches {pattern!r}; the names are {', '.join(parts)}")
        for name in fitting if rate is None else ():
            trained.pop(name).requires_grad_(False)
    return trained


def group_parameters(
    trained: dict[str, nn.Parameter], network: Network, config: TrainConfig, scale: float
) -> list[dict[str, Any]]:
    """Groups for the optimizer, each with its rate in "lr" and "peak".

    Heads and fusion learn at `learning_rate`, text heads at a share of it, encoders at `encoder_learning_rate` or what
    suits them, each block at `layer_decay` times the rate of the next one, and all that times what the first pattern of
    `lr_scales` that fits a name says. Vectors (norms, biases, gates, the temperature) have no weight decay.

    Args:
        trained: by name, with the prefix "network.".
        scale: of all rates, for a batch of another size than they are meant for.
    """
    depths = _depths(list(trained))
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, weight in trained.items():
        rate = scale * _part_rate(name, network, config) * config.layer_decay ** depths.get(name, 0)
        rate *= next((factor or 0.0 for pattern, factor in config.lr_scales.items() if _fits(name, pattern)), 1.0)
        members.setdefault((rate, weight.ndim >= 2), []).append(weight)
    return [
        {"params": weights, "lr": rate, "peak": rate, "weight_decay": config.weight_decay if is_matrix else 0.0}
        for (rate, is_matrix), weights in members.items()
    ]


def _part_rate(name: str, network: Network, config: TrainConfig) -> float:
    if name.startswith(_ENCODERS):
        encoder = cast(Encoder, network.encoders[name.removeprefix(_ENCODERS).split(".")[0]])
        return config.encoder_learning_rate or encoder.learning_rate
    heads = ["network.query_head.", *(f"network.heads.{name_module(field)}." for field in network.text_fields)]
    return config.learning_rate * ((config.text_lr_scale or 0.0) if name.startswith(tuple(heads)) else 1.0)


def _depths(names: list[str]) -> dict[str, int]:
    """How many blocks lie behind each parameter of an encoder; the blocks are numbered in the names."""
    depths: dict[str, int] = {}
    for modality in ("text", "image"):
        blocks = dict(_numbered([name for name in names if name.startswith(f"{_ENCODERS}{modality}.")]))
        highest = max(blocks.values(), default=0)
        depths |= {name: highest - block for name, block in blocks.items()}
    return depths


def _numbered(names: list[str]) -> Iterator[tuple[str, int]]:
    """Names and their blocks; what stands before the first block counts as one more, what follows with the last."""
    found = [int(match[1]) if (match := _NUMBER.search(name)) else None for name in names]
    numbers = [number for number in found if number is not None]
    for name, place, number in zip(names, range(len(names)), found, strict=True):
        if number is not None:
            yield name, number
        elif numbers:
            embeds = all(later is None for later in found[:place])
            yield name, min(numbers) - 1 if embeds else max(numbers)


def _fits(name: str, pattern: str) -> bool:
    """Whether a pattern fits a name, or the name of a part that it belongs to."""
    short = name.removeprefix("network.")
    return fnmatchcase(short, pattern) or fnmatchcase(short, f"{pattern}.*")
