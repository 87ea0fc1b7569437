"""Retrieval tasks: queries, the candidates that they rank, and which of those are right."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from likewise.catalog.catalog import Catalog
from likewise.catalog.identity import Identity
from likewise.catalog.images.picture import Picture
from likewise.catalog.images.resolve import resolve_pictures
from likewise.catalog.text import normalize_text
from likewise.errors import UserError
from likewise.evaluation.comparison import SystemMetrics, evaluate_system, headline_metric, relevance_by_key
from likewise.evaluation.judgments.qrels import JudgedQueries, read_queries
from likewise.evaluation.judgments.query_log import QueryLog
from likewise.evaluation.metrics import Scores
from likewise.evaluation.subsets import FieldSubset
from likewise.retrieval.lexical.tokenizing import searchable_text

_COLUMN = "column:"


@dataclass(frozen=True)
class RetrievalTask:
    """Queries over the items of one catalogue.

    Attributes:
        catalog: the items; all of them are candidates, or queries.
        direction: which side is ranked: "items" for queries that look for items, "texts" for items that look for texts.
        texts: what goes through the query tower, each once; None for a query that is a picture alone.
        pictures: of the queries, one for each of `texts`; None where a query has none.
        relevant: per query the positions of its answers, in the catalogue or in `texts`.
        gains: graded relevance of the same shape, or None.
        exclude: per query the positions that its ranking omits, or None: an item that shows the query's very picture
            would always rank first, so it counts only where it is judged an answer.
        groups: the identity of each query, for the bootstrap.
        fields: through which the items are seen.
        source: where the queries come from, in words that follow "asked for by".
        hidden: the field that the queries were taken from, which the items do not show; None where they show it.
    """

    catalog: Catalog
    direction: Literal["items", "texts"]
    texts: Sequence[str | None]
    pictures: Sequence[Picture | None]
    relevant: list[np.ndarray]
    gains: list[np.ndarray] | None
    groups: Sequence[Hashable] | np.ndarray
    fields: tuple[str, ...]
    source: str
    hidden: str | None = None
    exclude: list[np.ndarray] | None = None

    @property
    def metric(self) -> str:
        """The headline metric of the task."""
        return headline_metric(self.relevant, graded=self.gains is not None)

    @property
    def candidates(self) -> int:
        """How many items or texts are ranked."""
        return len(self.catalog) if self.direction == "items" else len(self.texts)

    def label(self, shown: str) -> str:
        """The task in words that follow "on"; `shown` says what is seen of an item."""
        if self.direction == "items":
            return f"{shown}, asked for by {self.source}"
        return f"the {len(self.texts):,} values of {self.source}, asked for by {shown}"

    def list_subsets(self, *, ablations: bool) -> list[FieldSubset]:
        """The subsets of the fields through which the items are seen: first all fields, then parts of them.

        Args:
            ablations: add each field alone and all fields without each; fields that no item has are passed over.
        """
        whole = join_fields(self.fields)
        subsets = [("all", whole if len(self.fields) > 1 else f"the {whole}", self.fields)]
        held = tuple(field for field in self.fields if self.catalog.has_field(field))
        if ablations and len(held) > 1:
            subsets += [(f"only-{field}", f"the {join_fields([field])} alone", (field,)) for field in held]
        if ablations and len(held) > 2:  # of two, omitting the one is the other alone
            for field in held:
                rest = tuple(other for other in held if other != field)
                words = f"{join_fields(rest)}, without the {join_fields([field])}"
                subsets.append((f"without-{field}", words, rest))
        return [FieldSubset(key, self.label(words), fields) for key, words, fields in subsets]

    def evaluate(self, name: str, scores: Scores, relevant: Sequence[np.ndarray]) -> SystemMetrics:
        """One system's metrics; `relevant` are the answers that it can be asked for."""
        return evaluate_system(name, scores, relevant, self.groups, gains=self.gains, exclude=self.exclude)

    def documents(self, fields: Sequence[str]) -> list[str] | None:
        """The text of every item that lexical search reads in these fields; None where none of them holds text."""
        names = [field for field in fields if field != "image" and field in self.catalog.table.columns]
        if not names:
            return None
        columns = [self.catalog.column(name) for name in names]
        return [searchable_text(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class TaskOptions:
    """The options of `likewise evaluate`, from which `build` makes a retrieval task.

    Attributes:
        catalog: the items.
        model_fields: the fields that the model knows.
        queries: a file or folder of judged queries, or "column:NAME" for every distinct value of a column; None: the
            titles.
        topics: the words of the queries, where the file of judged queries holds their ids alone.
        answers: "items", or "column:NAME": then every item is a query, and the column's distinct values are ranked.
        fields: through which items are seen; None: every field that is not asked for.
        relevance: the column in which a query's item and its answers agree; None: the column of the queries.
    """

    catalog: Catalog
    model_fields: Sequence[str]
    queries: str | None = None
    topics: Path | None = None
    answers: str = "items"
    fields: Sequence[str] | None = None
    relevance: str | None = None

    def build(self) -> RetrievalTask:
        """Read the queries and their answers.

        Raises:
            UserError: options that do not fit together, an unknown column or field, or a file that cannot be read.
        """
        from_file = self.queries is not None and not self.queries.startswith(_COLUMN)
        if self.topics is not None and not from_file:
            raise UserError("--topics needs --queries FILE: it holds the texts of the queries in that file")
        if self.answers != "items":
            if self.queries is not None:
                raise UserError("with --answers column:NAME the items are the queries: omit --queries")
            return self._items_to_texts(_column(self.answers, "--answers"))
        if from_file:
            return self._build_judged_task(Path(str(self.queries)))
        return self._texts_to_items(_column(self.queries, "--queries") if self.queries is not None else "title")

    def _texts_to_items(self, column: str) -> RetrievalTask:
        shown = self._choose_fields(column)
        if column == "title" and self.relevance is None:
            pictured = "image" in self.model_fields  # or else pictures are not even looked up
            return build_title_task(self.catalog, Identity.read(self.catalog, pictures=pictured), shown)
        keys = _normalize(self.catalog.texts(column)) if self.relevance is None else self._keys(self.relevance)
        return _build_text_task(self.catalog, column, keys, None, shown)

    def _items_to_texts(self, column: str) -> RetrievalTask:
        if self.relevance is not None:
            raise UserError("--relevance applies to --answers items only: here an item's own value is the answer")
        shown = self._choose_fields(column)
        values = self.catalog.texts(column)
        texts, keys = _distinct_texts(values), _normalize(values)
        return RetrievalTask(
            catalog=self.catalog,
            direction="texts",
            texts=list(texts.values()),
            pictures=[None] * len(texts),
            relevant=relevance_by_key(keys, list(texts)),
            gains=None,
            groups=[key if key is not None else f"\0{row}" for row, key in enumerate(keys)],
            fields=shown,
            source=column,
            hidden=column if column not in shown else None,
        )

    def _build_judged_task(self, path: Path) -> RetrievalTask:
        judged = read_queries(path, self.catalog.ids, topics=self.topics)
        pictures = self._pictures(judged, path)
        lost = [image is not None and picture is None for image, picture in zip(judged.images, pictures, strict=True)]
        none = np.empty(0, np.int64)
        for note in judged.notes:
            self.catalog.report.note(note)
        if any(lost):
            self.catalog.report.note(f"{sum(lost):,} queries have a picture that cannot be used and are not measured")
        return RetrievalTask(
            catalog=self.catalog,
            direction="items",
            texts=judged.texts,
            pictures=pictures,
            relevant=[none if out else row for out, row in zip(lost, judged.relevant, strict=True)],
            gains=judged.gains
            and [none.astype(float) if out else row for out, row in zip(lost, judged.gains, strict=True)],
            groups=range(len(judged)),
            fields=self._choose_fields(None),
            source=f"the queries of {path.name}",
            exclude=self._same_pictures(pictures, judged.relevant) if any(judged.images) else None,
        )

    def _pictures(self, judged: JudgedQueries, path: Path) -> list[Picture | None]:
        """The picture of each query; relative paths start from the file's folder."""
        if not any(judged.images):
            return [None] * len(judged)
        if "image" not in self.model_fields:
            raise UserError(f"{path} has pictures as queries, but this model has no field image")
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

    def _choose_fields(self, asked: str | None) -> tuple[str, ...]:
        """The named fields, else all but the one that is asked for."""
        if self.fields is not None:
            unknown = [field for field in self.fields if field not in self.model_fields]
            if unknown or not self.fields:
                named = f"unknown field {unknown[0]!r}" if unknown else "name at least one field"
                raise UserError(f"{named}; this model's fields are: {', '.join(self.model_fields)}")
            return tuple(field for field in self.model_fields if field in self.fields)
        seen = tuple(field for field in self.model_fields if field != asked)
        if not seen:
            raise UserError(f"items have no field but {asked}: choose the fields to use with --fields")
        return seen


def build_title_task(catalog: Catalog, identity: Identity, fields: tuple[str, ...]) -> RetrievalTask:
    """Build a task in which every distinct title is a query for the items with its identity.

    Args:
        catalog: the items.
        identity: of these items.
        fields: through which they are seen.
    """
    keys: list[Hashable | None] = [int(code) if code >= 0 else None for code in identity.thing]
    return _build_text_task(catalog, "title", keys, identity.component, fields)


def build_log_task(
    catalog: Catalog, rows: np.ndarray, log: QueryLog, texts: Sequence[str], fields: tuple[str, ...]
) -> RetrievalTask | None:
    """Build a task from the logged queries that some items answer; None where there are none.

    Args:
        catalog: the items.
        rows: (n,) the row of each item in the catalogue that the log was written for.
        log: queries of all rows.
        texts: the words of the log's queries, by their index.
        fields: through which the items are seen.
    """
    position = np.full(len(log.starts) - 1, -1)
    position[rows] = np.arange(len(rows))
    entry_position = position[log.row]
    kept = np.flatnonzero(entry_position >= 0)
    if not len(kept):
        return None
    order = kept[np.lexsort((entry_position[kept], log.text[kept]))]
    distinct, starts = np.unique(log.text[order], return_index=True)
    return RetrievalTask(
        catalog=catalog,
        direction="items",
        texts=[texts[index] for index in distinct],
        pictures=[None] * len(distinct),
        relevant=np.split(entry_position[order], starts[1:]),
        gains=np.split(log.weight[order], starts[1:]) if log.graded else None,
        groups=range(len(distinct)),
        fields=fields,
        source="the query log",
    )


def _build_text_task(
    catalog: Catalog,
    column: str,
    keys: Sequence[Hashable | None],
    groups: np.ndarray | None,
    fields: tuple[str, ...],
) -> RetrievalTask:
    """Every distinct text of a column is a query for the items that have one of its keys.

    Args:
        keys: of each item.
        groups: (items,) identities, of which a text has that of its first item; None: every text has its own.
    """
    values = catalog.texts(column)
    texts = _distinct_texts(values)
    keys_of: dict[str, set[Hashable]] = {text: set() for text in texts}
    first_row: dict[str, int] = {}
    for row, (value, key) in enumerate(zip(values, keys, strict=True)):
        if value is not None:
            text = str(normalize_text(value))
            first_row.setdefault(text, row)
            if key is not None:  # a text that stands in rows of several keys is answered by all of them
                keys_of[text].add(key)
    distinct_keys = list(dict.fromkeys(key for key in keys if key is not None))
    rows_of = dict(zip(distinct_keys, relevance_by_key(distinct_keys, keys), strict=True))
    none = np.empty(0, np.int64)
    return RetrievalTask(
        catalog=catalog,
        direction="items",
        texts=list(texts.values()),
        pictures=[None] * len(texts),
        relevant=[np.unique(np.concatenate([none, *(rows_of[key] for key in keys_of[text])])) for text in texts],
        gains=None,
        groups=list(texts) if groups is None else groups[[first_row[text] for text in texts]],
        fields=fields,
        source=column,
        hidden=column if column not in fields else None,
    )


def join_fields(fields: Sequence[str]) -> str:
    """Fields as a person says them: "title, description and picture"."""
    names = ["picture" if field == "image" else field for field in fields]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _column(option: str, flag: str) -> str:
    if not option.startswith(_COLUMN) or option == _COLUMN:
        raise UserError(f"{flag} {option}: name a column as column:NAME")
    return option.removeprefix(_COLUMN)


def _normalize(values: Sequence[str | None]) -> list[Hashable | None]:
    return [normalize_text(value) for value in values]


def _distinct_texts(values: Sequence[str | None]) -> dict[str, str]:
    """Normalised text → the first spelling of it."""
    texts: dict[str, str] = {}
    for value in values:
        if value is not None:
            texts.setdefault(str(normalize_text(value)), value)
    return texts
