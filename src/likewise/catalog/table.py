"""Reader of catalogue files. The contents decide the format; the name is only a hint."""

import codecs
import difflib
import gzip
import io
import zlib
from pathlib import Path, PurePosixPath

import polars as pl

from likewise.catalog.charset import detect_encoding
from likewise.catalog.columns import check_width
from likewise.catalog.delimited import RawTable, read_delimited
from likewise.catalog.image_cells import quote_paths
from likewise.catalog.json_lines import format_cell, read_json_lines
from likewise.catalog.parquet import MAGIC, read_parquet
from likewise.catalog.report import Report
from likewise.errors import UserError

_FOREIGN = {  # first bytes → what such a file is, and the way out
    b"PK\x03\x04": "an Excel workbook or a ZIP archive: save the table as CSV first",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the table as CSV first",
    b"%PDF": "a PDF document: a catalogue is a CSV, Parquet or JSONL file",
    b"\x89PNG": "a picture: a catalogue is a CSV, Parquet or JSONL file",
    b"\xff\xd8\xff": "a picture: a catalogue is a CSV, Parquet or JSONL file",
    b"SQLite format 3": "an SQLite database: export the table as CSV first",
    b"ARROW1": "an Arrow file: write it as Parquet first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: decompress it first",
    b"BZh": "compressed with bzip2: decompress it first",
    b"\xfd7zXZ": "compressed with xz: decompress it first",
}
_JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
_BLANK_BYTES = b"\0 \t\r\n\xef\xbb\xbf\xff\xfe"
_MOST_DECOMPRESSED = 100_000_000  # bytes that any gzip file may expand to
_GREATEST_EXPANSION = 100  # times the size of a larger one


def read_table(path: Path, report: Report) -> RawTable:
    """Read CSV, TSV, Parquet or JSON Lines, gzip-compressed or not.

    Args:
        path: the file.
        report: problems, `rows` and the assumed encoding are written to it.

    Raises:
        UserError: there is no such file, or it holds no table.
    """
    return parse_table(_read_bytes(path), str(path), report)


def parse_table(data: bytes, name: str, report: Report) -> RawTable:
    """Read the bytes of a file as `read_table` does.

    Args:
        data: CSV, TSV, Parquet or JSON Lines, gzip-compressed or not.
        name: the file's path or address, for messages; its suffix is a hint.
        report: as in `read_table`.

    Raises:
        UserError: they hold no table.
    """
    if not data[:4096].strip(_BLANK_BYTES) and not data.strip(_BLANK_BYTES):
        raise UserError(f"{name} is empty: a catalogue needs a header and at least one row")
    suffixes = [suffix.lower() for suffix in PurePosixPath(name.replace("\\", "/")).suffixes]
    if data.startswith(b"\x1f\x8b"):
        data = _gunzip(data, name)
        suffixes = [suffix for suffix in suffixes if suffix != ".gz"]
    if data.startswith(MAGIC):
        return _parse_parquet(data, name, report)
    _refuse_foreign(data, name)
    suffix = suffixes[-1] if suffixes else ""
    if suffix in (".parquet", ".pq"):
        raise UserError(f"{name} is not a Parquet file, although its name says so")
    encoding = detect_encoding(data)
    if encoding not in ("utf-8", "utf-8-sig"):
        report.note(f"the file is read as {encoding}, because it is not UTF-8")
    if suffix in _JSON_SUFFIXES or (suffix != ".csv" and data.lstrip()[:1] == b"{"):
        return read_json_lines(data, encoding=encoding, name=name, report=report)
    separator = "\t" if suffix in (".tsv", ".tab") else ","
    return read_delimited(data, encoding=encoding, name=name, default_separator=separator, report=report)


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder: name the catalogue's file")
        if path.is_char_device() or path.is_block_device():
            raise UserError(f"{path} is a device: name the catalogue's file")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}{_suggest_file(path)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _suggest_file(path: Path) -> str:
    try:
        near = difflib.get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _gunzip(data: bytes, name: str) -> bytes:
    most = max(_MOST_DECOMPRESSED, _GREATEST_EXPANSION * len(data))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(most + 1)
    except (OSError, EOFError, zlib.error):
        raise UserError(f"{name} is damaged: it starts like a gzip file but does not decompress") from None
    if len(text) > most:
        raise UserError(f"{name} expands to more than {most / 1e6:,.0f} MB: decompress it first if you trust it")
    return text


def _refuse_foreign(data: bytes, name: str) -> None:
    for magic, explanation in _FOREIGN.items():
        if data.startswith(magic):
            raise UserError(f"{name} is {explanation}")
    head = data[:4096]
    opening = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower()
    if opening.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise UserError(
            f"{name} is a web page or XML, perhaps an error page saved as a table: download the table again"
        )
    control = sum(head.count(code) for code in range(1, 32) if code not in b"\t\n\x0b\x0c\r\x1b")
    if control > len(head) // 20 and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{name} is not a text file: a catalogue is a CSV, Parquet or JSONL file")


def _parse_parquet(data: bytes, name: str, report: Report) -> RawTable:
    try:
        frame = read_parquet(data)
    except ValueError as error:
        raise UserError(f"{name} starts like a Parquet file, but cannot be read: {error}") from None
    return flatten_frame(frame, name, report)


def flatten_frame(frame: pl.DataFrame, name: str, report: Report) -> RawTable:
    """Turn a typed table into cells as those of a file, with the files that stand in its cells kept apart.

    Args:
        frame: columns of any types; bytes may stand in a column, or in the field "bytes" of a struct whose field "path"
            names the file, or in lists of either.
        name: of the file or the kind of table, for messages.
        report: receives the number of rows.

    Raises:
        UserError: it has no rows or too many columns.
    """
    if frame.width == 0 or frame.height == 0:
        raise UserError(f"{name} has no rows: a catalogue needs at least one item")
    check_width(frame.width, name)
    columns: list[pl.Series] = []
    embedded: dict[str, pl.Series] = {}
    for column in frame.iter_columns():
        files, names = _split_files(column)
        if files is not None:
            embedded[column.name] = files
        columns.append(_flatten(column if names is None else names))
    report.rows = frame.height
    return RawTable(pl.DataFrame(columns), pl.int_range(1, frame.height + 1, eager=True).rename("row"), embedded)


def _split_files(column: pl.Series) -> tuple[pl.Series | None, pl.Series | None]:
    """The bytes of a column's files, and their names; (None, None) for a column that holds none."""
    kind, name = column.dtype, column.name
    inner = kind.inner if isinstance(kind, pl.List) else kind
    nothing = pl.Series(name, [None], pl.String).new_from_index(0, len(column))
    if inner == pl.Binary:
        return column, nothing
    if not isinstance(inner, pl.Struct):
        return None, None
    types = {field.name: field.dtype for field in inner.fields}
    if types.get("bytes") != pl.Binary:
        return None, None
    table, is_list = column.to_frame(name), isinstance(kind, pl.List)

    def select(part: str) -> pl.Series:
        of_struct = pl.element().struct.field(part) if is_list else pl.col(name).struct.field(part)
        return table.select((pl.col(name).list.eval(of_struct) if is_list else of_struct).alias(name)).to_series()

    if types.get("path") != pl.String:
        return select("bytes"), nothing
    paths = select("path")
    return select("bytes"), paths if is_list else quote_paths(paths)


def _flatten(column: pl.Series) -> pl.Series:
    """Numbers and booleans as they are, dates as ISO text, lists and structs as JSON."""
    kind = column.dtype
    if kind == pl.Boolean or kind.is_integer():
        return column
    if kind.is_float():
        return column.fill_nan(None)
    if kind.is_decimal():
        return column.cast(pl.Float64)
    if kind == pl.Duration:
        return column.dt.total_seconds()
    if kind.is_nested() or kind == pl.Object:
        return pl.Series(column.name, [format_cell(value) for value in column.to_list()], pl.String)
    return column.cast(pl.String)
