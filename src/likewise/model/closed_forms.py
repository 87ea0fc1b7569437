"""Closed forms on disk: the maps of a run's baselines and of its start, each kept once."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from likewise.errors import UserError
from likewise.files import lies_within, make_folder, replace_file
from likewise.model.heads import KernelMap, PictureMap, empty_map
from likewise.model.network import Network
from likewise.model.run_folder import CLOSED_FORMS

BaseMaps = Mapping[str, PictureMap | KernelMap]  # field → what `Network.set_base_map` takes

CLOSED_FORM_NAMES = ("ridge", "kernel ridge", "start")
_LINEAR, _KERNEL = {"weight", "bias"}, {"centre", "scale", "examples", "weight", "bias"}
_START_LOGITS = "start.field_logits"
_PLACES = TypeAdapter(dict[str, dict[str, str]])  # name → field → the number of its map


def save_closed_forms(run: Path, closed_forms: Mapping[str, BaseMaps], start_logits: Tensor | None = None) -> None:
    """Keep closed forms in a run: float32, a kernel's examples float16; a map that several of them use is kept once.

    Args:
        run: the run folder.
        closed_forms: maps by field, by a name of `CLOSED_FORM_NAMES`.
        start_logits: (fields,) the logarithms of the weights with which the start fuses fields; None: equal ones.
    """
    numbers: dict[int, str] = {}
    tensors: dict[str, Tensor] = {}
    for base in (base for maps in closed_forms.values() for base in maps.values()):
        number = numbers.setdefault(id(base), str(len(numbers)))
        own = {name: tensor for name, tensor in base.state_dict().items() if not name.startswith("base.")}
        for name, tensor in own.items():
            dtype = torch.float16 if name == "examples" else torch.float32
            tensors[f"{number}.{name}"] = tensor.detach().to("cpu", dtype).contiguous()
    if start_logits is not None:
        tensors[_START_LOGITS] = start_logits.detach().to("cpu", torch.float32).contiguous()
    places = {name: {field: numbers[id(base)] for field, base in maps.items()} for name, maps in closed_forms.items()}
    make_folder((run / CLOSED_FORMS).parent)
    with replace_file(run / CLOSED_FORMS, SafetensorError) as temporary:
        save_file(tensors, temporary, {"closed_forms": json.dumps(places)})


def load_closed_forms(run: Path, network: Network) -> dict[str, dict[str, PictureMap | KernelMap]]:
    """What `save_closed_forms` kept, by name and field; empty where the run has none.

    Args:
        run: the run folder.
        network: untrained; the maps have to fit its heads.

    Raises:
        UserError: the file is damaged, or belongs to another architecture.
    """
    path = run / CLOSED_FORMS
    places, tensors = _read(path, run)
    built: dict[tuple[str, str], PictureMap | KernelMap] = {}
    for name, maps in places.items():
        for field, number in maps.items():
            base = built.get((field, number)) or _build_map(tensors, number, network, field)
            if base is None or name not in CLOSED_FORM_NAMES:
                raise UserError(f"{path} belongs to another architecture: train the model again")
            built[field, number] = base
    return {name: {field: built[field, number] for field, number in maps.items()} for name, maps in places.items()}


def load_start_logits(run: Path, network: Network) -> Tensor:
    """(fields,) the logarithms of the weights with which the start of a run fuses fields; zeros where none are kept.

    Args:
        run: the run folder.
        network: with as many fields as the run's.

    Raises:
        UserError: the file is damaged, or belongs to another architecture.
    """
    path = run / CLOSED_FORMS
    logits = _read(path, run)[1].get(_START_LOGITS)
    if logits is None:
        return torch.zeros(len(network.fields))
    if logits.dtype != torch.float32 or logits.shape != (len(network.fields),) or not logits.isfinite().all():
        raise UserError(f"{path} belongs to another architecture: train the model again")
    return logits


def _read(path: Path, run: Path) -> tuple[dict[str, dict[str, str]], dict[str, Tensor]]:
    """The places of the maps, and all tensors; empty where there is no file."""
    if not path.is_file():
        return {}, {}
    if not lies_within(path, run):
        raise UserError(f"{path} is a link that points outside the run: put the file itself there")
    try:
        with safe_open(path, "pt") as file:
            places = _PLACES.validate_json(file.metadata()["closed_forms"], strict=True)
            return places, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):  # pydantic's own are such
        raise UserError(f"{path} is damaged: train the model again") from None


def _build_map(
    tensors: Mapping[str, Tensor], number: str, network: Network, field: str
) -> PictureMap | KernelMap | None:
    """The map with this number for the head of a field; None where there is none that fits it."""
    own = {
        name.removeprefix(f"{number}."): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{number}.")
    }
    if field not in network.fields or any(tensor.dtype != torch.float32 for tensor in own.values()):
        return None
    width, dim = network.base_map(field).in_features, network.dim
    if own.keys() == _LINEAR and own["weight"].shape == (dim, width) and own["bias"].shape == (dim,):
        return PictureMap.from_weights(own["weight"], own["bias"])
    if own.keys() != _KERNEL or own["examples"].shape[1:] != (width,):
        return None
    kernel = empty_map({f"kernel.{name}": tensor for name, tensor in own.items()}, "kernel", dim)
    if kernel is None or any(own[name].shape != tensor.shape for name, tensor in kernel.state_dict().items()):
        return None
    kernel.load_state_dict(own)
    return kernel
