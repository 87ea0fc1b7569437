"""Queries that people asked, from a file: lines of text, or a table with a column query and perhaps how often."""

from pathlib import Path

from likewise.errors import UserError
from likewise.evaluation.judgments.judged_table import QUERY_NAMES, find_column, read_rows
from likewise.evaluation.judgments.strangers_text import grade, lines, query_text

_COUNT_NAMES = ("count", "asked", "frequency", "searches", "clicks", "weight")
_MOST_QUERIES = 100_000
_LONGEST = 10_000  # characters: what a search takes


def read_queries_to_judge(path: Path) -> dict[str, int]:
    """Read queries and how often each was asked.

    Args:
        path: a .txt file with a query in each line, or a table (CSV, TSV, JSON Lines or Parquet) with the column query
            and perhaps count, such as a query log or a catalogue with queries. Rows without a count count once.

    Raises:
        UserError: the file cannot be read, has no such column, or no query.
    """
    asked: dict[str, int] = {}
    for where, text, count in _text_lines(path) if path.suffix.lower() == ".txt" else _table_rows(path):
        if text is None:
            continue
        if len(text) > _LONGEST:
            raise UserError(f"{where}: the query has {len(text):,} characters, more than {_LONGEST:,}")
        asked[text] = asked.get(text, 0) + count
        if len(asked) > _MOST_QUERIES:
            raise UserError(f"{path} has more than {_MOST_QUERIES:,} queries: keep those that are asked most")
    if not asked:
        raise UserError(f"{path} holds no query: it needs a query in each line, or a table with a column 'query'")
    return asked


def _text_lines(path: Path) -> list[tuple[str, str | None, int]]:
    return [(f"{path}, line {number}", " ".join(line.split()) or None, 1) for number, line in lines(path)]


def _table_rows(path: Path) -> list[tuple[str, str | None, int]]:
    rows = list(read_rows(path, '{"query": "…"}'))
    if not rows:
        return []
    names = rows[0][1]
    query, count = find_column(names, QUERY_NAMES), find_column(names, _COUNT_NAMES)
    if query is None:
        found = ", ".join(str(name)[:60] for name in list(names)[:30])
        raise UserError(f"{path} has no column 'query' for the words of the queries; its columns are: {found}")
    read = []
    for line, row in rows:
        where = f"{path}, line {line}"
        text = query_text(row.get(query), where)
        times = grade(row.get(count), where) if count is not None else 1.0
        read.append((where, " ".join(text.split()) if text else None, max(1, round(times))))
    return read
