"""Encoders by name: the embedded ones, any Hugging Face model by id or folder, and those that packages bring.

An installed package brings an encoder with

    [project.entry-points."likewise.encoders"]
    name = "package.module:EncoderClass"

where the class is an `Encoder` whose `family` is the name.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError

from likewise.encoders.base import DESCRIPTION_FILE, Description, Encoder, Modality
from likewise.encoders.hugging_face import HuggingFaceEncoder
from likewise.encoders.installed import list_installed, load_installed
from likewise.encoders.saved_files import check_saved_files
from likewise.errors import UserError
from likewise.parsing import read_json
from likewise.progress import say


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder with a short name."""

    name: str
    modality: Modality
    load: Callable[[int], Encoder]  # from a seed, which only random weights heed


_KNOWN: dict[str, KnownEncoder] = {}

# Where the classes are that `Encoder.family` names; imported on demand, since some of them load heavy libraries.
_FAMILIES = {
    "text": "likewise.encoders.text:TextEncoder",
    "quantized-text": "likewise.encoders.quantized_text:QuantizedTextEncoder",
    "vision": "likewise.encoders.vision:VisionEncoder",
    "dual-text": "likewise.encoders.clip:DualTextEncoder",
    "dual-image": "likewise.encoders.clip:DualImageEncoder",
    "efficientnet-lite0": "likewise.encoders.efficientnet:EfficientNetLite0",
    "scratch-text": "likewise.encoders.scratch_text:ScratchText",
    "scratch-image": "likewise.encoders.scratch_image:ScratchImage",
    "audio-words": "likewise.encoders.audio_words:AudioWords",
    "scratch-audio": "likewise.encoders.scratch_audio:ScratchAudio",
    "hugging-face-audio": "likewise.encoders.hugging_face_audio:HuggingFaceAudio",
    "number": "likewise.encoders.number:NumberEncoder",
    "category": "likewise.encoders.category:CategoryEncoder",
    "tags": "likewise.encoders.tags:TagsEncoder",
    "date": "likewise.encoders.date:DateEncoder",
    "boolean": "likewise.encoders.boolean:BooleanEncoder",
}
# Those that are fitted to a column, by the kind of field that they are for; names are those of the family.
_FITTED = {"number": "number", "category": "category", "tags": "tags", "date": "date", "boolean": "boolean"}
_FITTED |= {"audio-words": "audio"}
_HUGGING_FACE = ("text", "image", "audio")  # modalities of which any model can be named
GROUP = "likewise.encoders"


def load_encoder(name: str, modality: Modality, *, seed: int = 0, resolution: int | None = None) -> Encoder:
    """The encoder called `name`, with its weights, on the CPU and in evaluation mode.

    Args:
        name: a short name such as lite-text, a Hugging Face id or a folder.
        modality: "text", "image" or another kind: which half of a dual encoder, and a check for the others.
        seed: decides random weights (`scratch-text`, `scratch-image`).
        resolution: image encoders: pixels of a side, if not those that it has learned at.

    Raises:
        UserError: no such encoder, of the other modality, it cannot be loaded, or not see at that resolution.
    """
    installed = _find_installed(name, modality)
    encoder = _load_encoder(name, modality, seed) if installed is None else installed.build(seed)
    return encoder if resolution is None else encoder.with_resolution(resolution)


def find_fitted(name: str, modality: Modality) -> type[Encoder] | None:
    """The class of an encoder that is fitted to a column; None where this one is not.

    Raises:
        UserError: it is of another modality, or the package that brings it does not work.
    """
    if name in _FITTED:
        if modality != _FITTED[name]:
            raise UserError(f"the encoder {name} is for {_FITTED[name]}, not for {modality}: {_choices(modality)}")
        return _family(name)
    installed = _find_installed(name, modality)
    return installed if installed is not None and installed.fitted else None


def _find_installed(name: str, modality: Modality) -> type[Encoder] | None:
    """The class that an installed package brings for a kind of field other than text and image."""
    if name in _FAMILIES or name in _KNOWN or modality in ("text", "image"):
        return None
    return _load_installed(name)


def _load_installed(name: str) -> type[Encoder] | None:
    found: type[Encoder] | None = load_installed(GROUP, name, type)
    if found is not None and not (issubclass(found, Encoder) and found.family == name):
        raise UserError(f"{GROUP} {name} must be an Encoder whose family is {name}")
    return found


def _load_encoder(name: str, modality: Modality, seed: int) -> Encoder:
    if name in _KNOWN:
        known = _KNOWN[name]
        if known.modality != modality:
            raise UserError(f"the encoder {name} is for {known.modality}, not for {modality}: {_choices(modality)}")
        return known.load(seed)
    if modality not in _HUGGING_FACE:
        raise UserError(f"unknown {modality} encoder {name!r}: {_choices(modality)}")
    if "/" not in name and not Path(name).is_dir():
        near = difflib.get_close_matches(name, [k for k in _KNOWN if _KNOWN[k].modality == modality], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"unknown {modality} encoder {name!r}: {hint}{_choices(modality)}")
    return _hugging_face(name, modality)


def is_dual(name: str) -> bool:
    """Whether a Hugging Face id or folder is that of a dual encoder, one model for both texts and pictures.

    Raises:
        UserError: there is no such model, or its configuration cannot be read.
    """
    from likewise.encoders.clip import DUAL_MODELS
    from likewise.encoders.hub import model_folder, read_config

    if name in _KNOWN:
        return False
    if "/" not in name and not Path(name).is_dir():
        raise UserError(f"there is no folder {name!r}: give the folder of a model, or a Hugging Face id (owner/model)")
    return read_config(model_folder(name), name).model_type in DUAL_MODELS


def restore_encoder(folder: Path, modality: Modality) -> Encoder:
    """What `Encoder.save` wrote to `folder`: architecture, tokenizer and preprocessing, with random weights.

    Needs neither a hub nor the packages that weights came from; the caller loads the state dict.

    Raises:
        UserError: the folder holds no encoder, one of the other modality, a damaged one, or other files.
    """
    check_saved_files(folder)
    try:
        content = _SavedEncoder.model_validate(read_json(folder / DESCRIPTION_FILE))
        encoder_class = _family(content.family)
    except (OSError, ValueError, KeyError):
        raise UserError(
            f"{folder} holds no encoder that this version of likewise supports; train the model again"
        ) from None
    if content.modality != modality:
        raise UserError(f"the encoder in {folder} is for {content.modality}, not for {modality}")
    if encoder_class.saved is not None:
        try:
            encoder_class.saved.model_validate(content.description)
        except ValidationError as error:
            raise _damage_error(folder / DESCRIPTION_FILE, _first_fault(error)) from None
    try:
        encoder = encoder_class.restore(folder, content.name, modality, content.description)
        if isinstance(encoder, HuggingFaceEncoder):
            _try_out(encoder)
    except UserError:
        raise
    except Exception as error:  # transformers and tokenizers raise whatever they stumble over
        raise _damage_error(folder, _first_line(error)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust, which tokenizers are written in
            raise
        raise _damage_error(folder, _first_line(error)) from None
    if encoder.modality != modality:  # which the family decides, and not what the file says
        raise _damage_error(folder / DESCRIPTION_FILE, f"family: an encoder of {content.family} is not for {modality}")
    encoder.licence = content.licence
    return encoder


def _try_out(encoder: Encoder) -> None:
    """Run it once: tokenizers, image processors and networks look at some of their settings only when they are used."""
    with torch.enable_grad():  # else the weights, which are still to come, would be prepared for speed
        features = encoder(encoder.example(1))
    if features.shape[1:] != encoder.feature_shape:
        raise ValueError(f"its features are {tuple(features.shape[1:])} and not {encoder.feature_shape}")


class _SavedEncoder(Description):
    """The contents of `DESCRIPTION_FILE`."""

    family: str
    name: Annotated[str, Field(max_length=4_096)]
    modality: Modality
    description: dict[str, Any]
    licence: Annotated[str, Field(max_length=100)] | None = None


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))[:100]}: {first['msg'].lower()}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _damage_error(path: Path, reason: str) -> UserError:
    return UserError(f"the encoder in {path} is damaged ({reason}): train the model again, or get it again")


def _family(family: str) -> type[Encoder]:
    """The class of a family.

    Raises:
        KeyError: neither this version of likewise nor an installed package has it.
    """
    if family not in _FAMILIES:
        installed = _load_installed(family)
        if installed is None:
            raise KeyError(family)
        return installed
    module, class_name = _FAMILIES[family].split(":")
    encoder_class: type[Encoder] = getattr(import_module(module), class_name)
    return encoder_class


def _choices(modality: Modality) -> str:
    fitted = [name for name, kind in _FITTED.items() if kind == modality]
    names = ", ".join([*fitted, *(known.name for known in _KNOWN.values() if known.modality == modality)])
    if modality not in _HUGGING_FACE:
        fitting = [name for name in (names, *list_installed(GROUP)) if name]
        return f"choose one of {', '.join(fitting)}" if fitting else "no installed package brings one"
    return f"choose one of {names}, a Hugging Face id (owner/model) or a folder"


def _hugging_face(name: str, modality: Modality) -> Encoder:
    from likewise.encoders.clip import DUAL_MODELS, DualImageEncoder, DualTextEncoder
    from likewise.encoders.hub import model_folder, read_config, read_licence
    from likewise.encoders.text import TextEncoder
    from likewise.encoders.vision import VisionEncoder

    if modality == "audio":
        from likewise.encoders.hugging_face_audio import HuggingFaceAudio

        return _with_licence(HuggingFaceAudio.from_pretrained(name), read_licence(model_folder(name)))
    folder = model_folder(name)
    config = read_config(folder, name)
    encoder: Encoder
    if config.model_type in DUAL_MODELS:
        encoder = (DualTextEncoder if modality == "text" else DualImageEncoder).from_pretrained(name)
        return _with_licence(encoder, read_licence(folder))
    if hasattr(config, "vision_config"):
        raise UserError(
            f"the encoder {name} is of the type {config.model_type}, which likewise does not support: "
            f"of the models for both texts and pictures it knows {', '.join(DUAL_MODELS)}"
        )
    encoder = (TextEncoder if modality == "text" else VisionEncoder).from_pretrained(name)
    return _with_licence(encoder, read_licence(folder))


def _with_licence(encoder: Encoder, licence: str | None) -> Encoder:
    encoder.licence = licence
    _tell_licence(encoder.name, licence)
    return encoder


@cache
def _tell_licence(name: str, licence: str | None) -> None:
    """Print, once in a process, under which licence weights of others may be used."""
    named = f"have the licence {licence}" if licence is not None else "name no licence: their model card may say more"
    say(f"The weights of {name} {named}")


def _known(name: str, modality: Modality) -> Callable[[Callable[[int], Encoder]], Callable[[int], Encoder]]:
    def enter(load: Callable[[int], Encoder]) -> Callable[[int], Encoder]:
        _KNOWN[name] = KnownEncoder(name, modality, load)
        return load

    return enter


@_known("lite-text", "text")  # all-MiniLM-L6-v2
def _lite_text(seed: int) -> Encoder:
    from likewise.encoders.packaged import MINILM
    from likewise.encoders.text import TextEncoder

    encoder = TextEncoder.from_pretrained("lite-text", source=str(MINILM.locate().parent))
    encoder.licence = MINILM.licence
    return encoder


@_known("multilingual-lite-text", "text")  # multilingual-e5-small in 4 bits
def _multilingual_lite_text(seed: int) -> Encoder:
    from likewise.encoders.packaged import MULTILINGUAL_E5
    from likewise.encoders.quantized_text import QuantizedTextEncoder

    encoder = QuantizedTextEncoder.from_file("multilingual-lite-text", MULTILINGUAL_E5.locate())
    return _with_licence(encoder, MULTILINGUAL_E5.licence)


@_known("lite-image", "image")
def _lite_image(seed: int) -> Encoder:
    from likewise.encoders.efficientnet import EfficientNetLite0
    from likewise.encoders.packaged import EFFICIENTNET_LITE0

    encoder = EfficientNetLite0.from_pretrained()
    encoder.licence = EFFICIENTNET_LITE0.licence
    return encoder


@_known("scratch-text", "text")
def _scratch_text(seed: int) -> Encoder:
    from likewise.encoders.scratch_text import ScratchText

    return ScratchText.random(seed)


@_known("scratch-image", "image")
def _scratch_image(seed: int) -> Encoder:
    from likewise.encoders.scratch_image import ScratchImage

    return ScratchImage.random(seed)


@_known("scratch-audio", "audio")
def _scratch_audio(seed: int) -> Encoder:
    from likewise.encoders.scratch_audio import ScratchAudio

    return ScratchAudio.random(seed)
