"""What `likewise evaluate` asks: words and pictures that look for items, or items that look for texts."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture
from likewise.catalog.images.resolve import resolve_pictures
from likewise.catalog.text import normalize_text
from likewise.errors import UserError
from likewise.evaluation.comparison import Evaluated, evaluate_system, headline_metric, relevance_by_key
from likewise.evaluation.judgments.qrels import JudgedQueries, read_queries
from likewise.evaluation.metrics import Scores

_COLUMN = "column:"


@dataclass(frozen=True)
class Inquiry:
    """One set of questions over one catalogue.

    Attributes:
        direction: which side is ranked: "items" for queries that look for items, "texts" for items that look for texts.
        texts: what goes through the query tower, each once; None for a query that is a picture alone.
        pictures: of the queries, one for each of `texts`; None where a query has none.
        relevant: per query the positions of its answers, in the catalogue or in `texts`.
        gains: graded relevance of the same shape, or None.
        exclude: per query the positions that are left out of its ranking, or None: an item that shows the query's very
            picture would stand first whatever the model has learned, so it counts only where it is judged an answer.
        groups: the identity of each query, for the bootstrap.
        fields: what is seen of an item.
        asked: where the questions come from, in words that follow "asked for by".
        hidden: the field that the questions were taken from, and that items are seen without; None where it is seen.
    """

    catalog: Catalog
    direction: Literal["items", "texts"]
    texts: list[str | None]
    pictures: list[Picture | None]
    relevant: list[np.ndarray]
    gains: list[np.ndarray] | None
    groups: Sequence[Hashable]
    fields: tuple[str, ...]
    asked: str
    hidden: str | None = None
    exclude: list[np.ndarray] | None = None

    @property
    def metric(self) -> str:
        """The headline metric of these questions."""
        return headline_metric(self.relevant, graded=self.gains is not None)

    @property
    def candidates(self) -> int:
        """How many items or texts are ranked."""
        return len(self.catalog) if self.direction == "items" else len(self.texts)

    def label(self, shown: str) -> str:
        """The questions in words that follow "on"; `shown` says what is seen of an item."""
        if self.direction == "items":
            return f"{shown}, asked for by {self.asked}"
        return f"the {len(self.texts):,} values of {self.asked}, asked for by {shown}"

    def views(self, *, ablations: bool) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """(key, words, fields) of every way in which the items are seen: first whole, then by parts of their fields.

        Args:
            ablations: also each field alone, and each left out; fields that no item has are passed over.
        """
        whole = shown_in_words(self.fields)
        yield "all", whole if len(self.fields) > 1 else f"the {whole}", self.fields
        held = tuple(field for field in self.fields if field in self.catalog.fields)
        if not ablations or len(held) < 2:
            return
        for field in held:
            yield f"only-{field}", f"the {shown_in_words([field])} alone", (field,)
        for field in held if len(held) > 2 else ():  # of two, leaving out the one is the other alone
            rest = tuple(other for other in held if other != field)
            yield f"without-{field}", f"{shown_in_words(rest)}, without the {shown_in_words([field])}", rest

    def evaluate(self, name: str, scores: Scores, relevant: Sequence[np.ndarray]) -> Evaluated:
        """One system's metrics; `relevant` are the answers that it can be asked for."""
        return evaluate_system(name, scores, relevant, self.groups, gains=self.gains, exclude=self.exclude)

    def documents(self, fields: Sequence[str]) -> list[str] | None:
        """The texts that are seen of every item, for a search for words; None where there is nothing but a picture."""
        words = [field for field in fields if field != "image" and field in self.catalog.table.columns]
        columns = [self.catalog.texts(field) for field in words]
        if not columns:
            return None
        return [" ".join(text for text in row if text is not None) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Request:
    """The options of the command, from which `inquiry` makes the questions.

    Attributes:
        catalog: the items.
        model_fields: the fields that the model knows.
        queries: a file or folder of judged queries, or "column:NAME" for every distinct value of a column; None: the
            titles.
        topics: the words of the queries, where the file of judged queries holds their ids alone.
        answers: "items", or "column:NAME": then every item is a query, and the column's distinct values are ranked.
        fields: what is seen of an item; None: every field that is not asked for.
        relevance: the column in which a query's item and its answers agree; None: the column of the queries.
    """

    catalog: Catalog
    model_fields: Sequence[str]
    queries: str | None = None
    topics: Path | None = None
    answers: str = "items"
    fields: Sequence[str] | None = None
    relevance: str | None = None

    def inquiry(self) -> Inquiry:
        """Read the questions.

        Raises:
            UserError: options that do not fit together, an unknown column or field, or a file that cannot be read.
        """
        from_file = self.queries is not None and not self.queries.startswith(_COLUMN)
        if self.topics is not None and not from_file:
            raise UserError("--topics goes with --queries FILE: it holds the words of queries that the file names")
        if self.answers != "items":
            if self.queries is not None:
                raise UserError("--answers column:NAME makes the items the queries: omit --queries")
            return self._items_to_texts(_column(self.answers, "--answers"))
        if from_file:
            return self._judged(Path(str(self.queries)))
        return self._texts_to_items(_column(self.queries, "--queries") if self.queries is not None else "title")

    def _texts_to_items(self, column: str) -> Inquiry:
        values = self.catalog.texts(column)
        seen = self._seen(column)
        texts = _distinct_texts(values)
        keys = [normalize_text(value) for value in values] if self.relevance is None else self._keys(self.relevance)
        # a text that stands in rows of several keys is answered by all of them
        keys_of: dict[str, set[Hashable]] = {text: set() for text in texts}
        for value, key in zip(values, keys, strict=True):
            if value is not None and key is not None:
                keys_of[str(normalize_text(value))].add(key)
        distinct_keys = list(dict.fromkeys(key for key in keys if key is not None))
        rows_of = dict(zip(distinct_keys, relevance_by_key(distinct_keys, keys), strict=True))
        none = np.empty(0, np.int64)
        relevant = [np.unique(np.concatenate([none, *(rows_of[key] for key in keys_of[text])])) for text in texts]
        return Inquiry(
            catalog=self.catalog,
            direction="items",
            texts=list(texts.values()),
            pictures=[None] * len(texts),
            relevant=relevant,
            gains=None,
            groups=list(texts),
            fields=seen,
            asked=column,
            hidden=column if column not in seen else None,
        )

    def _items_to_texts(self, column: str) -> Inquiry:
        if self.relevance is not None:
            raise UserError("--relevance goes with --answers items: an item's own value is its answer here")
        values = self.catalog.texts(column)
        seen = self._seen(column)
        texts = _distinct_texts(values)
        keys = [normalize_text(value) for value in values]
        return Inquiry(
            catalog=self.catalog,
            direction="texts",
            texts=list(texts.values()),
            pictures=[None] * len(texts),
            relevant=relevance_by_key(keys, list(texts)),
            gains=None,
            groups=[key if key is not None else f"\0{row}" for row, key in enumerate(keys)],
            fields=seen,
            asked=column,
            hidden=column if column not in seen else None,
        )

    def _judged(self, path: Path) -> Inquiry:
        judged = read_queries(path, self.catalog.ids, topics=self.topics)
        pictures = self._pictures(judged, path)
        lost = [image is not None and picture is None for image, picture in zip(judged.images, pictures, strict=True)]
        none = np.empty(0, np.int64)
        for note in judged.notes:
            self.catalog.report.note(note)
        if any(lost):
            self.catalog.report.note(f"{sum(lost):,} queries have a picture that cannot be used and are not measured")
        return Inquiry(
            catalog=self.catalog,
            direction="items",
            texts=judged.texts,
            pictures=pictures,
            relevant=[none if out else row for out, row in zip(lost, judged.relevant, strict=True)],
            gains=judged.gains
            and [none.astype(float) if out else row for out, row in zip(lost, judged.gains, strict=True)],
            groups=range(len(judged)),
            fields=self._seen(None),
            asked=f"the queries of {path.name}",
            exclude=self._same_pictures(pictures, judged.relevant) if any(judged.images) else None,
        )

    def _pictures(self, judged: JudgedQueries, path: Path) -> list[Picture | None]:
        """The picture of each query; relative paths start from the file's folder."""
        if not any(judged.images):
            return [None] * len(judged)
        if "image" not in self.model_fields:
            raise UserError(f"{path} asks with pictures, but this model has no field image")
        found = resolve_pictures(
            [[image] if image is not None else [] for image in judged.images],
            base=path if path.is_dir() else path.parent,
            settings=self.catalog.images,
            cache=self.catalog.cache,
            report=self.catalog.report,
        )
        return [pictures[0] if pictures else None for pictures in found]

    def _same_pictures(self, pictures: Sequence[Picture | None], relevant: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Per query the items that show its very picture and are not among its answers."""
        rows_of: dict[str, list[int]] = {}
        for row, shown in enumerate(self.catalog.pictures):
            for picture in shown:
                rows_of.setdefault(picture.key, []).append(row)
        same = [rows_of.get(picture.key, []) if picture is not None else [] for picture in pictures]
        return [
            np.setdiff1d(np.asarray(rows, dtype=np.int64), answers)
            for rows, answers in zip(same, relevant, strict=True)
        ]

    def _keys(self, column: str) -> list[Hashable | None]:
        keys = self.catalog.column(column)
        return [str(key) if isinstance(key, list | dict) else key for key in keys]

    def _seen(self, asked: str | None) -> tuple[str, ...]:
        """The named fields, else all but the one that is asked for."""
        if self.fields is not None:
            unknown = [field for field in self.fields if field not in self.model_fields]
            if unknown or not self.fields:
                named = f"unknown field {unknown[0]!r}" if unknown else "name at least one field"
                raise UserError(f"{named}; this model's fields are: {', '.join(self.model_fields)}")
            return tuple(field for field in self.model_fields if field in self.fields)
        seen = tuple(field for field in self.model_fields if field != asked)
        if not seen:
            raise UserError(f"nothing is left of an item without its {asked}: name what is seen with --fields")
        return seen


def shown_in_words(fields: Sequence[str]) -> str:
    """Fields as a person says them: "title, description and picture"."""
    names = ["picture" if field == "image" else field for field in fields]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _column(option: str, flag: str) -> str:
    if not option.startswith(_COLUMN) or option == _COLUMN:
        raise UserError(f"{flag} {option}: name a column as column:NAME")
    return option.removeprefix(_COLUMN)


def _distinct_texts(values: Sequence[str | None]) -> dict[str, str]:
    """Normalised text → the first spelling of it."""
    texts: dict[str, str] = {}
    for value in values:
        if value is not None:
            texts.setdefault(str(normalize_text(value)), value)
    return texts
