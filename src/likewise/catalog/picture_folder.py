"""Reader of folders of pictures: every picture is an item, titled by the words of its file's name.

A name that says nothing, as cameras give them, leaves the title to the folder that the picture lies in.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from urllib.parse import quote

import polars as pl

from likewise.catalog.images.decode import open_regular_file
from likewise.catalog.images.formats import HEADER_BYTES, sniff
from likewise.catalog.images.picture import PictureError
from likewise.catalog.report import Report
from likewise.errors import UserError

_HIDDEN = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"})  # previews and bins of systems, not pictures
_TABLES = (".csv", ".tsv", ".parquet", ".jsonl")
_DEEPEST = 64  # folders within folders
_EDGE = r"[^\\%\x00-\x1f\x7f\s]"
_SAFE_PATH = re.compile(
    rf"(?!//|[A-Za-z][A-Za-z0-9+.\-]+:){_EDGE}(?:[^\\%\x00-\x1f\x7f]*{_EDGE})?"
)  # a path as it stands
_CAMEL_CASE = re.compile(r"(?<=[a-zß-ÿ]{2})(?=[A-ZÀ-Þ])")
_COPY = re.compile(r"\(\d+\)")
_TIME = re.compile(r"(?<!\d)\d{4}([-_.])\d\d\1\d\d(?!\d)|(?<!\d)\d\d([-_.])\d\d\2\d\d(?!\d)")
_SEPARATORS = re.compile(r"[\W_]+")
# What cameras, telephones and programs put into names: codes, and words that people use in titles, too.
_CODE = re.compile(r"(?:img|imag|dsc|dscf|dscn|dsci|pxl|mvimg|mvi|dcim|jpg|jpeg|png|cimg|gopr|dji)\d*", re.IGNORECASE)
_CAMERA_WORD = re.compile(
    r"(?:image|images|pic|pict|picture|pictures|photo|photos|foto|fotos|sam|vid|wa|whatsapp|screenshot|screen|shot|scan|"
    r"copy|edited|edit|burst|pano|hdr|camera|untitled|download|downloads|unnamed|p|wp|at|am|pm)"
    r"(\d*)",
    re.IGNORECASE,
)
_COUNTER = re.compile(r"0\d*|\d{5,}|\d+x\d+")  # of a camera, a time or a size; other numbers may be part of a name
_DIGEST = re.compile(r"(?=.*\d)[0-9a-f]{8,}", re.IGNORECASE)
_FOLDER_OF_A_CAMERA = re.compile(r"\d{3}[A-Z_]{5}")  # such as 100CANON


_CAUSES = {"not-a-picture": "other-file", "format-not-allowed": "other-format"}


@dataclass(frozen=True)
class _Row:
    id: str
    title: str | None
    description: None
    image: list[str]
    folder: str | None
    file: str


_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "title": pl.String(),
    "description": pl.String(),
    "image": pl.List(pl.String),
    "folder": pl.String(),
    "file": pl.String(),
}


def read_picture_folder(folder: Path, report: Report) -> pl.DataFrame:
    """List the pictures in a folder and the folders in it; what is passed over is counted by cause.

    The contents of a file decide whether it is a picture. Links that lead out of the folder are not followed.

    Args:
        folder: the folder.
        report: receives counts and notes.

    Returns:
        A table of items: "id" (the path below the folder, which stays the same when the folder moves), "title" (words
        of the file's name; null where neither it nor a folder says anything), "description" (null), "image" (the path),
        "folder" (null at the top) and "file" (the name).

    Raises:
        UserError: it holds no picture, or cannot be listed.
    """
    root = Path(os.path.realpath(folder))
    rows: dict[str, _Row] = {}
    from_folders: list[str] = []
    for path in _walk(root, root, report):
        report.rows += 1
        place = path.relative_to(root).as_posix()
        if any("\ud800" <= letter <= "\udfff" for letter in place):  # bytes that are not UTF-8
            report.count("undecodable-name", ascii(place))
            continue
        if (cause := _find_fault(path, root)) is not None:
            report.count(cause, place)
            continue
        row, is_from_folder = _build_row(place)
        if row.id in rows:
            report.count("duplicate-id", row.id)
            continue
        rows[row.id] = row
        if is_from_folder:
            from_folders.append(row.id)
        elif row.title is None:
            report.count("blank-title", row.id)
    if not rows:
        raise UserError(_explain_no_picture(folder))
    report.count_rows("title-from-folder", from_folders)
    _count_equal_titles(rows, report)
    if tables := _list_tables(folder):
        report.note(f"the folder also holds the table {tables[0]}, which is not read: name it instead to use it")
    report.usable = len(rows)
    return pl.DataFrame([astuple(row) for row in rows.values()], schema=_SCHEMA, orient="row")


def title_from_name(name: str) -> str | None:
    """The words of a file's or folder's name: "IMG_0012_redCar (2)" is "red Car"; None where it has none."""
    plain = _TIME.sub(" 0 ", _COPY.sub(" ", unicodedata.normalize("NFC", name)))
    parts = _drop_counted([part for part in _SEPARATORS.split(plain) if part])
    words = [word for part in parts for word in _CAMEL_CASE.split(part) if not _is_noise(word)]
    return " ".join(words) if any(_is_word(word) for word in words) else None


def _drop_counted(parts: Sequence[str]) -> list[str]:
    """Parts of a name without counters and codes, and without the words of cameras that a counter follows."""
    kept: list[str] = []
    is_counted = False
    for part in reversed(parts):
        word = _CAMERA_WORD.fullmatch(part)
        is_noise = _is_noise(part) or (word is not None and (is_counted or _COUNTER.fullmatch(word[1]) is not None))
        is_counted = is_noise and (word is not None or _COUNTER.fullmatch(part) is not None)
        if not is_noise:
            kept.append(part)
    return kept[::-1]


def _is_noise(part: str) -> bool:
    return any(noise.fullmatch(part) for noise in (_CODE, _COUNTER, _DIGEST))


def _is_word(text: str) -> bool:
    """Whether a word says something by itself, as neither numbers nor what cameras write do."""
    return not text.isdecimal() and (len(text) > 1 or not text.isascii()) and _CAMERA_WORD.fullmatch(text) is None


def _walk(folder: Path, root: Path, report: Report, depth: int = 0) -> Iterator[Path]:
    """The files below a folder in the order of their names, without hidden ones and links that lead out of the root."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if folder == root:
            raise UserError(f"cannot read the folder {folder}: {error.strerror}") from None
        report.count("unreadable-folder", folder.relative_to(root).as_posix())
        return
    folders: list[Path] = []
    for entry in listed:
        path = folder / entry.name
        place = ascii(path.relative_to(root).as_posix())[1:-1]
        if entry.name.startswith(".") or entry.name in _HIDDEN:
            report.count("hidden", place)
        elif entry.is_symlink() and not _stays_within(path, root):
            report.count("link-out-of-folder", place)
        elif entry.is_dir():
            if entry.is_symlink() or depth == _DEEPEST:
                report.count("link-to-folder" if entry.is_symlink() else "unreadable-folder", place)
            else:
                folders.append(path)
        else:
            yield path
    for inner in folders:
        yield from _walk(inner, root, report, depth + 1)


def _stays_within(path: Path, root: Path) -> bool:
    target = Path(os.path.realpath(path))
    return target.is_relative_to(root) and target.exists()


def _find_fault(path: Path, root: Path) -> str | None:
    """The cause why a file is no item; None for a picture by its first bytes."""
    try:
        with open_regular_file(os.path.realpath(path), root) as file:
            sniff(file.read(HEADER_BYTES))
    except PictureError as error:
        return _CAUSES.get(error.cause, "unreadable-file")
    except OSError:
        return "unreadable-file"
    return None


def _build_row(place: str) -> tuple[_Row, bool]:
    """The item of a path below the folder, and whether its title is that of a folder."""
    *folders, name = place.split("/")
    title = title_from_name(name.rpartition(".")[0] or name)
    inherited = None
    if title is None:
        named = (title_from_name(folder) for folder in reversed(folders) if not _FOLDER_OF_A_CAMERA.fullmatch(folder))
        inherited = next((found for found in named if found is not None), None)
    source = place if _SAFE_PATH.fullmatch(place) else f"file:{quote(place)}"
    id = unicodedata.normalize("NFC", place)
    return _Row(id, title or inherited, None, [source], "/".join(folders) or None, name), inherited is not None


def _count_equal_titles(rows: dict[str, _Row], report: Report) -> None:
    """Count names that occur in several folders; titles that folders gave are expected to be equal."""
    seen: set[str] = set()
    repeated = []
    for row in rows.values():
        name = row.file.rpartition(".")[0]
        if name in seen:
            repeated.append(row.id)
        seen.add(name)
    report.count_rows("equal-name", repeated)


def _list_tables(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.suffix.lower() in _TABLES)
    except OSError:
        return []


def _explain_no_picture(folder: Path) -> str:
    if tables := _list_tables(folder):
        return f"{folder} is a folder without pictures: name the catalogue's file, such as {tables[0]}"
    return f"{folder} is a folder without pictures: name a folder of pictures, or a catalogue's file"
