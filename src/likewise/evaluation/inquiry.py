"""What `likewise evaluate` asks of a model: texts that look for items, or items that look for texts."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from likewise.catalog.catalog import Catalog
from likewise.catalog.same_text import normalised
from likewise.errors import UserError
from likewise.evaluation.baselines import bm25_scores
from likewise.evaluation.comparison import Evaluated, compare, evaluate_system, headline_metric, relevance_by_key
from likewise.evaluation.metrics import Scores, cosine_scores
from likewise.evaluation.qrels import read_queries
from likewise.evaluation.results import Comparison

_COLUMN = "column:"


class Encoder(Protocol):
    """The part of a model that is measured."""

    @property
    def fields(self) -> tuple[str, ...]: ...

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """(n, dim) float32, unit norm."""

    def encode_items(self, catalog: Catalog, fields: Sequence[str] | None = None) -> np.ndarray:
        """(n, dim) float32, unit norm; NaN rows where an item has none of the fields."""


@dataclass(frozen=True)
class Inquiry:
    """One set of questions over one catalogue.

    Attributes:
        direction: which side is ranked: "items" for texts that look for items, "texts" for items that look for texts.
        texts: the distinct texts, which go through the query tower.
        relevant: per query the positions of its answers, in the catalogue or in `texts`.
        gains: graded relevance of the same shape, or None.
        groups: the identity of each query, for the bootstrap.
        fields: what is seen of an item.
        label: the questions in words that follow "on".
    """

    catalog: Catalog
    direction: Literal["items", "texts"]
    texts: list[str]
    relevant: list[np.ndarray]
    gains: list[np.ndarray] | None
    groups: Sequence[Hashable]
    fields: tuple[str, ...]
    label: str

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        model_fields: Sequence[str],
        *,
        queries: str | None = None,
        answers: str = "items",
        fields: Sequence[str] | None = None,
        relevance: str | None = None,
    ) -> "Inquiry":
        """Read the questions from the options of the command.

        Args:
            catalog: the items.
            model_fields: the fields that the model knows.
            queries: a file of judged queries, or "column:NAME" for every distinct value of a column; None: the titles.
            answers: "items", or "column:NAME": then every item is a query, and the column's distinct values are ranked.
            fields: what is seen of an item; None: every field that is not asked for.
            relevance: the column in which a query's item and its answers agree; None: the column of the queries.

        Raises:
            UserError: options that do not fit together, or an unknown column or field.
        """
        if answers != "items":
            if queries is not None:
                raise UserError("--answers column:NAME makes the items the queries: leave --queries away")
            return cls._items_to_texts(catalog, model_fields, _column(answers, "--answers"), fields, relevance)
        if queries is not None and not queries.startswith(_COLUMN):
            return cls._judged(catalog, model_fields, Path(queries), fields)
        column = _column(queries, "--queries") if queries is not None else "title"
        return cls._texts_to_items(catalog, model_fields, column, fields, relevance)

    @classmethod
    def _texts_to_items(
        cls,
        catalog: Catalog,
        model_fields: Sequence[str],
        column: str,
        fields: Sequence[str] | None,
        relevance: str | None,
    ) -> "Inquiry":
        values = catalog.texts(column)
        seen = _seen(model_fields, fields, column)
        texts = _distinct_texts(values)
        keys = [normalised(value) for value in values] if relevance is None else catalog.column(relevance)
        # a text that stands in rows of several keys is answered by all of them
        keys_of: dict[str, set[Hashable]] = {text: set() for text in texts}
        for value, key in zip(values, keys, strict=True):
            if value is not None and key is not None:
                keys_of[str(normalised(value))].add(key)
        distinct_keys = list(dict.fromkeys(key for key in keys if key is not None))
        rows_of = dict(zip(distinct_keys, relevance_by_key(distinct_keys, keys), strict=True))
        none = np.empty(0, np.int64)
        relevant = [np.unique(np.concatenate([none, *(rows_of[key] for key in keys_of[text])])) for text in texts]
        label = f"{_shown(seen)}, asked for by {column}"
        return cls(catalog, "items", list(texts.values()), relevant, None, list(texts), seen, label)

    @classmethod
    def _items_to_texts(
        cls,
        catalog: Catalog,
        model_fields: Sequence[str],
        column: str,
        fields: Sequence[str] | None,
        relevance: str | None,
    ) -> "Inquiry":
        if relevance is not None:
            raise UserError("--relevance goes with --answers items: an item's own value is its answer here")
        values = catalog.texts(column)
        seen = _seen(model_fields, fields, column)
        texts = _distinct_texts(values)
        keys = [normalised(value) for value in values]
        groups = [key if key is not None else f"\0{row}" for row, key in enumerate(keys)]
        label = f"the {len(texts):,} values of {column}, asked for by {_shown(seen)}"
        relevant = relevance_by_key(keys, list(texts))
        return cls(catalog, "texts", list(texts.values()), relevant, None, groups, seen, label)

    @classmethod
    def _judged(
        cls, catalog: Catalog, model_fields: Sequence[str], path: Path, fields: Sequence[str] | None
    ) -> "Inquiry":
        judged = read_queries(path, catalog.ids)
        for note in judged.notes:
            catalog.report.note(note)
        seen = _seen(model_fields, fields, None)
        label = f"{_shown(seen)}, asked for by the queries of {path.name}"
        return cls(catalog, "items", judged.texts, judged.relevant, judged.gains, judged.texts, seen, label)

    @property
    def metric(self) -> str:
        """The headline metric of these questions."""
        return headline_metric(self.relevant, graded=self.gains is not None)

    def measure(self, name: str, model: Encoder) -> Evaluated:
        """A model on these questions; items with none of the fields cannot be found, and are not asked."""
        texts = model.encode_queries(self.texts)
        items = model.encode_items(self.catalog, self.fields)
        if self.direction == "items":
            return self._evaluate(name, cosine_scores(texts, items), self.relevant)
        empty = np.isnan(items[:, 0])
        relevant = [
            np.empty(0, np.int64) if lost else answers for lost, answers in zip(empty, self.relevant, strict=True)
        ]
        return self._evaluate(name, cosine_scores(np.nan_to_num(items), texts), relevant)

    def measure_bm25(self) -> Evaluated | None:
        """BM25 over the texts that are seen of an item; None where nothing but the picture is seen."""
        words = [field for field in self.fields if field != "image"]
        if not words:
            return None
        columns = [self.catalog.texts(field) for field in words if field in self.catalog.table.columns]
        documents = [" ".join(text for text in row if text is not None) for row in zip(*columns, strict=True)]
        if self.direction == "items":
            return self._evaluate("BM25", bm25_scores(self.texts, documents), self.relevant)
        return self._evaluate("BM25", bm25_scores(documents, self.texts), self.relevant)

    def compare(self, trained: Evaluated, rivals: Sequence[Evaluated]) -> Comparison:
        """The model beside its rivals."""
        candidates = len(self.catalog) if self.direction == "items" else len(self.texts)
        result = compare(self.direction, self.label, trained, rivals, metric=self.metric, candidates=candidates)
        return Comparison(metric=self.metric, subsets=[result])

    def _evaluate(self, name: str, scores: Scores, relevant: Sequence[np.ndarray]) -> Evaluated:
        return evaluate_system(name, scores, relevant, self.groups, gains=self.gains)


def _column(option: str, flag: str) -> str:
    if not option.startswith(_COLUMN) or option == _COLUMN:
        raise UserError(f"{flag} {option}: name a column as column:NAME")
    return option.removeprefix(_COLUMN)


def _seen(model_fields: Sequence[str], fields: Sequence[str] | None, asked: str | None) -> tuple[str, ...]:
    """The named fields, else all but the one that is asked for."""
    if fields is not None:
        return tuple(fields)
    seen = tuple(field for field in model_fields if field != asked)
    if not seen:
        raise UserError(f"nothing is left of an item without its {asked}: name what is seen with --fields")
    return seen


def _distinct_texts(values: Sequence[str | None]) -> dict[str, str]:
    """Normalised text → the first spelling of it."""
    texts: dict[str, str] = {}
    for value in values:
        if value is not None:
            texts.setdefault(str(normalised(value)), value)
    return texts


def _shown(fields: Sequence[str]) -> str:
    return " and ".join("picture" if field == "image" else field for field in fields)
