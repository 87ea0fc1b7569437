"""A Hugging Face id or folder becomes a local folder of safetensors weights and configuration files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import logging as transformers_logging

from likewise.encoders.saved_files import check_numbers
from likewise.errors import UserError
from likewise.parsing import read_json

Loaded = TypeVar("Loaded")

_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]
_UNWANTED = ["onnx/*", "openvino/*", "coreml/*", "*/checkpoint-*"]
_SECONDS_TO_ANSWER = 5.0
_MOST_CARD_BYTES = 65_536
_FRONT_MATTER = re.compile(r"\A\ufeff?---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_LICENCE = re.compile(
    r"^(license|license_name):[ \t]*[\"']?([A-Za-z0-9][A-Za-z0-9 .+_\-]{0,60})[\"']?[ \t]*$", re.MULTILINE
)
_PLAIN_ATTENTION = ("eager", "sdpa", None)


def model_folder(name: str) -> Path:
    """The folder of a model: `name` itself if it is one, else its copy in the Hugging Face cache, or a fresh one.

    Raises:
        UserError: no such folder, no such model, no network, or a model without safetensors weights.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _check_files(folder, name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(
            f"the encoder {name!r} is a folder that does not exist; check the path, or give a Hugging Face id"
        )
    try:
        cached = Path(snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED, local_files_only=True))
        if _is_complete(cached):
            return cached
    except LocalEntryNotFoundError:
        pass  # not downloaded yet
    except HFValidationError:
        raise UserError(f"{name!r} is neither a known encoder, a folder nor a Hugging Face id") from None
    return _check_files(_download(name), name)


def _download(name: str) -> Path:
    way_out = "check the name and the network, or give the folder of a copy"
    try:
        return Path(
            snapshot_download(
                name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED, etag_timeout=_SECONDS_TO_ANSWER, max_workers=4
            )
        )
    except GatedRepoError:
        raise UserError(
            f"the encoder {name} asks for a licence to be accepted on its Hugging Face page first"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(f"Hugging Face has no public model {name!r}: {way_out}") from None
    except Exception:  # whatever stops a download, the user can do the same about it
        raise UserError(
            f"the encoder {name!r} is not in the local cache and could not be downloaded: {way_out}"
        ) from None


def _is_complete(folder: Path) -> bool:
    """A cache may hold no more than the configuration of a model that someone once looked at."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _check_files(folder: Path, name: str) -> Path:
    if not (folder / "config.json").is_file():
        raise UserError(f"the encoder {name} holds no config.json: it is not a Hugging Face model")
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"the encoder {name} holds no *.safetensors; likewise loads no other format of weights")
    return folder


def read_licence(folder: Path) -> str | None:
    """The licence of a model's weights as its card (README.md) names it, such as "apache-2.0"; None where it does not.

    Args:
        folder: of the model.
    """
    try:
        with (folder / "README.md").open("rb") as file:
            card = file.read(_MOST_CARD_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return None
    head = _FRONT_MATTER.match(card)
    named = dict(_LICENCE.findall(head[1])) if head else {}
    licence = named.get("license")
    return licence if licence != "other" else named.get("license_name")


def read_config(folder: Path, name: str, config_class: Any = AutoConfig) -> Any:
    """The model's configuration, without executing code of its own, now or later.

    Raises:
        UserError: the architecture is unknown to transformers, needs remote code, or asks for something huge.
    """
    _check_config(folder / "config.json", name)
    config = guard_remote_code(
        name, lambda: config_class.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    )
    _choose_own_kernels(config)
    return config


def _check_config(path: Path, name: str) -> None:
    try:
        check_numbers(path.name, read_json(path))
    except (OSError, ValueError) as error:
        raise UserError(f"the encoder {name} cannot be loaded: its {path.name} is damaged ({error})") from None


def _choose_own_kernels(config: Any) -> None:
    """Let transformers choose how attention is computed: a configuration can name code on a hub for it."""
    if config._attn_implementation not in _PLAIN_ATTENTION:
        config._attn_implementation = None
    if config._experts_implementation not in _PLAIN_ATTENTION:
        config._experts_implementation = None
    for part in config.sub_configs:
        if isinstance(inner := getattr(config, part, None), PreTrainedConfig):
            _choose_own_kernels(inner)


def load_network(model_class: Any, folder: Path, name: str, config: Any, **options: Any) -> Any:
    """A transformers model with its weights, float32, from safetensors only.

    Raises:
        UserError: the weights cannot be read, or lack some: random numbers never stand in for pretrained ones.
    """
    network, loading = guard_remote_code(
        name,
        lambda: model_class.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            **options,
        ),
    )
    if loading["missing_keys"]:
        example = sorted(loading["missing_keys"])[0]
        raise UserError(f"the weights of the encoder {name} are incomplete: they lack {example}")
    return network


def guard_remote_code(name: str, load: Callable[[], Loaded]) -> Loaded:
    """Call `load` quietly, and turn what a broken or foreign model raises into one sentence."""
    verbosity, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        return load()
    except ImportError as error:
        raise UserError(f"the encoder {name} needs a library that is not installed: {_first_line(error)}") from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"the encoder {name} cannot be loaded: {_first_line(error)}") from None
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
