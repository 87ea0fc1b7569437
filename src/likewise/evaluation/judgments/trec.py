"""Relevance judgements in the layout of TREC, with their topics: query ids on the one side, words on the other."""

import re
from collections.abc import Iterator
from pathlib import Path

from likewise.errors import UserError
from likewise.evaluation.judgments.judged_table import IMAGE_NAMES, QUERY_NAMES, Judgement
from likewise.evaluation.judgments.strangers_text import grade, json_objects, lines, query_text

_ID_NAMES = ("_id", "id", "qid", "query_id", "query-id")
_TOPIC_NAMES = (*QUERY_NAMES, "title")
_TAG = re.compile(r"<(/?\w+)>")
_NUMBER = re.compile(r"^(number|topic)\s*:", re.IGNORECASE)
_SNIFFED = 4096  # bytes: room for the first line of any qrels file


def looks_like_qrels(path: Path) -> bool:
    """Whether a file begins like TREC's qrels: query id, iteration, item id, relevance, separated by blanks."""
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED).decode("utf-8-sig", errors="replace")
    except (OSError, ValueError):
        return False
    parts = head.lstrip().partition("\n")[0].split()
    return len(parts) == 4 and re.fullmatch(r"-?\d{1,9}", parts[3]) is not None


def read_qrels(qrels: Path, topics: Path) -> tuple[list[Judgement], int]:
    """Read judgements and the words of their queries.

    Args:
        qrels: lines of query id, iteration, item id and relevance (TREC), or of query id, item id and relevance (BEIR,
            whose header line is passed over); separated by tabs, else by blanks.
        topics: the queries: JSON Lines with an id and text (and perhaps an image), TREC's <top> entries with <num> and
            <title>, or lines of an id, a tab and the words.

    Returns:
        The judgements, and how many were left out because the topics lack their query.

    Raises:
        UserError: a file is missing, or a line cannot be read.
    """
    asked = read_topics(topics)
    judgements = []
    unknown = 0
    for number, query, item, gain in _qrels_lines(qrels):
        if query not in asked:
            unknown += 1
            continue
        text, image = asked[query]
        judgements.append(Judgement(text, image, item, grade(gain, f"{qrels}, line {number}")))
    if unknown and not judgements:
        raise UserError(f"{topics} has none of the query ids of {qrels}: do the two files belong together?")
    return judgements, unknown


def _qrels_lines(path: Path) -> Iterator[tuple[int, str, str, str]]:
    for number, line in lines(path):
        parts = [part.strip() for part in line.split("\t")] if "\t" in line else line.split()
        if len(parts) == 4:
            query, _, item, gain = parts
        elif len(parts) == 3:
            query, item, gain = parts
        else:
            raise UserError(
                f"{path}, line {number}: {len(parts)} columns, but qrels have query id, iteration, item id, relevance"
            )
        if number == 1 and gain.casefold() in ("score", "relevance", "rel", "label"):
            continue  # a header
        yield number, query, item, gain


def read_topics(path: Path) -> dict[str, tuple[str | None, str | None]]:
    """Query id → (words, picture).

    Raises:
        UserError: the file is missing, a line cannot be read, or an id comes twice.
    """
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        entries = _json_topics(path)
    elif any("<top>" in line for _, line in lines(path)):
        entries = _read_tagged_topics(path)
    else:
        entries = _read_tabbed_topics(path)
    topics: dict[str, tuple[str | None, str | None]] = {}
    for number, query, text, image in entries:
        if not query:
            raise UserError(f"{path}, line {number}: the query has no id")
        if query in topics:
            raise UserError(f"{path}, line {number}: the query id {query[:60]!r} occurs twice")
        topics[query] = query_text(text, f"{path}, line {number}"), image
    if not topics:
        raise UserError(f"{path} holds no queries: JSON Lines, <top> entries, or lines of an id, a tab and the words")
    return topics


_Topic = tuple[int, str, str | None, str | None]  # line, id, words, picture


def _json_topics(path: Path) -> Iterator[_Topic]:
    example = '{"_id": "7", "text": "red shoes"}'
    for number, row in json_objects(path, example):
        where = f"{path}, line {number}"
        query = next((row[name] for name in _ID_NAMES if row.get(name) is not None), None)
        text = next((row[name] for name in _TOPIC_NAMES if row.get(name)), None)
        image = next((row[name] for name in IMAGE_NAMES if row.get(name)), None)
        if query is None or (text is None and image is None):
            raise UserError(f"{where}: a query needs an id and its words, such as {example}")
        yield number, str(query).strip(), query_text(text, where), query_text(image, where)


def _read_tabbed_topics(path: Path) -> Iterator[_Topic]:
    for number, line in lines(path):
        query, tab, text = line.partition("\t")
        if not tab:
            raise UserError(f"{path}, line {number}: an id, a tab and the words of the query are expected")
        yield number, query.strip(), text, None


def _read_tagged_topics(path: Path) -> Iterator[_Topic]:
    """TREC's own layout; a tag's text ends where the next tag begins, whether or not the tag is closed."""
    start, tag = 0, ""
    parts: dict[str, list[str]] = {}
    for number, line in lines(path):
        for place, piece in enumerate(_TAG.split(line)):
            if place % 2 == 0:
                parts.setdefault(tag, []).append(piece)
                continue
            tag = piece.casefold()
            if tag == "top":
                start, parts = number, {}
            elif tag == "/top":
                query = _NUMBER.sub("", _join_parts(parts, "num")).strip()
                title = _NUMBER.sub("", _join_parts(parts, "title")).strip()
                if not query or not title:
                    raise UserError(f"{path}, line {start}: this <top> needs a <num> and a <title>")
                yield start, query, title, None
                parts = {}


def _join_parts(parts: dict[str, list[str]], tag: str) -> str:
    return " ".join(" ".join(parts.get(tag, [])).split())
