"""Pictures and recordings of items that are written singly: uploads, and files at the addresses in their cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl

from likewise.catalog.audio.recording import AudioError, Recording
from likewise.catalog.audio.resolve import resolve_recordings
from likewise.catalog.catalog import default_cache
from likewise.catalog.given_rows import check_sources
from likewise.catalog.images.picture import FoundFile, Picture, PictureError
from likewise.catalog.images.resolve import resolve_pictures
from likewise.catalog.report import AUDIO_PREFIX, Report
from likewise.catalog.typed_values import read_typed_column
from likewise.config import AudioSettings, ImageSettings
from likewise.errors import UserError
from likewise.retrieval.uploads import check_uploaded_picture, check_uploaded_recording, keep_file

UploadedPictures = Mapping[str, Sequence[bytes]]  # by id
UploadedRecordings = Mapping[str, Mapping[str, Sequence[bytes]]]  # by id, then by field

Found = TypeVar("Found", bound=FoundFile)
Limits = TypeVar("Limits", ImageSettings, AudioSettings)


@dataclass(frozen=True)
class FileRules:
    """What pictures and recordings of a written item may be, and where they may come from.

    Attributes:
        images, audio: limits. Private hosts, buckets and local files are refused, even if these allow them.
        allow_urls: whether addresses are fetched.
        cache: the folder of downloads; None: the user's cache folder.
    """

    images: ImageSettings
    audio: AudioSettings
    allow_urls: bool
    cache: Path | None


def find_pictures(
    rows: Sequence[Mapping[str, Any]], uploads: UploadedPictures, rules: FileRules, folder: Path
) -> list[tuple[Picture, ...]]:
    """Find the pictures of each row: those that were uploaded, then those at its addresses.

    Everything is checked before anything is kept.

    Args:
        rows: each with an "id"; addresses are in "image".
        uploads: the bytes of pictures.
        rules: limits.
        folder: where uploads are kept, under the SHA-256 of their bytes.

    Raises:
        PictureError: a picture cannot be used; the message names the item.
        UserError: an upload is for no item, there are too many, or an address is refused.
    """
    ids = [row["id"] for row in rows]
    _check_ids(uploads, ids, "pictures")
    sources = [list(row.get("image") or []) for row in rows]
    column = _check_column(_PICTURES, ids, uploads, sources, rules.images, rules)
    return [column.keep(number, folder) for number in range(len(rows))]


def find_recordings(
    rows: Sequence[Mapping[str, Any]],
    uploads: UploadedRecordings,
    fields: Sequence[str],
    rules: FileRules,
    folder: Path,
) -> list[dict[str, tuple[Recording, ...]]]:
    """Find the recordings of each row by field: those that were uploaded, then those at the addresses in its cells.

    Everything is checked before anything is kept.

    Args:
        rows: each with an "id". Its result has only the fields that it has, or that something was uploaded for.
        uploads: the bytes of recordings.
        fields: the columns of the index that hold recordings, and that the model hears.
        rules, folder: see `find_pictures`.

    Raises:
        AudioError: a recording cannot be used; the message names the item.
        UserError: an upload is for no item or field, there are too many, or an address is refused.
    """
    ids = [row["id"] for row in rows]
    _check_ids(uploads, ids, "recordings")
    _check_fields(uploads, fields)
    columns = {}
    for field in fields:
        uploaded = {id: by_field[field] for id, by_field in uploads.items() if field in by_field}
        sources = [_read_sources(row.get(field)) for row in rows]
        columns[field] = _check_column(_RECORDINGS, ids, uploaded, sources, rules.audio, rules, f' in "{field}"')
    return [
        {
            field: column.keep(number, folder)
            for field, column in columns.items()
            if field in row or field in uploads.get(row["id"], {})
        }
        for number, row in enumerate(rows)
    ]


@dataclass(frozen=True)
class _Kind(Generic[Found, Limits]):
    """How files of one kind are checked and found.

    Attributes:
        noun: what messages call one.
        build: makes what is found, of a file's key and path.
        check: sees that bytes are one within the limits; returns the name of its file.
        resolve: finds those at addresses.
        error: of one that cannot be used, by its cause.
        prefix: of causes in reports.
    """

    noun: str
    build: type[Found]
    check: Callable[[bytes, Limits], str]
    resolve: Callable[..., list[tuple[Found, ...]]]
    error: type[PictureError] | type[AudioError]
    prefix: str = ""


_PICTURES = _Kind[Picture, ImageSettings]("picture", Picture, check_uploaded_picture, resolve_pictures, PictureError)
_RECORDINGS = _Kind[Recording, AudioSettings](
    "recording", Recording, check_uploaded_recording, resolve_recordings, AudioError, AUDIO_PREFIX
)


@dataclass(frozen=True)
class _CheckedColumn(Generic[Found]):
    """The files of a column by row, of which uploads are not kept yet.

    Attributes:
        uploads: their bytes and the names of their files.
        fetched: those at addresses.
        most: of one item.
    """

    build: type[Found]
    uploads: list[list[tuple[bytes, str]]]
    fetched: list[tuple[Found, ...]]
    most: int

    def keep(self, row: int, folder: Path) -> tuple[Found, ...]:
        """Keep the uploads of a row in a folder; returns all its files, each once."""
        kept = [keep_file(self.build, data, name, folder) for data, name in self.uploads[row]]
        distinct = {one.key: one for one in (*kept, *self.fetched[row])}
        return tuple(distinct.values())[: self.most]


def _check_column(
    kind: _Kind[Found, Limits],
    ids: Sequence[str],
    uploads: Mapping[str, Sequence[bytes]],
    sources: Sequence[Sequence[str]],
    limits: Limits,
    rules: FileRules,
    place: str = "",
) -> _CheckedColumn[Found]:
    """Check the uploads of a column by id, and fetch what is at the addresses of each row.

    Args:
        place: names the column in messages.
    """
    limits = limits.model_copy(update={"allow_private_hosts": False, "allow_buckets": False})
    checked = {id: [(data, _check_upload(kind, id, data, limits)) for data in given] for id, given in uploads.items()}
    for id, uploaded in checked.items():
        if len(uploaded) > limits.per_item:
            allowed = f"{limits.per_item} {kind.noun}s{place}"
            raise UserError(f"item {id!r}: it may have {allowed}, but {len(uploaded)} were uploaded")
    fetched = _fetch(kind, ids, sources, limits, rules)
    return _CheckedColumn(kind.build, [checked.get(id, []) for id in ids], fetched, limits.per_item)


def _check_upload(kind: _Kind[Found, Limits], id: str, data: bytes, limits: Limits) -> str:
    try:
        return kind.check(data, limits)
    except kind.error as error:
        raise kind.error(error.cause, f"item {id!r}: {error}") from None


def _fetch(
    kind: _Kind[Found, Limits],
    ids: Sequence[str],
    sources: Sequence[Sequence[str]],
    limits: Limits,
    rules: FileRules,
) -> list[tuple[Found, ...]]:
    """The files at the addresses of each row."""
    noun = kind.noun
    for id, named in zip(ids, sources, strict=True):
        check_sources(id, named, noun)
        if named and not rules.allow_urls:
            raise UserError(
                f"item {id!r}: {noun}s are not fetched from addresses here: upload the {noun}, or allow it "
                "(in Python: allow_urls=True)"
            )
    if not any(sources):
        return [()] * len(ids)
    report = Report()
    cache = rules.cache or default_cache()
    found = kind.resolve(sources, base=Path(), settings=limits, cache=cache, report=report, names=ids)
    for id, named, usable in zip(ids, sources, found, strict=True):
        if named and not usable:
            causes = [cause for cause, problem in report.problems.items() if id in problem.examples]
            cause = causes[0].removeprefix(kind.prefix) if causes else "broken"
            raise kind.error(cause, f"item {id!r}: {kind.error(cause)}")
    return found


def _check_ids(uploads: Mapping[str, object], ids: Sequence[str], nouns: str) -> None:
    for id in uploads:
        if id not in ids:
            raise UserError(f"there are {nouns} for {id!r:.60}, but no item of this id among those to write")


def _check_fields(uploads: UploadedRecordings, fields: Sequence[str]) -> None:
    for id, by_field in uploads.items():
        for field in by_field:
            if field not in fields:
                known = f"those are {', '.join(fields)}" if fields else "there is none"
                raise UserError(
                    f'item {id!r}: there are recordings for "{field:.60}", which is no column of recordings that the '
                    f"model and the index have: {known}"
                )


def _read_sources(cell: Any) -> list[str]:
    """What a cell names, as a catalogue reads it."""
    if cell is None or cell == []:
        return []
    column = pl.Series([cell]) if isinstance(cell, list) else pl.Series([str(cell)], dtype=pl.String)
    (sources,) = read_typed_column(column, "audio").values
    return list(sources) if sources else [str(cell)]
