"""A table of judged queries → judgements: CSV, TSV, JSON Lines or Parquet, one row for a pair or for a whole query."""

import csv
import io
import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likewise.catalog.columns import check_width
from likewise.catalog.delimited import check_cells
from likewise.catalog.parquet import read_parquet
from likewise.errors import UserError
from likewise.evaluation.judgments.strangers_text import grade, json_objects, query_text, read_bytes, read_text

QUERY_NAMES = ("query", "text", "query_text", "search_term", "q", "question")
IMAGE_NAMES = ("image", "query_image", "image_url", "picture", "photo")
ID_NAMES = ("id", "ids", "item_id", "item_ids", "relevant", "relevant_ids", "answers", "answer", "product_id", "doc_id")
GRADE_NAMES = ("relevance", "grade", "gain", "rating", "score", "label", "weight", "clicks")
_DELIMITERS = ",;\t"
_LONGEST_CELL = 10_000_000


@dataclass(frozen=True)
class Judgement:
    """What somebody said of one item for one query.

    Attributes:
        text, image: the words and the picture's path or address; both None where a row has no query.
        item: the id of an item; None where the row names none.
        gain: its relevance; zero or less means "looked at, and not relevant".
    """

    text: str | None
    image: str | None
    item: str | None
    gain: float = 1.0


def read_table(path: Path, item_ids: Container[str]) -> tuple[Iterator[Judgement], bool]:
    """Read a table of judged queries; its suffix says which kind it is.

    Args:
        path: the file.
        item_ids: a cell that is one of these whole is never cut at "|".

    Returns:
        The judgements, row by row, and whether a column grades them.

    Raises:
        UserError: the file or a column is missing, or a row cannot be read.
    """
    rows = read_rows(path, '{"query": "…", "id": "…"}')
    first = next(rows, None)
    if first is None:
        return iter(()), False
    columns = _Columns.find(path, first[1])
    return _judgements(path, first, rows, columns, item_ids), columns.grade is not None


def read_rows(path: Path, example: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, row) of a table, whose suffix says which kind it is; `example` shows what a line of JSON looks like.

    Raises:
        UserError: the file is missing, or a row cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return json_objects(path, example)
    return _parquet_rows(path) if suffix in (".parquet", ".pq") else _delimited_rows(path)


def _judgements(
    path: Path,
    first: tuple[int, dict[str, Any]],
    rest: Iterator[tuple[int, dict[str, Any]]],
    columns: "_Columns",
    item_ids: Container[str],
) -> Iterator[Judgement]:
    for rows in ([first], rest):
        for line, row in rows:
            where = f"{path}, line {line}"
            text = query_text(row.get(columns.query), where) if columns.query is not None else None
            image = query_text(row.get(columns.image), where) if columns.image is not None else None
            answers = [Judgement(text, image, *answer) for answer in _answers(row, columns, item_ids, where)]
            yield from answers or [Judgement(text, image, None)]


@dataclass(frozen=True)
class _Columns:
    query: str | None
    image: str | None
    ids: str
    grade: str | None

    @classmethod
    def find(cls, path: Path, row: dict[str, Any]) -> "_Columns":
        image = find_column(row, IMAGE_NAMES)
        query = find_column(row, QUERY_NAMES)
        if query is None and image is None:
            raise _missing(path, row, "query", "the words of the query (nor one 'image' for its picture)")
        rest = [name for name in row if name not in (query, image)]
        ids = find_column(rest, ID_NAMES)
        if ids is None:
            raise _missing(path, rest, "id", "the ids of the answers")
        return cls(query, image, ids, find_column([name for name in rest if name != ids], GRADE_NAMES))


def find_column(columns: Sequence[str] | dict[str, Any], names: Sequence[str]) -> str | None:
    """The column that has the first of these names, in any case."""
    by_folded_name = {name.strip().casefold(): name for name in reversed(list(columns))}
    return next((by_folded_name[name] for name in names if name in by_folded_name), None)


def _missing(path: Path, columns: Sequence[str] | dict[str, Any], name: str, what: str) -> UserError:
    found = ", ".join(str(column)[:60] for column in list(columns)[:30]) or "none"
    return UserError(f"{path} has no column {name!r} for {what}; its columns are: {found}")


def _answers(
    row: dict[str, Any], columns: _Columns, item_ids: Container[str], where: str
) -> Iterator[tuple[str, float]]:
    """(id, gain) pairs of one row."""
    ids = _parse_list(row.get(columns.ids), whole=item_ids)
    grades = _parse_list(row.get(columns.grade)) if columns.grade is not None else []
    if isinstance(ids, dict):
        yield from ((str(item), grade(value, where)) for item, value in ids.items())
        return
    if isinstance(grades, dict) or len(grades) not in (0, 1, len(ids)):
        raise UserError(f"{where}: {len(ids)} ids but {len(grades)} grades; give one, or one for each id")
    for place, item in enumerate(ids):
        value = grades[place if len(grades) > 1 else 0] if grades else None
        yield str(item).strip(), grade(value, where)


def _parse_list(cell: Any, whole: Container[str] = ()) -> list[Any] | dict[str, Any]:
    """The values of a cell: a JSON list or object, or text joined by "|" (unless all of it is one of `whole`)."""
    if isinstance(cell, list | dict):
        return cell
    if cell is None or str(cell).strip() == "":
        return []
    text = str(cell).strip()
    if text in whole:
        return [text]
    if text[0] in "[{":
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, list | dict):
            return parsed
    return [part.strip() for part in text.split("|") if part.strip()]


def _delimited_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = read_text(path)
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        width = len(reader.fieldnames or ())
        check_width(width, str(path))
        for count, row in enumerate(reader, 1):
            check_cells(count, width, len(text), str(path))
            row.pop(None, None)  # cells past the header's last column
            yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}; is a quotation mark left open?") from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    data = read_bytes(path)
    try:
        table = read_parquet(data)
    except ValueError as error:
        raise UserError(f"{path} is no Parquet file that can be read: {error}") from None
    yield from enumerate(table.iter_rows(named=True), 1)
