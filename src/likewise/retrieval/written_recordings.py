"""Recordings that come with items that are written singly: uploads, and addresses in their cells."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from likewise.catalog.audio.decode import check_recording
from likewise.catalog.audio.formats import HEADER_BYTES, sniff
from likewise.catalog.audio.recording import AudioError, Recording
from likewise.catalog.audio.resolve import resolve_recordings
from likewise.catalog.catalog import default_cache
from likewise.catalog.given_rows import check_sources
from likewise.catalog.images.picture import compute_key
from likewise.catalog.report import AUDIO_PREFIX, Report, describe_audio_cause
from likewise.catalog.typed_values import read_typed_column
from likewise.config import AudioSettings
from likewise.errors import UserError
from likewise.retrieval.uploads import keep_file

UploadedRecordings = Mapping[str, Mapping[str, Sequence[bytes]]]  # by id, then by field

_ENDINGS = {"WAV": "wav", "FLAC": "flac", "Ogg": "ogg", "MP3": "mp3"}


@dataclass(frozen=True)
class RecordingRules:
    """What recordings of a written item may be, and where they may come from.

    Attributes:
        audio: limits; private hosts and local files are refused, whatever it says of them.
        allow_urls: whether addresses are fetched.
        cache: the folder of downloads; None: the user's cache folder.
    """

    audio: AudioSettings
    allow_urls: bool
    cache: Path | None


def find_recordings(
    rows: Sequence[Mapping[str, Any]],
    uploads: UploadedRecordings,
    fields: Sequence[str],
    rules: RecordingRules,
    folder: Path,
) -> list[dict[str, tuple[Recording, ...]]]:
    """The recordings of rows: those that were uploaded, then those at the addresses in their cells.

    Everything is checked before anything is kept.

    Args:
        rows: with an "id"; only the fields that a row has, or that something was uploaded for, are in its result.
        uploads: the bytes of recordings.
        fields: the columns of the index that hold recordings, and that the model hears.
        rules: limits.
        folder: where uploads are kept, under the SHA-256 of their bytes.

    Raises:
        AudioError: a recording cannot be used; the message names the item.
        UserError: an upload is for no item or field, or an address is refused.
    """
    _check_targets(uploads, [row["id"] for row in rows], fields)
    audio = rules.audio.model_copy(update={"allow_private_hosts": False, "allow_buckets": False})
    checked = {
        id: {field: [(data, _check_upload(id, data, audio)) for data in given] for field, given in by_field.items()}
        for id, by_field in uploads.items()
    }
    for id, by_field in checked.items():
        for field, named in by_field.items():
            if len(named) > audio.per_item:
                raise UserError(
                    f'item {id!r}: it may have {audio.per_item} recordings in "{field}", but {len(named)} were uploaded'
                )
    fetched = {field: _fetch(rows, field, audio, rules) for field in fields if any(field in row for row in rows)}
    found = []
    for number, row in enumerate(rows):
        given = checked.get(row["id"], {})
        recordings: dict[str, tuple[Recording, ...]] = {}
        for field in fields:
            if field in row or field in given:
                kept = [keep_file(Recording, data, name, folder) for data, name in given.get(field, ())]
                at_addresses = fetched[field][number] if field in fetched else ()
                distinct = {one.key: one for one in (*kept, *at_addresses)}
                recordings[field] = tuple(distinct.values())[: audio.per_item]
        found.append(recordings)
    return found


def _check_targets(uploads: UploadedRecordings, ids: Sequence[str], fields: Sequence[str]) -> None:
    for id, by_field in uploads.items():
        if id not in ids:
            raise UserError(f"there are recordings for {id!r:.60}, but no item of this id among those to write")
        for field in by_field:
            if field not in fields:
                known = f"those are {', '.join(fields)}" if fields else "there is none"
                raise UserError(
                    f'item {id!r}: there are recordings for "{field:.60}", which is no column of recordings that the '
                    f"model and the index have: {known}"
                )


def _check_upload(id: str, data: bytes, audio: AudioSettings) -> str:
    """See that bytes are a recording within the limits; returns the name of its file."""
    try:
        if len(data) > audio.max_bytes:
            raise AudioError("too-large")
        kind = sniff(data[:HEADER_BYTES])
        check_recording(io.BytesIO(data), audio)
    except AudioError as error:
        raise AudioError(error.cause, f"item {id!r}: {error}") from None
    return f"{compute_key(data)}.{_ENDINGS[kind]}"


def _fetch(
    rows: Sequence[Mapping[str, Any]], field: str, audio: AudioSettings, rules: RecordingRules
) -> list[tuple[Recording, ...]]:
    """The recordings at the addresses in a column, by row."""
    sources = [_read_sources(row.get(field)) for row in rows]
    ids = [row["id"] for row in rows]
    for id, named in zip(ids, sources, strict=True):
        check_sources(id, named, "recording")
        if named and not rules.allow_urls:
            raise UserError(
                f"item {id!r}: recordings are not fetched from addresses here: upload the recording, or allow it "
                "(in Python: allow_urls=True)"
            )
    if not any(sources):
        return [()] * len(rows)
    report = Report()
    cache = rules.cache or default_cache()
    found = resolve_recordings(sources, base=Path(), settings=audio, cache=cache, report=report, names=ids)
    for id, named, usable in zip(ids, sources, found, strict=True):
        if named and not usable:
            causes = [cause for cause, problem in report.problems.items() if id in problem.examples]
            cause = causes[0].removeprefix(AUDIO_PREFIX) if causes else "broken"
            raise AudioError(cause, f"item {id!r}: the recording {describe_audio_cause(cause)}")
    return found


def _read_sources(cell: Any) -> list[str]:
    """What a cell names, as a catalogue reads it."""
    if cell is None or cell == []:
        return []
    column = pl.Series([cell]) if isinstance(cell, list) else pl.Series([str(cell)], dtype=pl.String)
    (sources,) = read_typed_column(column, "audio").values
    return list(sources) if sources else [str(cell)]
