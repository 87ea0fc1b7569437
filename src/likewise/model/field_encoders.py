"""The encoders of a network: those that all fields of a kind share, and those that are fitted to one column."""

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.config import OWN_FIELDS, ModelSettings
from likewise.encoders.base import Encoder
from likewise.encoders.modalities import ModalityReader, UnusableValueError, find_reader
from likewise.encoders.registry import find_fitted, load_encoder, restore_encoder
from likewise.errors import UserError
from likewise.seeds import Stream, random_stream

_BACKBONES = ("text", "image")  # which every network has, whatever its fields are


def name_module(field: str) -> str:
    """The name of a field's modules and files: letters, digits, hyphens and underscores, whatever the column's name.

    Two fields have different names also where a file system ignores case.
    """
    if field in OWN_FIELDS:
        return field
    plain = re.sub(r"[^a-z0-9]+", "_", field.lower()).strip("_")[:40]
    return f"column-{plain}-{hashlib.sha256(field.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def name_encoder(settings: ModelSettings, field: str) -> str:
    """The name of a field's encoder in the network: its kind, or the field's own name where it is fitted to the column.

    Raises:
        UserError: there is no such kind or encoder.
    """
    kind = settings.fields[field]
    return name_module(field) if _find_fitted(settings, field) is not None else kind


def build_encoders(
    settings: ModelSettings,
    seed: int,
    catalog: Catalog | None = None,
    rows: NDArray[np.int64] | None = None,
    fitted: Mapping[str, Encoder] | None = None,
) -> dict[str, Encoder]:
    """The encoders of a network by their names, "text" and "image" first.

    Args:
        settings: fields and encoders.
        seed: decides random weights.
        catalog: that encoders are fitted to.
        rows: of the catalogue, which count; None: all.
        fitted: encoders that are fitted already, by their names in the network.

    Raises:
        UserError: an unknown kind, encoder or column, an encoder for a kind that no field has, or a column without a
            value.
    """
    _check_kinds(settings)
    encoders = {
        "text": load_encoder(settings.text_encoder, "text", seed=seed),
        "image": load_encoder(settings.image_encoder, "image", seed=seed, resolution=settings.resolution),
    }
    for field, kind in settings.fields.items():
        if kind in _BACKBONES:
            continue
        encoder_class = _find_fitted(settings, field)
        if encoder_class is None:
            if kind not in encoders:
                encoders[kind] = load_encoder(_choose_encoder(settings, field), kind, seed=seed)
        elif fitted is not None and name_module(field) in fitted:
            encoders[name_module(field)] = fitted[name_module(field)]
        else:
            encoders[name_module(field)] = _fit_encoder(encoder_class, field, kind, catalog, rows, seed)
    for encoder in encoders.values():
        _check_pooled(encoder)
    return encoders


def restore_encoders(settings: ModelSettings, folder: Path) -> dict[str, Encoder]:
    """The encoders of a saved network by their names, with random weights.

    Args:
        settings: of the network.
        folder: with one folder for each encoder (`Encoder.save`).

    Raises:
        UserError: one is missing or damaged.
    """
    kinds = dict(zip(_BACKBONES, _BACKBONES, strict=True))
    kinds |= {name_encoder(settings, field): kind for field, kind in settings.fields.items()}
    encoders = {name: restore_encoder(folder / name, kind) for name, kind in kinds.items()}
    for encoder in encoders.values():
        _check_pooled(encoder)
    return encoders


def _check_kinds(settings: ModelSettings) -> None:
    kinds = sorted(set(settings.fields.values()) - set(_BACKBONES))
    for kind in settings.encoders:
        if kind not in kinds:
            near = difflib.get_close_matches(kind, kinds, n=1)
            hint = f"did you mean {near[0]}?" if near else f"declare one with --field COLUMN={kind}, or omit the entry"
            raise UserError(f"encoders names an encoder for {kind}, but no field is of that kind: {hint}")


def _choose_encoder(settings: ModelSettings, field: str) -> str:
    kind = settings.fields[field]
    return settings.encoders.get(kind) or find_reader(kind, field).encoder


def _find_fitted(settings: ModelSettings, field: str) -> type[Encoder] | None:
    kind = settings.fields[field]
    return None if kind in _BACKBONES else find_fitted(_choose_encoder(settings, field), kind)


def _fit_encoder(
    encoder_class: type[Encoder],
    field: str,
    kind: str,
    catalog: Catalog | None,
    rows: NDArray[np.int64] | None,
    seed: int,
) -> Encoder:
    if catalog is None:
        raise UserError(
            f'the field "{field}" ({kind}) is fitted to a catalogue: train the model, or give Model.create a catalog'
        )
    reader = find_reader(kind, field)
    read = reader.read(catalog, field)  # all of it, as how cells are written decides what they mean
    shown = read if rows is None else [read[row] for row in rows]
    filled = [each[0] for each in shown if each]
    most = encoder_class.most_fitted
    if most is not None and len(filled) > most:
        chosen = random_stream(seed, Stream.FITTED_VALUES).choice(len(filled), most, replace=False)
        filled = [filled[place] for place in np.sort(chosen)]
    condense = encoder_class.condense
    values = [condense(value) for one in filled for value in _open(reader, catalog, one)]
    if not values:
        where = "has no cell" if rows is None or not any(read) else "has, in the rows that train, no cell"
        raise UserError(
            f'the column "{field}" {where} that can be read as {kind}: leave the field out, or declare another kind'
        )
    return encoder_class.fit(values, seed)


def _open(reader: ModalityReader, catalog: Catalog, value: Any) -> Iterator[Any]:
    """What the encoder takes, or nothing; the report counts what cannot be used when all values are encoded."""
    with suppress(UnusableValueError):
        yield reader.open(catalog, value)


def _check_pooled(encoder: Encoder) -> None:
    if encoder.modality not in _BACKBONES and encoder.grid is not None:
        raise UserError(f"the encoder {encoder.name} gives a grid of features, which only encoders of pictures may")
