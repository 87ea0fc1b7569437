"""Weights on disk: safetensors, replaced atomically."""

import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from likewise.errors import UserError
from likewise.files import replace_file
from likewise.model.field_encoders import name_module
from likewise.model.heads import empty_map
from likewise.model.network import Network


def write_weights(path: Path, network: Network) -> None:
    """Write all weights of the network, encoders included, atomically."""
    with replace_file(path, SafetensorError) as temporary:
        save_file(distinct_weights(network), temporary)


def read_weights(path: Path, network: Network) -> None:
    """Load all weights of the network from a safetensors file.

    Raises:
        UserError: the file is damaged or belongs to another architecture.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot read the weights in {path}: {error}") from None
    set_weights(network, weights, source=str(path))


def count_weights(path: Path) -> tuple[int, int]:
    """How many numbers a safetensors file holds, and in how many tensors, by its header, which fits its size.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 (it is no dictionary)
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot read the weights in {path}: {error}") from None
    return sum(math.prod(shape) for shape in shapes), len(shapes)


def distinct_weights(network: Network) -> dict[str, Tensor]:
    """The state dict (contiguous, on the CPU) with tensors that share memory named once, as safetensors wants it."""
    seen: set[int] = set()
    weights = {}
    for name, tensor in network.state_dict().items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue
        seen.add(tensor.data_ptr())
        weights[name] = tensor.detach().cpu().contiguous()
    return weights


def set_weights(network: Network, weights: dict[str, Tensor], source: str) -> None:
    """Load `distinct_weights` into a network of the same architecture.

    Raises:
        UserError: a tensor is missing, unknown, or has another shape.
    """
    for field in network.fields:
        kernel = empty_map(weights, f"heads.{name_module(field)}.base", network.dim)
        if kernel is not None and kernel.in_features == network.base_map(field).in_features:
            network.set_base_map(field, kernel)
    expected = distinct_weights(network)
    different = [
        name
        for name in expected.keys() | weights.keys()
        if name not in expected or name not in weights or expected[name].shape != weights[name].shape
    ]
    if different:
        raise UserError(f"{source} belongs to another architecture ({sorted(different)[0]} does not fit): train again")
    with torch.no_grad():
        network.load_state_dict(weights, strict=False)
