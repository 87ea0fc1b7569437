"""Items in MongoDB, searched with `$vectorSearch`; `mongodb://host:27017/database?collection=name`. Experimental.

The URI is MongoDB's own, so `mongodb+srv://` and options such as `?authSource=admin` work as well. What a store is made
of there is told in connection.py and filters.py.

mongod answers at once from what was written; mongot follows it a little later, so a write waits for it. And mongot's
graph may miss items that meet a condition: what is missing is looked for by mongot in all vectors, and if that is too
few still, here. No test has met a mongot yet, which is why this engine is experimental.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.progress import say
from likewise.stores.base import SearchResult
from likewise.stores.collection_store import CollectionStore, StoredItem, open_collection_store
from likewise.stores.collection_swap import replace_collection
from likewise.stores.damage import explain_damaged_store
from likewise.stores.mongodb.connection import Connection
from likewise.stores.mongodb.filters import (
    INDEX,
    KEY,
    MARK,
    MARK_VECTOR,
    MOST_CANDIDATES,
    VECTOR,
    Filter,
    bson_vector,
    build_documents,
    cosine,
    index_definition,
    index_filter,
    item_key,
    mark_pipeline,
    match_filter,
    nearest_pipeline,
    read_vectors,
)
from likewise.stores.results import rank_hits
from likewise.stores.schema import FIELD_VECTORS, FIELDS, ID, Schema
from likewise.stores.uri import Credentials, Location

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

Result = TypeVar("Result")

EXPERIMENTAL = "The MongoDB store is experimental: its vector search has not been tested against a server yet"
MOST_DIMENSIONS = 8_192  # that mongot takes
INDEX_FROM = 500  # items; the vectors of fewer come here as quickly as mongot answers

_ABOUT = {KEY: "about"}  # the document that describes the collection; items have binary keys
_AT_ONCE = 1_000  # ids in a filter, vectors in a batch
_QUERIES_AT_ONCE = 8
_INDEX_SECONDS = 2 * 3_600  # until an index has been built
_FOLLOWING_SECONDS = 60  # until mongot has seen a write; it is behind by about one
_SECONDS_BETWEEN_LOOKS = 0.1


def open_store(location: Location, credentials: Credentials) -> CollectionStore:
    """See base.py."""
    _announce()
    connection = Connection(location, credentials)
    return open_collection_store(connection, lambda name: _open(connection, name))


@contextmanager
def replace_store(location: Location, schema: Schema, credentials: Credentials) -> Iterator[CollectionStore]:
    """See base.py."""
    if schema.dim > MOST_DIMENSIONS:
        raise UserError(f"MongoDB searches vectors of at most {MOST_DIMENSIONS:,} dimensions, not {schema.dim:,}")
    _announce()
    connection = Connection(location, credentials)
    with replace_collection(connection, lambda name: _create(connection, name, schema)) as store:
        yield store


class MongoCollection:
    """The items of a collection, which has a document about them as well: {schema: …, indexed: …, mark: …}.

    Args:
        indexed: mongot has an index of them.
        building: nobody else sees it yet.
    """

    def __init__(
        self, collection: "Collection[dict[str, Any]]", schema: Schema, indexed: bool, building: bool = False
    ) -> None:
        self.schema, self._indexed = schema, indexed
        self._collection, self._building = collection, building

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray) -> None:
        from pymongo import ReplaceOne

        documents = build_documents(items, vectors, self.schema)
        writes = [ReplaceOne({KEY: one[KEY]}, one, upsert=True) for one in documents]
        self._all_or_none(lambda session: self._collection.bulk_write(writes, ordered=False, session=session))
        self.wait_for_index()

    def delete(self, ids: list[str]) -> int:  # what mongod lacks is not found, index or not
        def remove(session: "ClientSession | None") -> int:
            return sum(
                self._collection.delete_many({KEY: {"$in": keys}}, session=session).deleted_count for keys in _keys(ids)
            )

        return self._all_or_none(remove)

    def search(self, queries: np.ndarray, k: int, condition: Condition | None, *, exact: bool) -> list[SearchResult]:
        limit = index_filter(condition, self.schema) if self._is_indexed() else None
        if limit is None or (exact and k > MOST_CANDIDATES):
            return self._compare(queries, k, condition)
        results = self._search(queries, k, limit, exact or k > MOST_CANDIDATES)
        if exact:
            wanted = min(k, self.count(condition))
            short = [number for number, result in enumerate(results) if len(result.ids) < wanted]
            if short:
                for number, result in zip(short, self._compare(queries[short], k, condition), strict=True):
                    results[number] = result
        return results

    def fetch(self, ids: list[str], *, vectors: bool, field_vectors: bool) -> Iterator[StoredItem]:
        columns = _columns(vectors, field_vectors)
        for keys in _keys(ids):
            for one in self._collection.find({KEY: {"$in": keys}}, columns):
                yield self._stored_item(one)

    def count(self, condition: Condition | None) -> int:
        # The index of keys counts the items alone without reading them.
        limit = {KEY: {"$type": "binData"}} if condition is None else match_filter(condition)
        return int(self._collection.count_documents(limit))

    def walk(self, size: int, *, vectors: bool) -> Iterator[list[StoredItem]]:
        for some in self._batches(match_filter(None), _columns(vectors), size):
            yield [self._stored_item(one) for one in some]

    def optimise(self) -> None:
        """Have mongot index the items if they are many, and it has not yet."""
        if self._is_indexed() or self.count(None) < INDEX_FROM:
            return
        from pymongo.operations import SearchIndexModel

        if not list(self._collection.list_search_indexes(INDEX)):
            definition = index_definition(self.schema)
            self._collection.create_search_index(SearchIndexModel(definition, name=INDEX, type="vectorSearch"))
        self._wait_for(self._is_queryable, _INDEX_SECONDS, "is still building the index")
        self._collection.update_one(_ABOUT, {"$set": {"indexed": True}})

    def wait_for_index(self) -> None:
        """Wait until searches through the index see what has been written until now."""
        if not self._is_indexed():
            return
        from pymongo import ReturnDocument

        one_more = {"$inc": {MARK: 1}, "$set": {MARK_VECTOR: bson_vector(np.ones(1))}}
        now = self._collection.find_one_and_update(_ABOUT, one_more, return_document=ReturnDocument.AFTER)
        pipeline = mark_pipeline(now[MARK])
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

    def _search(self, queries: np.ndarray, k: int, limit: Filter, exact: bool) -> list[SearchResult]:
        """What mongot finds."""

        def ask(query: np.ndarray) -> SearchResult:
            hits = list(self._collection.aggregate(nearest_pipeline(query, k, limit, exact=exact)))
            return rank_hits([hit[ID] for hit in hits], [cosine(hit["score"]) for hit in hits], k)

        if len(queries) == 1:
            return [ask(queries[0])]
        with ThreadPoolExecutor(_QUERIES_AT_ONCE) as threads:
            return list(threads.map(ask, queries))

    def _compare(self, queries: np.ndarray, k: int, condition: Condition | None) -> list[SearchResult]:
        """The same from the vectors of all items that meet a condition, compared here."""
        ids = np.empty((len(queries), 0), dtype=object)
        scores = np.empty((len(queries), 0), dtype=np.float32)
        for some in self._batches(match_filter(condition), {KEY: 0, ID: 1, VECTOR: 1}, _AT_ONCE):
            new = np.array([one[ID] for one in some], dtype=object)
            ids = np.concatenate([ids, np.broadcast_to(new, (len(queries), len(new)))], axis=1)
            scores = np.concatenate([scores, queries @ self._matrix(some).T], axis=1)
            if scores.shape[1] > k:
                best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
                ids, scores = np.take_along_axis(ids, best, axis=1), np.take_along_axis(scores, best, axis=1)
        return [rank_hits(*hits, k) for hits in zip(ids, scores, strict=True)]

    def _batches(self, limit: Filter, columns: dict[str, int], size: int) -> Iterator[list[dict[str, Any]]]:
        with self._collection.find(limit, columns, batch_size=size) as documents:
            while some := list(itertools.islice(documents, size)):
                yield some

    def _matrix(self, some: list[dict[str, Any]]) -> np.ndarray:
        return read_vectors([one[VECTOR] for one in some], self.schema.dim)

    def _stored_item(self, document: dict[str, Any]) -> StoredItem:
        vector = self._matrix([document])[0] if VECTOR in document else None
        return StoredItem(document[ID], document[FIELDS], vector, document.get(FIELD_VECTORS))

    def _is_indexed(self) -> bool:
        """Whether mongot has an index, which any handle may have had it made."""
        if not self._indexed:
            about = self._collection.find_one(_ABOUT, {"indexed": 1})
            self._indexed = about is not None and bool(about.get("indexed"))
        return self._indexed

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


@cache
def _announce() -> None:
    """Say once what the user has to know about this engine."""
    say(EXPERIMENTAL)


def _create(connection: Connection, name: str, schema: Schema) -> MongoCollection:
    """A new, empty collection."""
    collection = connection.database.create_collection(name)
    collection.insert_one(_ABOUT | {"schema": schema.to_json(), "indexed": False})
    return MongoCollection(collection, schema, indexed=False, building=True)


def _open(connection: Connection, name: str) -> MongoCollection:
    collection = connection.database[name]
    about = collection.find_one(_ABOUT)
    try:
        return MongoCollection(collection, Schema.from_json(about["schema"]), bool(about["indexed"]))
    except (ValueError, KeyError, TypeError) as error:
        raise explain_damaged_store(connection.location, error) from None


def _columns(vectors: bool, field_vectors: bool = False) -> dict[str, int]:
    columns = [ID, FIELDS] + [VECTOR] * vectors + [FIELD_VECTORS] * field_vectors
    return {KEY: 0} | dict.fromkeys(columns, 1)


def _keys(ids: Sequence[str]) -> Iterator[list[Any]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield [item_key(id) for id in ids[start : start + _AT_ONCE]]
