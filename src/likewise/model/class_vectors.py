"""Vectors of class names on disk: encoding two phrases for each of 1,000 classes takes seconds, and never changes."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from likewise.files import DamageError, make_folder, read_record, write_record

Vectors = NDArray[np.float32]

_FORMAT = 1
_PHRASES = ("{}", "a {}")  # in which the names of classes are looked up: queries are either


def recall_class_vectors(
    names: Sequence[str],
    encode: Callable[[list[str]], Vectors],
    dim: int,
    *,
    encoder: Sequence[str] = (),
    cache: Path | None = None,
) -> Tensor:
    """Unit vectors of class names, each said in `_PHRASES`: encoded once for a cache folder, then read.

    Args:
        names: of the classes.
        encode: phrases → (n, dim) unit vectors.
        dim: of the vectors.
        encoder: what `encode` depends on, such as the fingerprint of the text encoder; other values give another file.
        cache: a folder; None: the names are encoded. A file in it that is damaged is written again.

    Returns:
        (classes, dim) float32 on the CPU.

    Raises:
        UserError: the file cannot be written.
    """
    if cache is None:
        return _encode(names, encode)
    asked = json.dumps([list(encoder), dim, list(_PHRASES), list(names)]).encode()
    path = cache / "class-names" / f"{hashlib.sha256(asked).hexdigest()[:32]}.json"
    try:
        return _read(path, len(names), dim)
    except (FileNotFoundError, DamageError):
        vectors = _encode(names, encode)
    make_folder(path.parent)
    content = base64.b64encode(vectors.numpy().astype("<f4").tobytes()).decode()
    write_record(path, {"float32": content}, _FORMAT)
    return vectors


def _encode(names: Sequence[str], encode: Callable[[list[str]], Vectors]) -> Tensor:
    said = [encode([phrase.format(name) for name in names]) for phrase in _PHRASES]
    return functional.normalize(torch.from_numpy(np.sum(said, axis=0)), dim=-1)


def _read(path: Path, classes: int, dim: int) -> Tensor:
    """(classes, dim) what was written.

    Raises:
        FileNotFoundError, DamageError: it is not there, or is something else.
    """
    try:
        content = base64.b64decode(read_record(path, _FORMAT)["float32"], validate=True)
        vectors = np.frombuffer(content, "<f4").reshape(classes, dim).astype(np.float32)
    except (KeyError, TypeError, ValueError):  # DamageError among them
        raise DamageError(f"{path} is damaged") from None
    if not np.isfinite(vectors).all():
        raise DamageError(f"{path} is damaged")
    return torch.from_numpy(vectors)
