"""Views: the texts that the rows of a catalogue can show, as queries and as items."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.catalog.identity import Codes
from likewise.evaluation.judgments.query_log import QueryLog, read_query_log
from likewise.seeds import Stream, random_stream

Bools = NDArray[np.bool_]

_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])\s+|\n+|(?<=[。！？])")
_FEWEST_WORDS, _MOST_WORDS = 3, 40
_WITHOUT_REMAINDER = 0.5


@dataclass(frozen=True)
class RowTexts:
    """The distinct texts of all rows, and which of them each row shows: (rows,) indices into `texts`, −1 for none.

    Attributes:
        texts: every text that training or evaluation reads, once.
        title, description: the fields.
        masked: the description without verbatim copies of the title.
        sentence, remainder: one sentence of the description, and the description without it.
        query_log: queries that rows answer, by the column `query` or a log.

    Masked, sentence and remainder are for rows that train. As each of them costs an encoding, half of the rows that
    have a title have no remainder: there the sentence is a query for title and picture alone.
    """

    texts: list[str]
    title: Codes
    description: Codes
    masked: Codes
    sentence: Codes
    remainder: Codes
    query_log: QueryLog

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The index of each text."""
        return {text: index for index, text in enumerate(self.texts)}

    def field(self, name: str) -> Codes:
        """(rows,) text indices of a field of the items, title or description."""
        return {"title": self.title, "description": self.description}[name]

    @classmethod
    def collect(
        cls,
        catalog: Catalog,
        fields: tuple[str, ...],
        seed: int,
        training: NDArray[np.int64] | None = None,
        log: Path | None = None,
    ) -> "RowTexts":
        """Collect the texts of a catalogue; the sentence of a row depends on the seed alone.

        Args:
            training: the rows that train, all of them for None; others get no masked, sentence and remainder.
            log: a table of queries, ids and relevance that stands in for the column `query`.

        Raises:
            UserError: the log cannot be read.
        """
        rng = random_stream(seed, Stream.SENTENCES)
        numbers: dict[str, int] = {}

        def number(text: str | None) -> int:
            return -1 if not text else numbers.setdefault(text, len(numbers))

        empty: list[str | None] = [None] * len(catalog)
        titles = catalog.texts("title") if "title" in fields else empty
        descriptions = catalog.texts("description") if "description" in fields else empty
        chosen = rng.random((len(catalog), 2))
        trains = np.ones(len(catalog), bool)
        if training is not None:
            trains = np.isin(np.arange(len(catalog)), training)
        names = ("title", "description", "masked", "sentence", "remainder")
        columns: dict[str, list[int]] = {name: [] for name in names}
        for title, description, (choice, thrift), shown in zip(titles, descriptions, chosen, trains, strict=True):
            sentence, remainder = split_sentence(description if shown else None, float(choice))
            if title and thrift < _WITHOUT_REMAINDER:
                remainder = None
            columns["title"].append(number(title))
            columns["description"].append(number(description))
            columns["masked"].append(number(without_copies(description, title) if shown else None))
            columns["sentence"].append(number(sentence))
            columns["remainder"].append(number(remainder))
        arrays = {name: np.array(values, np.int64) for name, values in columns.items()}
        query_log = _read_query_column(catalog, number) if log is None else _read_query_log(catalog, log, number)
        return cls(list(numbers), **arrays, query_log=query_log)


def _read_query_column(catalog: Catalog, number: Callable[[str | None], int]) -> QueryLog:
    if "query" not in catalog.table.columns:
        return QueryLog.from_column(np.full(len(catalog), -1))
    texts = [None if query is None else str(query).strip() for query in catalog.column("query")]
    return QueryLog.from_column(np.array([number(text) for text in texts], np.int64))


def _read_query_log(catalog: Catalog, path: Path, number: Callable[[str | None], int]) -> QueryLog:
    log = read_query_log(path, catalog.ids)
    for note in log.notes:
        catalog.report.note(note)
    sizes = [len(rows) for rows in log.relevant]
    texts = np.repeat(np.array([number(text) for text in log.texts], np.int64), sizes)
    weights = np.ones(len(texts)) if log.gains is None else np.concatenate([np.empty(0), *log.gains])
    rows = np.concatenate([np.empty(0, np.int64), *log.relevant])
    return QueryLog.from_entries(len(catalog), rows, texts, weights)


def split_sentence(description: str | None, choice: float) -> tuple[str | None, str | None]:
    """One sentence of a description that can serve as a query, and the rest without it; `choice` in [0, 1) picks it."""
    if description is None:
        return None, None
    parts = [part.strip() for part in _SENTENCE_END.split(description) if part and part.strip()]
    fit = [place for place, part in enumerate(parts) if _FEWEST_WORDS <= len(part.split()) <= _MOST_WORDS]
    if not fit:
        return None, None
    place = fit[int(choice * len(fit))]
    rest = " ".join(parts[:place] + parts[place + 1 :]) or None
    return parts[place], without_copies(rest, parts[place])


def without_copies(description: str | None, title: str | None) -> str | None:
    """The description with verbatim copies of the title (any case) taken out; None if nothing else is left."""
    if description is None or not title:
        return description
    left, copies = re.subn(rf"(?<!\w){re.escape(title)}(?!\w)", " ", description, flags=re.IGNORECASE)
    if not copies:
        return description  # to the letter: another text would be encoded once more
    left = " ".join(left.split()).strip(" ,.;:!-")
    return left or None
