"""Rows that are given as dictionaries, cleaned as those of a catalogue's file are.

A row comes out as it would if the same cells stood in a file, so that an item is the same whichever way it came. What
a report counts for a file is an error here, since whoever gives a row can mend it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from likewise.catalog.columns import check_ids, unknown_column_error
from likewise.catalog.image_cells import parse_image_cells
from likewise.catalog.json_lines import format_cell
from likewise.catalog.numbers import INTEGER, NUMBER
from likewise.catalog.report import Report
from likewise.catalog.rows import NULL_WORDS, clean_cells, clean_text
from likewise.catalog.text import CONTROL
from likewise.errors import UserError

LONGEST_ID = 512  # characters
_WEB_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_NEEDS: dict[type[pl.DataType], str] = {
    pl.Int64: "a whole number",
    pl.Float64: "a number",
    pl.Boolean: "true or false",
    pl.List: "a list of texts",
    pl.String: "a text",
}
_INTEGERS = range(-(2**63), 2**63)


def clean_rows(rows: Sequence[Mapping[str, Any]], types: Mapping[str, pl.DataType | None]) -> list[dict[str, Any]]:
    """Check and clean rows.

    Args:
        rows: each with an "id" and any of the columns; None blanks a cell.
        types: column → String, Int64, Float64, Boolean or List(String), "id" among them; None for columns of another
            kind, which have to be blank.

    Returns:
        The cells that were given, of the column's type; None where blank, except "image", which is a list then.

    Raises:
        UserError: an id is missing, too long or comes twice, a column is not known, or a cell is not of its kind; the
            message names the item and the column.
    """
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise UserError(f"item {number} is no object of columns and values, but {row!r:.60}")
    names = list({name: None for row in rows for name in row if name != "id"})
    for name in names:
        if name not in types:
            raise unknown_column_error(str(name), list(types))
    texts = _clean_texts(rows, [name for name in names if name != "image" and not isinstance(types[name], pl.List)])
    ids = _check_ids(texts["id"])
    cleaned: list[dict[str, Any]] = [{"id": id} for id in ids]
    for name in names:
        given = [number for number, row in enumerate(rows) if name in row]
        cells = [rows[number][name] for number in given]
        shown = [ids[number] for number in given]
        clean = [texts[name][number] for number in given] if name in texts else []
        for number, cell in zip(given, _read_column(name, types[name], cells, clean, shown), strict=True):
            cleaned[number][name] = cell
    return cleaned


def check_sources(id: str, sources: Sequence[str], noun: str = "picture") -> None:
    """See that pictures, or what else `noun` says, come from the web.

    Raises:
        UserError: one would be read from this machine, or is no address at all.
    """
    for source in sources:
        if not _WEB_ADDRESS.match(source):
            raise UserError(
                f"item {id!r}: the {noun} {source[:60]!r} is no http(s) address, and nothing else can be named: "
                f"upload the {noun} instead"
            )


def _clean_texts(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[str | None]]:
    """The cells of some columns, and the ids, as texts, cleaned."""
    ids = []
    for number, row in enumerate(rows, 1):
        id = row.get("id")
        if id is not None and (isinstance(id, bool) or not isinstance(id, str | int)):
            raise UserError(f"the id of item {number} must be a text, not {id!r:.60}")
        ids.append(format_cell(id))
    columns = {"id": ids} | {name: [format_cell(row.get(name)) for row in rows] for name in names}
    texts = {name: [_clean_cell(cell) for cell in cells] for name, cells in columns.items()}
    for name in ("title", "description"):
        cells = texts.get(name, [])
        if any("<" in cell or "&" in cell for cell in cells if cell is not None):
            numbers = pl.int_range(1, len(cells) + 1, eager=True)
            texts[name] = clean_text(pl.Series(name, cells, pl.String), numbers, Report()).to_list()
    return texts


def _clean_cell(cell: str | None) -> str | None:
    """The cell that `clean_cells` and `blank_null_words` make, faster for a few."""
    text = re.sub(CONTROL, "", cell).strip() if cell is not None else ""
    return None if not text or text in NULL_WORDS else text


def _check_ids(ids: Sequence[str | None]) -> list[str]:
    for number, id in enumerate(ids, 1):
        if id is None:
            raise UserError(f"item {number} has no id: every item needs one")
        if len(id) > LONGEST_ID:
            raise UserError(f"the id of item {number} has {len(id):,} characters: at most {LONGEST_ID} are allowed")
    found = [id for id in ids if id is not None]
    check_ids(found)
    return found


def _read_column(
    name: str, kind: pl.DataType | None, cells: Sequence[Any], texts: Sequence[str | None], ids: Sequence[str]
) -> Sequence[Any]:
    """The cells of a column as its type has them.

    Args:
        texts: what they are as texts, cleaned; empty for lists.
    """
    if name == "image":
        return _read_images(cells, ids)
    if kind is None:
        if any(cell is not None for cell in cells):
            raise UserError(f'the column "{name}" holds dates or the like, which only a whole catalogue can bring')
        return cells
    if isinstance(kind, pl.List):
        return [_read_list(name, cell, id) for cell, id in zip(cells, ids, strict=True)]
    if kind == pl.String:
        return texts
    return [_read_cell(name, kind, *both) for both in zip(cells, texts, ids, strict=True)]


def _read_images(cells: Sequence[Any], ids: Sequence[str]) -> list[list[str]]:
    if not any(cells):
        return [[] for _ in cells]
    for cell, id in zip(cells, ids, strict=True):
        texts = cell if isinstance(cell, list) else [] if cell is None else [cell]
        if not all(isinstance(text, str) for text in texts):
            raise UserError(f'item {id!r}: the column "image" needs an http(s) address or a list of them')
    report = Report()
    names = pl.Series("id", ids, pl.String)
    table = pl.DataFrame({"image": [format_cell(cell) for cell in cells]}, schema={"image": pl.String})
    found = parse_image_cells(clean_cells(table, names, Report())["image"], names, report)
    for broken in report.problems.values():
        raise UserError(f'item {broken.examples[0]!r}: the column "image" looks like a list, but is none')
    return found.to_list()


def _read_cell(name: str, kind: pl.DataType, cell: Any, text: str | None, id: str) -> Any:
    """A cell as a number or a truth value."""
    if text is None:
        return None
    number = isinstance(cell, int | float) and not isinstance(cell, bool)
    if kind == pl.Boolean and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind == pl.Int64 and re.fullmatch(INTEGER, text) and int(text) in _INTEGERS:
        return int(text)
    if kind == pl.Int64 and number and math.isfinite(cell) and cell == int(cell) and int(cell) in _INTEGERS:
        return int(cell)
    if kind == pl.Float64 and (number or re.fullmatch(NUMBER, text)) and not isinstance(cell, bool):
        try:
            value = float(text)
        except (ValueError, OverflowError):
            value = math.inf
        if math.isfinite(value):
            return value
    raise _wrong_kind(name, kind, cell, id)


def _read_list(name: str, cell: Any, id: str) -> list[str] | None:
    if cell is None or (isinstance(cell, list) and all(isinstance(text, str) for text in cell)):
        return cell
    raise _wrong_kind(name, pl.List(pl.String), cell, id)


def _wrong_kind(name: str, kind: pl.DataType, cell: Any, id: str) -> UserError:
    need = next(need for known, need in _NEEDS.items() if kind == known)
    return UserError(f'item {id!r}: the column "{name}" needs {need}, not {cell!r:.60}')
