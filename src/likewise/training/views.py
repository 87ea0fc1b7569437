"""Views: the texts and pictures that a row can show, and the pairs that a step trains on.

Every row gives up to four pairs a step, each with its own idea of identity:

* its title as a query, against the item without its title;
* a sentence of its description as a query, against the item without that sentence;
* its picture, against the item's texts;
* a query that the row answers, by the catalogue's column `query` or a log beside it, against the whole item.

The item side of a pair shows all its fields in half of the draws, else a random part of them, so that every presence
pattern is trained.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.catalog.identity import Codes
from likewise.evaluation.judgments.query_log import QueryLog, Weights, read_log
from likewise.seeds import Stream, random_stream

Bools = NDArray[np.bool_]

_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])\s+|\n+|(?<=[。！？])")
_FEWEST_WORDS, _MOST_WORDS = 3, 40
_SHOW_ALL = 0.5
_MASK_COPIES = 0.5
_WITHOUT_REMAINDER = 0.5
KINDS = ("title", "sentence", "picture", "query")


@dataclass(frozen=True)
class RowTexts:
    """The distinct texts of all rows, and which of them each row shows: (rows,) indices into `texts`, −1 for none.

    Attributes:
        texts: every text that training or evaluation reads, once.
        title, description: the fields.
        masked: the description without verbatim copies of the title.
        sentence, remainder: one sentence of the description, and the description without it.
        asked: queries that rows answer, by the column `query` or a log.

    Masked, sentence and remainder are for rows that train. As each of them costs an encoding, half of the rows that
    have a title go without a remainder: there the sentence asks for title and picture alone.
    """

    texts: list[str]
    title: Codes
    description: Codes
    masked: Codes
    sentence: Codes
    remainder: Codes
    asked: QueryLog

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The index of each text."""
        return {text: index for index, text in enumerate(self.texts)}

    def field(self, name: str) -> Codes:
        """(rows,) text indices of a field of the items, title or description."""
        return {"title": self.title, "description": self.description}[name]

    @classmethod
    def of(
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
        asked = _asked_by_column(catalog, number) if log is None else _asked_in_log(catalog, log, number)
        return cls(list(numbers), **arrays, asked=asked)


def _asked_by_column(catalog: Catalog, number: Callable[[str | None], int]) -> QueryLog:
    if "query" not in catalog.table.columns:
        return QueryLog.one_each(np.full(len(catalog), -1))
    texts = [None if query is None else str(query).strip() for query in catalog.column("query")]
    return QueryLog.one_each(np.array([number(text) for text in texts], np.int64))


def _asked_in_log(catalog: Catalog, path: Path, number: Callable[[str | None], int]) -> QueryLog:
    log = read_log(path, catalog.ids)
    for note in log.notes:
        catalog.report.note(note)
    sizes = [len(rows) for rows in log.relevant]
    texts = np.repeat(np.array([number(text) for text in log.texts], np.int64), sizes)
    weights = np.ones(len(texts)) if log.gains is None else np.concatenate([np.empty(0), *log.gains])
    rows = np.concatenate([np.empty(0, np.int64), *log.relevant])
    return QueryLog.of(len(catalog), rows, texts, weights)


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


@dataclass(frozen=True)
class Pairs:
    """The pairs of one step; every array is (pairs,).

    Attributes:
        kind: index into KINDS.
        row: position in the batch of the row that the pair was made of.
        query: text index of the anchor, −1 where the anchor is the row's picture.
        title, description: text indices that the item side shows, −1 where it does not.
        picture: whether the item side shows the picture.
        row_query: the query that the row was drawn with, −1 for none. weight: how well the row answers that.
    """

    kind: NDArray[np.int64]
    row: NDArray[np.int64]
    query: Codes
    title: Codes
    description: Codes
    picture: Bools
    row_query: Codes
    weight: Weights

    def __getitem__(self, places: NDArray[np.int64]) -> "Pairs":
        return Pairs(*(getattr(self, name)[places] for name in self.__dataclass_fields__))


def draw_pairs(texts: RowTexts, rows: NDArray[np.int64], pictured: Bools, rng: np.random.Generator) -> Pairs:
    """All pairs of a batch.

    Args:
        texts: of the whole catalogue.
        rows: (batch,) row numbers.
        pictured: (batch,) whether the row has a usable picture.
        rng: decides what each item side shows.
    """
    title, description = texts.title[rows], texts.description[rows]
    none = np.full(len(rows), -1)
    asked, weight = texts.asked.drawn(rows, rng)
    hidden_copies = np.where(rng.random(len(rows)) < _MASK_COPIES, texts.masked[rows], description)
    yes, no = pictured, np.zeros(len(rows), bool)
    candidates = [
        (texts.title[rows], none, hidden_copies, yes),
        (texts.sentence[rows], title, texts.remainder[rows], yes),
        (none, title, description, no),
        (asked, title, description, yes),
    ]
    drawn = []
    for kind, (query, shown_title, shown_description, picture) in enumerate(candidates):
        anchored = pictured if KINDS[kind] == "picture" else query >= 0
        shown = np.stack([shown_title >= 0, shown_description >= 0, picture], axis=1)
        keep = np.flatnonzero(anchored & shown.any(axis=1))
        shown = drop_fields(shown[keep], rng)
        drawn.append(
            Pairs(
                np.full(len(keep), kind),
                keep,
                query[keep],
                np.where(shown[:, 0], shown_title[keep], -1),
                np.where(shown[:, 1], shown_description[keep], -1),
                shown[:, 2],
                asked[keep],
                weight[keep],
            )
        )
    names = Pairs.__dataclass_fields__
    return Pairs(*(np.concatenate([getattr(pairs, name) for pairs in drawn]) for name in names))


def drop_fields(present: Bools, rng: np.random.Generator) -> Bools:
    """A random non-empty part of the present fields of each row (n, fields); all of them in half of the rows."""
    scores = np.where(present, rng.random(present.shape), -1.0)
    count = present.sum(axis=1)
    keep = np.where(rng.random(len(present)) < _SHOW_ALL, count, 1 + (rng.random(len(present)) * count).astype(int))
    keep = np.minimum(keep, count)
    rank = (-scores).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return present & (rank < keep[:, None])


def distinct_titles(texts: RowTexts, title_codes: Codes, rows: NDArray[np.int64]) -> tuple[Codes, Codes]:
    """One text index and one identity code for every distinct title of `rows`."""
    known = rows[texts.title[rows] >= 0]
    found, first = np.unique(title_codes[known], return_index=True)
    return texts.title[known[first]], found
