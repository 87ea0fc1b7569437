"""Kinds of fields: how the raw values of a column are read, and which encoder a field gets unless the settings say so.

An installed package brings another kind with

    [project.entry-points."likewise.modalities"]
    name = "package.module:READER"

where READER is a `ModalityReader`.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

from likewise.catalog.audio.decode import Sound
from likewise.catalog.audio.recording import AudioError, Recording
from likewise.catalog.catalog import Catalog
from likewise.catalog.report import AUDIO_PREFIX
from likewise.catalog.typed_values import FieldKind, read_typed_column
from likewise.encoders.installed import list_installed, load_installed
from likewise.encoders.sounds import LONGEST_SECONDS
from likewise.errors import UserError

GROUP = "likewise.modalities"
Values = list[tuple[Hashable, ...]]  # those of each item, none where it lacks the field


class UnusableValueError(Exception):
    """A value that cannot be opened; `cause` is what the catalogue's report counts it under."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def _open_as_is(catalog: Catalog, value: Any) -> Any:
    return value


@dataclass(frozen=True)
class ModalityReader:
    """How a kind of field gets from a catalogue to an encoder.

    Attributes:
        read: (catalogue, column) → the values of each item. They are small and hashable, such as numbers or the places
            of files; an item may have several, whose vectors are averaged. Training reads the first.
        encoder: the name of the default encoder.
        open: (catalogue, value) → what the encoder's `prepare` takes. It runs in threads, when a value is needed, and
            raises `UnusableValueError` for one that cannot be used.
        find_key: a text for a value, the same for the same content, under which features are cached.
    """

    read: Callable[[Catalog, str], Values]
    encoder: str
    open: Callable[[Catalog, Any], Any] = _open_as_is
    find_key: Callable[[Any], str] = repr


def _read_typed(kind: FieldKind, catalog: Catalog, column: str) -> Values:
    typed = read_typed_column(catalog.cells(column), kind)
    if typed.unusable:
        causes = ", ".join(f"{count:,} × {cause}" for cause, count in typed.unusable.items())
        catalog.report.note(f'cells of the column "{column}" that are no {kind} count as blank: {causes}')
    return [() if value is None or value == () else (value,) for value in typed.values]


def _read_recordings(catalog: Catalog, column: str) -> Values:
    return list(catalog.recordings(column))


def _open_recording(catalog: Catalog, recording: Recording) -> Sound:
    try:
        return catalog.open_recording(recording, LONGEST_SECONDS)
    except AudioError as error:
        raise UnusableValueError(AUDIO_PREFIX + error.cause) from None


READERS: dict[str, ModalityReader] = {
    "text": ModalityReader(partial(_read_typed, "text"), "lite-text"),
    "image": ModalityReader(lambda catalog, column: list(catalog.pictures), "lite-image"),
    "number": ModalityReader(partial(_read_typed, "number"), "number"),
    "category": ModalityReader(partial(_read_typed, "category"), "category"),
    "tags": ModalityReader(partial(_read_typed, "tags"), "tags"),
    "date": ModalityReader(partial(_read_typed, "date"), "date"),
    "boolean": ModalityReader(partial(_read_typed, "boolean"), "boolean"),
    "audio": ModalityReader(_read_recordings, "audio-words", _open_recording, lambda recording: recording.key),
}


def find_reader(kind: str, field: str) -> ModalityReader:
    """How fields of a kind are read.

    Args:
        field: for the message.

    Raises:
        UserError: there is no such kind, or the package that brings it does not work.
    """
    reader: ModalityReader | None = READERS.get(kind) or load_installed(GROUP, kind, ModalityReader)
    if reader is None:
        kinds = ", ".join([*READERS, *list_installed(GROUP)])
        raise UserError(
            f'the field "{field}" is declared as {kind}, which is no kind of field: install the package that brings '
            f"it, or choose one of {kinds}"
        )
    return reader
