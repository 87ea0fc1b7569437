"""One collection of items.

mongod answers at once from what was written; mongot follows it a little later, so a write waits for it. And mongot's
graph may miss items that meet a condition, so what it gives is compared with what mongod counts, and looked for again:
by mongot in all vectors, and if that is too few still, here.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.stores.base import Batch, Found, Record
from likewise.stores.field_vectors import unpack_field_vectors
from likewise.stores.mongodb.documents import KEY, VECTOR, bson_vector, documents, filled, key_of, numbers_of
from likewise.stores.mongodb.queries import (
    INDEX,
    MARK,
    MARK_VECTOR,
    MOST_CANDIDATES,
    Filter,
    cosine,
    index_definition,
    index_filter,
    marked,
    matching,
    nearest,
)
from likewise.stores.results import found, record
from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.database import Database

Result = TypeVar("Result")

MOST_DIMENSIONS = 8_192  # that mongot takes
INDEX_FROM = 500  # items; the vectors of fewer come here as quickly as mongot answers

_ITEMS: Filter = {filled(ID): {"$eq": True}}
_ABOUT = {KEY: "about"}  # the document that describes the content; items have binary keys
_AT_ONCE = 1_000  # ids in a filter, vectors in a batch
_QUERIES_AT_ONCE = 8
_INDEX_SECONDS = 2 * 3_600  # until an index has been built
_FOLLOWING_SECONDS = 60  # until mongot has seen a write; it is behind by about one
_SECONDS_BETWEEN_LOOKS = 0.1


class Content:
    """The items of a collection, which has a document about them as well: {schema: …, indexed: …, mark: …}.

    Args:
        building: nobody else sees it yet.

    Attributes:
        indexed: mongot has an index of them.
    """

    def __init__(
        self, collection: "Collection[dict[str, Any]]", schema: Schema, indexed: bool, building: bool = False
    ) -> None:
        self.schema, self.indexed = schema, indexed
        self._collection, self._building = collection, building

    @classmethod
    def created(cls, database: "Database[dict[str, Any]]", name: str, schema: Schema) -> "Content":
        """A new, empty one."""
        collection = database.create_collection(name)
        collection.insert_one(_ABOUT | {"schema": schema.to_json(), "indexed": False})
        return cls(collection, schema, indexed=False, building=True)

    @classmethod
    def opened(cls, collection: "Collection[dict[str, Any]]") -> "Content":
        """One that is there.

        Raises:
            ValueError, KeyError, TypeError: what is said about it cannot be read.
        """
        about = collection.find_one(_ABOUT)
        return cls(collection, Schema.from_json(about["schema"]), bool(about["indexed"]))

    @staticmethod
    def is_indexed(collection: "Collection[dict[str, Any]]") -> bool:
        """Whether mongot has an index of what is there."""
        about = collection.find_one(_ABOUT, {"indexed": 1})
        return about is not None and bool(about.get("indexed"))

    def upsert(self, stored: pl.DataFrame, unit: np.ndarray) -> None:
        """Write what `prepared_items` gives."""
        from pymongo import ReplaceOne

        writes = [ReplaceOne({KEY: one[KEY]}, one, upsert=True) for one in documents(stored, unit, self.schema)]
        if writes:
            self._all_or_none(lambda session: self._collection.bulk_write(writes, ordered=False, session=session))

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items; returns how many were there."""

        def remove(session: "ClientSession | None") -> int:
            return sum(
                self._collection.delete_many({KEY: {"$in": keys}}, session=session).deleted_count for keys in _keys(ids)
            )

        return self._all_or_none(remove)

    def search(self, queries: np.ndarray, k: int, condition: Condition | bool) -> list[Found]:
        """The k nearest items of each query.

        Args:
            queries: (q, dim) unit vectors.
            condition: in its normal form.
        """
        limit = index_filter(condition, self.schema) if self.indexed else None
        if limit is None:
            return self._compared(queries, k, condition)
        ways = [
            partial(self._nearest, limit=limit, exact=False),
            partial(self._nearest, limit=limit, exact=True),
            partial(self._compared, condition=condition),
        ]
        first, *others = ways[1:] if k > MOST_CANDIDATES else ways
        results = first(queries, k)
        if all(len(result.ids) == k for result in results):
            return results
        wanted = min(k, self.count(condition))
        for way in others:
            short = [number for number, result in enumerate(results) if len(result.ids) < wanted]
            if short:
                for number, result in zip(short, way(queries[short], k), strict=True):
                    results[number] = result
        return results

    def fetch(self, ids: Sequence[str], vectors: bool, field_vectors: bool) -> dict[str, Record]:
        """The items there are, by their ids."""
        columns = _columns(vectors) | ({FIELD_VECTORS: 1} if field_vectors else {})
        records: dict[str, Record] = {}
        for keys in _keys(ids):
            for one in self._collection.find({KEY: {"$in": keys}}, columns):
                vector = numbers_of([one[VECTOR]], self.schema.dim)[0] if vectors else None
                towers = self._field_vectors(one) if field_vectors else None
                records[one[ID]] = record(one[ID], one[FIELDS], vector, towers)
        return records

    def count(self, condition: Condition | bool) -> int:
        """How many items meet a condition in its normal form."""
        # The index of keys counts the items alone without reading them.
        limit = {KEY: {"$type": "binData"}} if condition is True else matching(condition)
        return int(self._collection.count_documents(limit))

    def batches(self, size: int, vectors: bool) -> Iterator[Batch]:
        """All items."""
        for some in self._batches(_ITEMS, _columns(vectors), size):
            fields = [json.loads(one[FIELDS]) for one in some]
            unit = self._matrix(some) if vectors else np.empty((len(some), 0), np.float32)
            yield Batch([one[ID] for one in some], fields, unit)

    def optimise(self) -> None:
        """Have mongot index the items if they are many, and it has not yet."""
        if self.indexed or self.count(True) < INDEX_FROM:
            return
        from pymongo.operations import SearchIndexModel

        if not list(self._collection.list_search_indexes(INDEX)):
            definition = index_definition(self.schema)
            self._collection.create_search_index(SearchIndexModel(definition, name=INDEX, type="vectorSearch"))
        self._wait_for(self._is_queryable, _INDEX_SECONDS, "is still building the index")
        self._collection.update_one(_ABOUT, {"$set": {"indexed": True}})

    def wait_for_index(self) -> None:
        """Wait until searches through the index see what has been written until now."""
        if not self.indexed:
            return
        from pymongo import ReturnDocument

        one_more = {"$inc": {MARK: 1}, "$set": {MARK_VECTOR: bson_vector(np.ones(1))}}
        now = self._collection.find_one_and_update(_ABOUT, one_more, return_document=ReturnDocument.AFTER)
        pipeline = marked(now[MARK])
        self._wait_for(
            lambda: bool(list(self._collection.aggregate(pipeline))),
            _FOLLOWING_SECONDS,
            "has what was written, but its index has not followed yet",
        )

    def _all_or_none(self, write: Callable[["ClientSession | None"], Result]) -> Result:
        if self._building:
            return write(None)
        with self._collection.database.client.start_session() as session:
            return session.with_transaction(write)

    def _nearest(self, queries: np.ndarray, k: int, limit: Filter, exact: bool) -> list[Found]:
        """What mongot finds."""

        def ask(query: np.ndarray) -> Found:
            hits = list(self._collection.aggregate(nearest(query, k, limit, exact=exact)))
            return found([hit[ID] for hit in hits], [cosine(hit["score"]) for hit in hits], k)

        if len(queries) == 1:
            return [ask(queries[0])]
        with ThreadPoolExecutor(_QUERIES_AT_ONCE) as threads:
            return list(threads.map(ask, queries))

    def _compared(self, queries: np.ndarray, k: int, condition: Condition | bool) -> list[Found]:
        """The same from the vectors of all items that meet a condition, compared here."""
        ids = np.empty((len(queries), 0), dtype=object)
        scores = np.empty((len(queries), 0), dtype=np.float32)
        for some in self._batches(matching(condition), {KEY: 0, ID: 1, VECTOR: 1}, _AT_ONCE):
            new = np.array([one[ID] for one in some], dtype=object)
            ids = np.concatenate([ids, np.broadcast_to(new, (len(queries), len(new)))], axis=1)
            scores = np.concatenate([scores, queries @ self._matrix(some).T], axis=1)
            if scores.shape[1] > k:
                best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
                ids, scores = np.take_along_axis(ids, best, axis=1), np.take_along_axis(scores, best, axis=1)
        return [found(*hits, k) for hits in zip(ids, scores, strict=True)]

    def _batches(self, limit: Filter, columns: dict[str, int], size: int) -> Iterator[list[dict[str, Any]]]:
        with self._collection.find(limit, columns, batch_size=size) as documents:
            while some := list(itertools.islice(documents, size)):
                yield some

    def _matrix(self, some: list[dict[str, Any]]) -> np.ndarray:
        return numbers_of([one[VECTOR] for one in some], self.schema.dim)

    def _field_vectors(self, document: dict[str, Any]) -> dict[str, np.ndarray]:
        if not self.schema.field_vectors:
            return {}
        return unpack_field_vectors(document[FIELD_VECTORS], self.schema.field_vectors, self.schema.dim)

    def _is_queryable(self) -> bool:
        for index in self._collection.list_search_indexes(INDEX):
            if index.get("status") == "FAILED":
                name, message = self._collection.name, index.get("message")
                raise UserError(f"MongoDB could not build the index of {name}: {message}")
            return bool(index.get("queryable"))
        return False  # it has been asked for, but is not on the list yet

    def _wait_for(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise UserError(f"MongoDB {otherwise} after {seconds:,.0f} seconds: look at the log of mongot")
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _columns(vectors: bool) -> dict[str, int]:
    return {KEY: 0, ID: 1, FIELDS: 1} | ({VECTOR: 1} if vectors else {})


def _keys(ids: Sequence[str]) -> Iterator[list[Any]]:
    distinct = list(dict.fromkeys(ids))
    for start in range(0, len(distinct), _AT_ONCE):
        yield [key_of(id) for id in distinct[start : start + _AT_ONCE]]
