"""What a store is: items known by their ids, searched by cosine, filtered by their fields.

An engine is a module with two functions, found by engines.py:

    open_store(location, credentials) -> Store
        The store at a place. UserError where there is none, or where it is damaged; the sentence says which.
    replace_store(location, schema, credentials) -> ContextManager[Store]
        Yields a new, empty store. When the block ends without an error it becomes the store at that place, in one
        step; whatever was there before serves until then, and stays if the block fails or the process dies. Handles
        that are open elsewhere, in this process or another, answer from the new store a second later at most.

What each engine has to do is checked by likewise.testing.stores. All but FAISS build on collection_store.py, which does
once what they share; docs/stores/writing_an_engine.md shows how.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.stores.schema import Schema


@dataclass(frozen=True)
class SearchResult:
    """What one query finds.

    Attributes:
        ids: of the items, best first.
        scores: (len(ids),) float32, their cosines with the query in [-1, 1], descending.
    """

    ids: list[str]
    scores: np.ndarray


@dataclass(frozen=True)
class Record:
    """One item as a store keeps it.

    Attributes:
        fields: every column, "id" among them, as JSON can hold it: dates as they are written, NaN as None.
        vector: (dim,) float32 of unit norm, if it was asked for.
        field_vectors: (dim,) float32 for each field that the item has, if they were asked for; half precision is
            kept. Empty where the store keeps none.
    """

    id: str
    fields: dict[str, Any] = field(repr=False)
    vector: np.ndarray | None = field(default=None, repr=False)
    field_vectors: dict[str, np.ndarray] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Batch:
    """Some items of a walk through a store.

    Attributes:
        fields: one dictionary for each id, as in `Record`.
        vectors: (len(ids), dim) float32, unit norm; (len(ids), 0) if they were not asked for.
    """

    ids: list[str]
    fields: list[dict[str, Any]]
    vectors: np.ndarray


class Store(Protocol):
    """Items, their unit vectors and their fields, somewhere; safe to use from several threads.

    An id is any text but the empty one. What `upsert` or `delete` has returned from is durable (it survives the end of
    this process) and is seen by the next search through this handle; through others, a second later at most.
    """

    @property
    def schema(self) -> Schema:
        """Dimensions, columns, and what the caller wanted remembered, all of the content in use."""

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray, field_vectors: np.ndarray | None = None) -> None:
        """Write items; those whose id is there already are replaced as a whole. All are written, or none.

        Args:
            items: n rows, "id" and any columns of the schema; absent ones are blank. The last row of an id counts.
            vectors: (n, dim), finite; lengths do not matter.
            field_vectors: (n, fields, dim), of the fields of `Schema.field_vectors`, with NaN in the rows of fields
                that an item lacks; kept in half precision. Required if the schema names fields, refused otherwise.

        Raises:
            UserError: a column that the schema lacks or of another kind, or vectors that are missing or of a wrong
                shape.
        """

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items; unknown ids are ignored. Returns how many were there."""

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> Sequence[SearchResult]:
        """Find the k items nearest to each query among those that meet a condition.

        As many come back as there are, up to k: with a condition, k hits when k items meet it, however rare those are.

        Args:
            vectors: (q, dim), finite; lengths do not matter. A zero vector scores 0 against everything.
            k: at least 1.

        Returns:
            q results. Their ids may be read from the disk only as one looks at them.

        Raises:
            UserError: vectors of a wrong shape, a k that makes no sense, or a condition that does not fit the columns.
        """

    def fetch(self, ids: Sequence[str], *, vectors: bool = False, field_vectors: bool = False) -> list[Record | None]:
        """Items by id, in this order; None where there is none."""

    def count(self, condition: Condition | None = None) -> int:
        """The number of items, or of those that meet a condition."""

    def iterate(self, batch: int = 10_000, *, vectors: bool = True) -> Iterator[Batch]:
        """All items, each once, in any order, `batch` at most at a time; writes meanwhile may or may not be seen.

        Args:
            vectors: False: only ids and fields are read.
        """

    def refresh(self) -> None:
        """See from now on what others have written until now."""

    def optimise(self) -> None:
        """Do what makes searches fast after many writes: indexes, compaction. `replace_store` does so by itself."""

    def close(self) -> None:
        """Close files and connections; closing twice is allowed."""
