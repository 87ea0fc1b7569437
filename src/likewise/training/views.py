"""Views: the texts that the rows of a catalogue can show, as queries and as items."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.catalog.identity import Codes
from likewise.config import OWN_FIELDS
from likewise.evaluation.judgments.query_log import QueryLog, read_query_log
from likewise.model.model import read_texts, read_values
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
        further: other fields, in the network's order: text indices of texts, numbers into `values` of other kinds.
        values: the distinct values of the fields that are neither texts nor the picture.

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
    further: Mapping[str, Codes] = dataclasses.field(default_factory=dict)
    values: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The index of each text."""
        return {text: index for index, text in enumerate(self.texts)}

    def field(self, name: str) -> Codes:
        """(rows,) what each row has in a field of the items other than the picture: text indices, or of `values`."""
        return {"title": self.title, "description": self.description, **self.further}[name]

    def drop_values(self, usable: Mapping[str, Bools]) -> "RowTexts":
        """The same without values that cannot be used: (values,) by field."""
        further = {
            field: np.where((codes >= 0) & usable[field][codes], codes, -1) if field in usable else codes
            for field, codes in self.further.items()
        }
        return dataclasses.replace(self, further=further)

    @classmethod
    def collect(
        cls,
        catalog: Catalog,
        fields: tuple[str, ...],
        seed: int,
        training: NDArray[np.int64] | None = None,
        log: Path | None = None,
        kinds: Mapping[str, str] = OWN_FIELDS,
    ) -> "RowTexts":
        """Collect the texts of a catalogue; the sentence of a row depends on the seed alone.

        Args:
            training: the rows that train, all of them for None; others get no masked, sentence and remainder.
            log: a table of queries, ids and relevance that stands in for the column `query`.
            kinds: of the fields.

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
        further: dict[str, Codes] = {}
        values: dict[str, Sequence[Any]] = {}
        for field in fields:
            if field in OWN_FIELDS:
                continue
            catalog.cells(field)  # a column that is not there is named
            if kinds[field] == "text":
                further[field] = np.array([number(text) for text in read_texts(catalog, field)], np.int64)
            else:
                further[field], values[field] = _number_values(read_values(catalog, field, kinds[field]))
        return cls(list(numbers), **arrays, query_log=query_log, further=further, values=values)


def _number_values(shown: Sequence[tuple[Any, ...]]) -> tuple[Codes, list[Any]]:
    """(rows,) the number of each row's first value, −1 for none, and all distinct values."""
    numbers: dict[Any, int] = {}
    codes = [numbers.setdefault(values[0], len(numbers)) if values else -1 for values in shown]
    return np.array(codes, np.int64), list(numbers)


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
