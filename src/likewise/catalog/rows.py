"""Reading a catalogue into a clean table of items: our columns, and the source's own as metadata."""

import html
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from likewise.catalog.audio.formats import HEADER_BYTES
from likewise.catalog.audio.formats import sniff as sniff_recording
from likewise.catalog.audio.recording import AudioError
from likewise.catalog.columns import COLUMNS, FIELDS, ColumnMap, map_columns
from likewise.catalog.delimited import RawTable
from likewise.catalog.frames import read_frame
from likewise.catalog.image_cells import blank_long_cells, parse_image_cells
from likewise.catalog.images.buckets import is_bucket_url, parent_url, parse_catalog_url, read_catalog
from likewise.catalog.images.embedded import EmbeddedPictures
from likewise.catalog.images.sources import compute_longest_source
from likewise.catalog.numbers import INTEGER, NUMBER
from likewise.catalog.picture_folder import read_picture_folder
from likewise.catalog.report import Report
from likewise.catalog.table import parse_table, read_table
from likewise.catalog.text import CONTROL
from likewise.config import ImageSettings
from likewise.errors import UserError

NULL_WORDS = ("null", "nan")  # what programs write for nothing; None and NA may be real titles
_HIDDEN = r"(?is)<(?:script\b.*?</script|style\b.*?</style|!--.*?--)\s*>"
_TAG = (
    r"(?i)</?(?:a|abbr|b|big|blockquote|br|center|code|dd|div|dl|dt|em|font|h[1-6]|hr|i|iframe|img|label|li|link|meta|ol|"
    r"p|pre|script|section|small|span|strong|style|sub|sup|table|tbody|td|tfoot|th|thead|tr|u|ul)(?:\s[^<>]*)?/?>"
)
_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"
_ROWS_TRIED_FIRST = 1000
_ADDRESS_OF_ONE_SLASH = re.compile(r"(s3|gs|hf):[/\\]", re.IGNORECASE)
_LEAST_DISTINCT = 0.5  # share of distinct values below which a guessed id column is none


@dataclass(frozen=True)
class Items:
    """What a catalogue is made of.

    Attributes:
        table: "id" (unique strings), "title" and "description" (String, null where blank), "image" (List(String), empty
            where there is none), then the source's own columns under their own names; those called like one of ours,
            but not used as such, are prefixed "original_".
        base: the folder that relative paths of pictures start from, or the address of one in a bucket.
        embedded: pictures whose bytes stood in the cells.
        root: the folder that pictures have to lie in; None: anywhere.
    """

    table: pl.DataFrame
    base: Path | str
    embedded: EmbeddedPictures
    root: Path | None = None


def read_items(
    source: Any,
    columns: Mapping[str, str] | None,
    report: Report,
    images: ImageSettings = ImageSettings(),  # noqa: B008 - immutable
) -> Items:
    """Read a catalogue into a table of items; every row that is left out is counted by cause.

    Args:
        source: a CSV, Parquet or JSON Lines file, its address in a bucket, a folder of pictures, or a table in memory.
        columns: our name → the source's name, where they should not be guessed.
        report: receives counts and notes.
        images: whether buckets are allowed; an image cell that is too long for any picture of `max_bytes` is counted
            and counts as blank.

    Raises:
        UserError: it cannot be read as a table, or has no column for the title.
    """
    if not isinstance(source, str | Path):
        return build_items(read_frame(source, report), Path(), columns, report, images)
    if not str(source).strip():
        raise UserError("the name of the catalogue is blank: name a file or a folder, such as . for the current one")
    if is_bucket_url(str(source)):
        url = parse_catalog_url(str(source), images.allow_buckets)
        return build_items(parse_table(read_catalog(url), url, report), parent_url(url), columns, report, images)
    path = Path(source).expanduser()
    if (lost := _ADDRESS_OF_ONE_SLASH.match(str(path))) and not os.path.exists(path):  # noqa: PTH110 - as below
        address = f"{lost[1]}://{str(path)[lost.end() :]}"
        raise UserError(
            f"there is no file {path}: an address has two slashes, {address}, of which a Path keeps one, so give it "
            "as a text"
        )
    if os.path.isdir(path):  # noqa: PTH112 - false where it cannot be seen
        if columns:
            raise UserError(f"{path} is a folder of pictures, which has no columns to map: omit them")
        return Items(read_picture_folder(path, report), path, EmbeddedPictures(), path)
    return build_items(read_table(path, report), path.parent, columns, report, images)


def name_source(source: Any) -> Path | str:
    """What messages and reports call a source: the path or address as it was given, or the kind of table."""
    if not isinstance(source, str | Path):
        return type(source).__name__
    return str(source) if is_bucket_url(str(source)) else Path(source).expanduser()


def locate_source(source: Any) -> str | None:
    """The absolute path or the address of a source; None for a table in memory."""
    if not isinstance(source, str | Path):
        return None
    return str(source) if is_bucket_url(str(source)) else str(Path(source).expanduser().absolute())


def build_items(
    raw: RawTable,
    base: Path | str,
    columns: Mapping[str, str] | None,
    report: Report,
    images: ImageSettings = ImageSettings(),  # noqa: B008 - immutable
) -> Items:
    """Turn raw cells into items; see `read_items`."""
    given, mapping = _map_columns(raw, columns, report)
    embedded = EmbeddedPictures()
    raw = _embed_pictures(given, mapping, embedded, images, report)
    cells = _blank_long_image_cells(raw, mapping, images, report)
    cells = clean_cells(cells, raw.row_numbers, report)
    raw = _drop_empty_rows(RawTable(cells, raw.row_numbers), report)
    items = _extract_columns(raw, mapping, report)
    for note in mapping.notes:
        report.note(note)
    raw = _restore_names(raw, given, mapping)
    items = pl.concat([items, _extract_metadata(raw, mapping, report)], how="horizontal")
    items = _drop_rows_without_content(items, report)
    items = _assign_ids(items, mapping, report)
    _count_blank_cells(items, mapping, report)
    report.usable = len(items)
    return Items(items.drop("row number"), base, embedded)


def _map_columns(raw: RawTable, columns: Mapping[str, str] | None, report: Report) -> tuple[RawTable, ColumnMap]:
    """Match columns; those that hold bytes can only be the pictures, and are dropped if they are not."""
    texts = [name for name in raw.cells.columns if name not in raw.embedded]
    mapping = map_columns(raw.cells.columns, columns)
    image = mapping.sources.get("image")
    if any(name != image and name in raw.embedded for name in mapping.sources.values()):
        mapping = map_columns([name for name in raw.cells.columns if name in texts or name == image], columns)
    unused = [name for name in raw.embedded if name != mapping.sources.get("image")]
    for name in unused:
        if _holds_recordings(raw.embedded[name]):
            report.note(
                f'the column "{name}" holds recordings, which have to be files: write them out and name them there'
            )
        else:
            report.note(f'the column "{name}" holds bytes and is not used, as it is not the column of pictures')
    files = {name: cells for name, cells in raw.embedded.items() if name not in unused}
    return RawTable(raw.cells.drop(unused), raw.row_numbers, files), mapping


def _holds_recordings(files: pl.Series) -> bool:
    """Whether a column of bytes begins with a recording."""
    filled = (files if files.dtype == pl.Binary else files.explode()).drop_nulls()
    try:
        sniff_recording(filled[0][:HEADER_BYTES] if len(filled) else b"")
    except AudioError:
        return False
    return True


def _embed_pictures(
    raw: RawTable, mapping: ColumnMap, embedded: EmbeddedPictures, images: ImageSettings, report: Report
) -> RawTable:
    """Replace the paths of the image column by the sources of the bytes that stand there."""
    name = mapping.sources.get("image")
    if name not in raw.embedded:
        return raw
    sources = _add_pictures(raw.embedded[name], raw.cells[name], embedded, images.max_bytes, raw.row_numbers, report)
    return RawTable(raw.cells.with_columns(pl.coalesce(sources.alias(name), pl.col(name))), raw.row_numbers)


def _add_pictures(
    files: pl.Series, names: pl.Series, embedded: EmbeddedPictures, max_bytes: int, numbers: pl.Series, report: Report
) -> pl.Series:
    """(rows,) String: the sources of a column of bytes as cells, null where there are none."""
    if files.dtype == pl.Binary:
        return pl.Series(embedded.add(files, max_bytes, numbers.to_list(), report), dtype=pl.String)
    lengths = files.list.len().fill_null(0)
    flat = files.filter(lengths > 0).explode()
    owners = [number for number, length in zip(numbers, lengths, strict=True) for _ in range(length)]
    found = iter(embedded.add(flat, max_bytes, owners, report))
    cells = []
    for length, paths in zip(lengths, names, strict=True):
        own = json.loads(paths) if paths else []
        sources = [next(found) or (own[place] if place < len(own) else None) for place in range(length)]
        cells.append(json.dumps([source for source in sources if source]) if any(sources) else None)
    return pl.Series(cells, dtype=pl.String)


def _restore_names(raw: RawTable, given: RawTable, mapping: ColumnMap) -> RawTable:
    """The cells with the names of pictures, as they were given, in place of the sources of their bytes."""
    name = mapping.sources.get("image")
    if name not in given.embedded:
        return raw
    kept = given.row_numbers.is_in(raw.row_numbers.implode())
    names = clean_cells(given.cells.select(name).filter(kept), raw.row_numbers, Report())
    return RawTable(raw.cells.with_columns(names[name]), raw.row_numbers)


def _blank_long_image_cells(raw: RawTable, mapping: ColumnMap, images: ImageSettings, report: Report) -> pl.DataFrame:
    source = mapping.sources.get("image")
    if source is None:
        return raw.cells
    longest = compute_longest_source(images.max_bytes)
    return raw.cells.with_columns(blank_long_cells(raw.cells[source], longest, raw.row_numbers, report))


def _drop_empty_rows(raw: RawTable, report: Report) -> RawTable:
    filled = raw.cells.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    if filled.all():
        return raw
    report.count_rows("empty-row", raw.row_numbers.filter(~filled).to_list())
    return RawTable(raw.cells.filter(filled), raw.row_numbers.filter(filled))


def _extract_columns(raw: RawTable, mapping: ColumnMap, report: Report) -> pl.DataFrame:
    rows = raw.cells.height
    ours = [raw.row_numbers.alias("row number")]
    for name in COLUMNS:
        source = mapping.sources.get(name)
        if source is None:
            cells = pl.Series(name, [None], pl.String).new_from_index(0, rows)
        else:
            cells = _format_numbers(raw.cells[source]).alias(name)
        if name == "image":
            cells = parse_image_cells(cells, raw.row_numbers, report)
        elif name == "id":
            cells = blank_null_words(cells, raw.row_numbers, report)
        else:
            cells = clean_text(cells, raw.row_numbers, report)
        ours.append(cells.alias(name))
    return pl.DataFrame(ours)


def _format_numbers(cells: pl.Series) -> pl.Series:
    """Cells as text: 7.0 is 7 in a column of whole numbers, which pandas makes of integers where some are missing."""
    if cells.dtype.is_float() and ((whole := cells.drop_nulls()).cast(pl.Int64, strict=False) == whole).all():
        cells = cells.cast(pl.Int64, strict=False)
    return cells.cast(pl.String)


def _extract_metadata(raw: RawTable, mapping: ColumnMap, report: Report) -> pl.DataFrame:
    used_as = {source: ours for ours, source in mapping.sources.items()}
    columns: dict[str, pl.Series] = {}
    for column in raw.cells.iter_columns():
        name = column.name
        if used_as.get(name) == name:
            continue
        if name in COLUMNS or name == "row number":
            while name in COLUMNS or name in raw.cells.columns or name in columns:
                name = f"original_{name}"
            report.note(f'the file\'s own column "{column.name}" is kept as "{name}"')
        columns[name] = column.alias(name) if column.name in used_as else infer_column_type(column).alias(name)
    return pl.DataFrame(list(columns.values()))


def _drop_rows_without_content(items: pl.DataFrame, report: Report) -> pl.DataFrame:
    has_content = pl.col("title").is_not_null() | pl.col("description").is_not_null() | (pl.col("image").list.len() > 0)
    report.count_rows("no-content", items.filter(~has_content)["row number"].to_list())
    return items.filter(has_content)


def _assign_ids(items: pl.DataFrame, mapping: ColumnMap, report: Report) -> pl.DataFrame:
    if "id" in mapping.guessed and items["id"].n_unique() < _LEAST_DISTINCT * len(items):
        report.note(f'the column "{mapping.sources["id"]}" repeats its values, so row numbers are the ids instead')
        items = items.with_columns(pl.lit(None, pl.String).alias("id"))
    elif "id" in mapping.sources:
        report.count_rows("blank-id", items.filter(pl.col("id").is_null())["row number"].to_list())
    known = items["id"].drop_nulls().unique()
    number = pl.col("row number").cast(pl.String)
    by_number = pl.when(number.is_in(known.implode())).then(pl.format("row-{}", number)).otherwise(number)
    items = items.with_columns(pl.col("id").fill_null(by_number))
    repeated = items["id"].is_first_distinct().not_()
    report.count_rows("duplicate-id", items.filter(repeated)["id"].to_list())
    return items.filter(~repeated)


def _count_blank_cells(items: pl.DataFrame, mapping: ColumnMap, report: Report) -> None:
    for name in FIELDS:
        if name in mapping.sources:
            blank = pl.col("image").list.len() == 0 if name == "image" else pl.col(name).is_null()
            report.count_rows(f"blank-{name}", items.filter(blank)["id"].to_list())


def sample_rows(items: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """Draw `most` rows with a seed, spread over titles: no title comes twice before every title came once.

    The rows keep their order. Rows without a title are identities of their own.
    """
    if most >= len(items):
        return items
    order = np.random.default_rng(seed).permutation(len(items))
    identity = pl.coalesce(pl.col("title").str.to_lowercase(), pl.format("\0{}", "id"))
    drawn = (
        items.select(identity.alias("identity"))
        .with_row_index("position")[order]
        .with_columns(pl.int_range(pl.len()).over("identity").alias("turn"))
        .sort("turn", maintain_order=True)
        .head(most)
    )
    return items[drawn["position"].sort()]


def clean_cells(table: pl.DataFrame, row_numbers: pl.Series, report: Report) -> pl.DataFrame:
    """Strip all text cells, remove control characters, and make blank ones null.

    Args:
        table: the raw cells; (rows, columns).
        row_numbers: (rows,) for the report.
        report: counts rows with control characters.
    """
    texts = [name for name, kind in table.schema.items() if kind == pl.String]
    if not texts:
        return table
    dirty = table.select(pl.any_horizontal(pl.col(texts).str.contains(CONTROL).fill_null(False))).to_series()
    if dirty.any():
        report.count_rows("control-characters", row_numbers.filter(dirty).to_list())
        table = table.with_columns(pl.col(texts).str.replace_all(CONTROL, ""))
    stripped = pl.col(texts).str.strip_chars()
    return table.with_columns(stripped).with_columns(_nullify_blank(pl.col(texts)))


def _nullify_blank(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.len_bytes() > 0).then(text).otherwise(None)


def clean_text(text: pl.Series, row_numbers: pl.Series, report: Report) -> pl.Series:
    """A title or a description: null words are blank, HTML becomes plain text.

    Args:
        text: (rows,) String, already stripped, null where blank.
        row_numbers: (rows,) for the report.
        report: counts "null-word" and "html-removed".
    """
    text = blank_null_words(text, row_numbers, report)
    tags = text.str.contains(_TAG).fill_null(False)
    entities = text.str.contains(_ENTITY).fill_null(False)
    marked = tags | entities
    if not marked.any():
        return text
    report.count_rows("html-removed", row_numbers.filter(marked).to_list())
    frame = pl.DataFrame({"text": text, "tags": tags, "marked": marked})
    plain = pl.col("text").str.replace_all(_HIDDEN, " ").str.replace_all(_TAG, " ")
    frame = frame.with_columns(pl.when("tags").then(plain).otherwise("text").alias("text"))
    unescaped = pl.Series("text", [html.unescape(cell) for cell in frame.filter("marked")["text"]], pl.String)
    unescaped = unescaped.str.replace_all(CONTROL, "").str.replace_all(r"[ \t\x{a0}]+", " ")
    unescaped = unescaped.str.replace_all(r"\s*\n\s*", "\n").str.strip_chars()
    unescaped = unescaped.to_frame().select(_nullify_blank(pl.col("text"))).to_series()
    return frame["text"].scatter(marked.arg_true(), unescaped)


def blank_null_words(text: pl.Series, row_numbers: pl.Series, report: Report) -> pl.Series:
    """Make the words null and nan (lower case) blank, and count them."""
    words = text.is_in(NULL_WORDS).fill_null(False)
    if not words.any():
        return text
    report.count_rows("null-word", row_numbers.filter(words).to_list())
    return (
        text.to_frame("text").select(pl.when(pl.col("text").is_in(NULL_WORDS)).then(None).otherwise("text")).to_series()
    )


def infer_column_type(column: pl.Series) -> pl.Series:
    """A column of numbers or truth values as such, so that filters compare numbers; any other unchanged.

    Every cell has to fit: Int64 without leading zeros, Float64 if finite, Boolean for true and false in any case.
    Prices such as "$1,299.00" stay text; filters read their numbers (see filters_polars.py).
    """
    if column.dtype != pl.String:
        return column
    words = column.is_in(NULL_WORDS).fill_null(False)
    if words.any():
        column = column.to_frame("cell").select(pl.when(~words).then("cell")).to_series().rename(column.name)
    filled = column.drop_nulls()
    if filled.is_empty():
        return column
    for pattern, kind in ((INTEGER, pl.Int64), (NUMBER, pl.Float64)):
        if _all_match(filled, pattern):
            numbers = column.cast(kind)
            return numbers if kind == pl.Int64 or numbers.drop_nulls().is_finite().all() else column
    if _all_match(filled, r"(?i)^(?:true|false)$"):
        return column.str.to_lowercase() == "true"
    return column


def _all_match(filled: pl.Series, pattern: str) -> bool:
    head = filled.head(_ROWS_TRIED_FIRST)
    return bool(head.str.contains(pattern).all()) and bool(filled.str.contains(pattern).all())
