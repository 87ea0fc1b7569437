"""Reads judged queries of any layout: the words or picture of each query, and the items that answer it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from likewise.errors import UserError
from likewise.evaluation.judgments.beir import find_judged_files, is_beir
from likewise.evaluation.judgments.judged_table import Judgement, read_table
from likewise.evaluation.judgments.judgement_log import is_judgement_log, read_judgement_log
from likewise.evaluation.judgments.trec import looks_like_qrels, read_qrels


@dataclass(frozen=True)
class JudgedQueries:
    """Queries and the positions of the items that answer them."""

    texts: list[str | None]  # the words, in the file's order; every pair of words and picture stands once
    images: list[str | None]  # the picture's path or address
    relevant: list[np.ndarray]  # positions in the catalogue, ascending; empty where no answer is known
    gains: list[np.ndarray] | None  # the same shape; None where the file holds no grades
    notes: list[str] = field(default_factory=list)  # what was left out, one sentence each

    def __len__(self) -> int:
        return len(self.texts)


def read_queries(path: str | Path, item_ids: Sequence[str], *, topics: Path | None = None) -> JudgedQueries:
    """Read judged queries.

    Args:
        path: a table (CSV, TSV, JSON Lines or Parquet) with the columns query or image, id, and perhaps relevance; a
            folder in BEIR's layout; or TREC qrels. In a table several ids may stand in one cell, as a JSON list, as an
            object of id and grade, or joined by "|". A grade of zero or less means "not relevant"; a blank one is 1. Or
            the judgements that `likewise serve --judge` keeps, of which the last one of each judge counts.
        item_ids: the catalogue's ids, in its order.
        topics: the words of the queries, for qrels that name them by id.

    Raises:
        UserError: the file or a column is missing, a row cannot be read, or no id is known.
    """
    path = Path(path)
    position_of = {item_id: position for position, item_id in enumerate(item_ids)}
    if is_beir(path):
        path, topics = find_judged_files(path)
    if topics is not None:
        judged, unasked = read_qrels(path, topics)
        notes = [f"{unasked:,} judgements belong to queries without words and are left out"] if unasked else []
        return _group_judgments(path, judged, position_of, False, notes)  # 0 and 1 alone are a list of answers
    if looks_like_qrels(path):
        raise UserError(f"{path} is a TREC qrels file, which has no words: name the file that has them with --topics")
    if is_judgement_log(path):
        judged, notes = read_judgement_log(path)
        return _group_judgments(path, judged, position_of, False, notes)
    judgements, graded = read_table(path, position_of)
    return _group_judgments(path, judgements, position_of, graded, [])


def _group_judgments(
    path: Path, judgements: Iterable[Judgement], position_of: dict[str, int], graded: bool, notes: list[str]
) -> JudgedQueries:
    answers: dict[tuple[str | None, str | None], dict[int, float]] = {}
    unknown: dict[str, None] = {}
    blank = unknown_count = known_count = 0
    for judgement in judgements:
        if judgement.text is None and judgement.image is None:
            blank += 1
            continue
        gains = answers.setdefault((judgement.text, judgement.image), {})
        if judgement.item is None:
            continue
        position = position_of.get(judgement.item)
        if position is None:
            if judgement.gain <= 0:
                continue  # an item that answers nothing is not missed
            unknown[judgement.item] = None
            unknown_count += 1
            continue
        known_count += 1
        gains[position] = max(judgement.gain, gains.get(position, judgement.gain))
    if not answers:
        raise UserError(f"{path} holds no query: it needs a header line, and rows with a query and the id of an item")
    if unknown and not known_count:
        raise UserError(f"no id in {path} is an id of the catalogue; its first is {next(iter(unknown))[:60]!r}")
    by_query = [sorted((p, gain) for p, gain in gains.items() if gain > 0) for gains in answers.values()]
    graded = graded or any(gain != 1 for row in by_query for _, gain in row)
    return JudgedQueries(
        texts=[text for text, _ in answers],
        images=[image for _, image in answers],
        relevant=[np.array([position for position, _ in row], dtype=np.int64) for row in by_query],
        gains=[np.array([gain for _, gain in row]) for row in by_query] if graded else None,
        notes=notes + _notes(blank, unknown_count, unknown, sum(not row for row in by_query)),
    )


def _notes(blank: int, unknown_count: int, unknown: dict[str, None], unanswered: int) -> list[str]:
    notes = []
    if blank:
        notes.append(f"{blank:,} rows without a query are left out")
    if unknown_count:
        examples = ", ".join(item[:60] for item in list(unknown)[:3])
        notes.append(f"{unknown_count:,} answers are not in the catalogue and are left out, such as {examples}")
    if unanswered:
        notes.append(f"{unanswered:,} queries have no answer in the catalogue and are not measured")
    return notes
