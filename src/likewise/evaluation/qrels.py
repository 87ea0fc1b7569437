"""Reads judged queries: a file with the words of each query and the ids of the items that answer it."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from likewise.errors import UserError

QUERY_NAMES = ("query", "text", "query_text", "search_term", "q", "question")
ID_NAMES = ("id", "ids", "item_id", "item_ids", "relevant", "relevant_ids", "answers", "answer", "product_id", "doc_id")
GRADE_NAMES = ("relevance", "grade", "gain", "rating", "score", "label")
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class JudgedQueries:
    """Queries and the positions of the items that answer them."""

    texts: list[str]  # each once, in the file's order
    relevant: list[np.ndarray]  # positions in the catalogue, ascending; empty where no answer is known
    gains: list[np.ndarray] | None  # the same shape; None where the file holds no grades
    unknown_ids: int  # answers whose id is not in the catalogue; they are left out
    notes: list[str] = field(default_factory=list)  # what was left out, one sentence each

    def __len__(self) -> int:
        return len(self.texts)


def read_queries(
    path: str | Path,
    item_ids: Sequence[str],
    *,
    query_column: str | None = None,
    id_column: str | None = None,
    grade_column: str | None = None,
) -> JudgedQueries:
    """Read judged queries from CSV, TSV (a header line, UTF-8) or JSON Lines.

    A row holds a query's text and the id of one answer, or several ids as a JSON list, an object of id and grade, or
    joined by "|". Rows with the same text belong to one query. An optional grade weighs the row's answers in nDCG; zero
    or less means "judged, not relevant"; a blank grade is 1.

    Args:
        path: the file; its suffix says which kind it is (.jsonl and .ndjson are JSON Lines).
        item_ids: the catalogue's ids, in its order.
        query_column, id_column, grade_column: names to use instead of the common ones.

    Raises:
        UserError: the file or a column is missing, a row cannot be read, or no id is known.
    """
    path = Path(path)
    rows = _json_rows(path) if path.suffix.lower() in (".jsonl", ".ndjson") else _table_rows(path)
    position_of = {item_id: position for position, item_id in enumerate(item_ids)}
    columns: _Columns | None = None
    answers: dict[str, dict[int, float]] = {}
    unknown: dict[str, None] = {}
    blank = unknown_count = known_count = 0
    for line, row in rows:
        columns = columns or _Columns.find(path, row, query_column, id_column, grade_column)
        text = str(row.get(columns.query) or "").strip()
        if not text:
            blank += 1
            continue
        gains = answers.setdefault(text, {})
        for item_id, gain in _answers_of(row, columns, position_of, f"{path}, line {line}"):
            if item_id not in position_of:
                unknown[item_id] = None
                unknown_count += 1
                continue
            known_count += 1
            position = position_of[item_id]
            gains[position] = max(gain, gains.get(position, gain))
    if not answers:
        raise UserError(f"{path} holds no query: it needs a header line, and rows with a query and the id of an item")
    if unknown and not known_count:
        raise UserError(f"no id in {path} is an id of the catalogue; its first is {next(iter(unknown))!r}")
    sorted_answers = [sorted((p, gain) for p, gain in gains.items() if gain > 0) for gains in answers.values()]
    graded = columns is not None and (
        columns.grade is not None or any(g != 1 for row in sorted_answers for _, g in row)
    )
    return JudgedQueries(
        texts=list(answers),
        relevant=[np.array([position for position, _ in row], dtype=np.int64) for row in sorted_answers],
        gains=[np.array([gain for _, gain in row]) for row in sorted_answers] if graded else None,
        unknown_ids=unknown_count,
        notes=_notes(blank, unknown_count, unknown, sum(not row for row in sorted_answers)),
    )


def _notes(blank: int, unknown_count: int, unknown: dict[str, None], unanswered: int) -> list[str]:
    notes = []
    if blank:
        notes.append(f"{blank:,} rows without a query text are left out")
    if unknown_count:
        examples = ", ".join(list(unknown)[:3])
        notes.append(f"{unknown_count:,} answers are not in the catalogue and are left out, such as {examples}")
    if unanswered:
        notes.append(f"{unanswered:,} queries have no answer in the catalogue and are not measured")
    return notes


@dataclass(frozen=True)
class _Columns:
    query: str
    ids: str
    grade: str | None

    @classmethod
    def find(cls, path: Path, row: dict[str, Any], query: str | None, ids: str | None, grade: str | None) -> "_Columns":
        found_query = _named(path, row, query, QUERY_NAMES, "the words of the query")
        rest = {name: value for name, value in row.items() if name != found_query}
        found_ids = _named(path, rest, ids, ID_NAMES, "the ids of the answers")
        if grade is not None:
            return cls(found_query, found_ids, _named(path, row, grade, (), "the relevance"))
        rest.pop(found_ids)
        return cls(found_query, found_ids, _first_of(rest, GRADE_NAMES))


def _first_of(row: dict[str, Any], names: Sequence[str]) -> str | None:
    by_folded_name = {name.strip().casefold(): name for name in reversed(row)}
    return next((by_folded_name[name] for name in names if name in by_folded_name), None)


def _named(path: Path, row: dict[str, Any], asked: str | None, usual: Sequence[str], what: str) -> str:
    if asked is not None and asked in row:
        return asked
    found = _first_of(row, usual) if asked is None else None
    if found is None:
        wanted = f"no column {asked!r}" if asked is not None else f"no column {usual[0]!r}"
        raise UserError(f"{path} has {wanted} for {what}; its columns are: {', '.join(row) or 'none'}")
    return found


def _answers_of(
    row: dict[str, Any], columns: _Columns, position_of: dict[str, int], where: str
) -> Iterator[tuple[str, float]]:
    """(id, gain) pairs of one row."""
    ids = _listed(row.get(columns.ids), whole=position_of)
    grades = _listed(row.get(columns.grade)) if columns.grade is not None else []
    if isinstance(ids, dict):
        yield from ((str(item_id), _gain(grade, where)) for item_id, grade in ids.items())
        return
    if isinstance(grades, dict) or len(grades) not in (0, 1, len(ids)):
        raise UserError(f"{where}: {len(ids)} ids but {len(grades)} grades; give one, or one for each id")
    for place, item_id in enumerate(ids):
        grade = grades[place if len(grades) > 1 else 0] if grades else None
        yield str(item_id).strip(), _gain(grade, where)


def _listed(cell: Any, whole: dict[str, int] | None = None) -> list[Any] | dict[str, Any]:
    """The values of a cell: a JSON list or object, or text joined by "|" (unless all of it is one of `whole`)."""
    if isinstance(cell, list | dict):
        return cell
    if cell is None or str(cell).strip() == "":
        return []
    text = str(cell).strip()
    if whole and text in whole:
        return [text]
    if text[0] in "[{":
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        if isinstance(parsed, list | dict):
            return parsed
    return [part.strip() for part in text.split("|") if part.strip()]


def _gain(grade: Any, where: str) -> float:
    if grade is None or grade == "":
        return 1.0
    try:
        gain = float(grade)
    except (TypeError, ValueError):
        gain = float("nan")
    if not np.isfinite(gain):
        raise UserError(f"{where}: the relevance {grade!r} is not a number")
    return gain


def _table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = _read(path)
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    csv.field_size_limit(max(csv.field_size_limit(), 10_000_000))
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            row.pop(None, None)  # cells past the header's last column
            yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}; is a quotation mark left open?") from None


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise UserError(f"{path}, line {number}: this is not JSON") from None
        if not isinstance(row, dict):
            raise UserError(f'{path}, line {number}: each line must be an object, such as {{"query": "…", "id": "…"}}')
        yield number, row


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the queries {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"the queries {path} are not UTF-8 text; save the file as UTF-8") from None
