"""Items in MongoDB, searched with `$vectorSearch`; `mongodb://host:27017/database?collection=name`.

The URI is MongoDB's own, so `mongodb+srv://` and options such as `?authSource=admin` work as well. What a store is made
of there is told in mongo/versions.py and mongo/documents.py.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import polars as pl

from likewise.catalog.filters import Condition
from likewise.errors import UserError
from likewise.retrieval.stores.base import Batch, Found, Record
from likewise.retrieval.stores.conditions import normal_form
from likewise.retrieval.stores.following import Following
from likewise.retrieval.stores.inputs import checked_k, prepared_items, unit_vectors
from likewise.retrieval.stores.location import Credentials, Location
from likewise.retrieval.stores.mongo.content import MOST_DIMENSIONS, Content
from likewise.retrieval.stores.mongo.server import connected, refusals
from likewise.retrieval.stores.mongo.versions import Versions
from likewise.retrieval.stores.results import in_order, nothing
from likewise.retrieval.stores.schema import Schema

if TYPE_CHECKING:
    from pymongo.database import Database

Result = TypeVar("Result")


def open_store(location: Location, credentials: Credentials) -> "MongoStore":
    """See base.py."""
    database = connected(location, credentials)
    versions = Versions(database, location)
    store = MongoStore(location, database, versions, Following(versions.in_use, versions.content))
    try:
        _ = store.schema
    except BaseException:
        store.close()
        raise
    return store


@contextmanager
def replace_store(location: Location, schema: Schema, credentials: Credentials) -> Iterator["MongoStore"]:
    """See base.py."""
    if schema.dim > MOST_DIMENSIONS:
        raise UserError(f"MongoDB searches vectors of at most {MOST_DIMENSIONS:,} dimensions, not {schema.dim:,}")
    database = connected(location, credentials)
    with closing(database.client):
        versions = Versions(database, location)
        with refusals(location), versions.building(schema) as content:
            yield MongoStore(location, database, versions, Following(lambda: "", lambda name: content))
            versions.put_in_use(content, indexed=content.optimise())


class MongoStore:
    """A `Store`; several processes may read and write it at a time."""

    def __init__(
        self,
        location: Location,
        database: "Database[dict[str, Any]]",
        versions: Versions,
        following: Following[Content],
    ) -> None:
        self._location, self._database = location, database
        self._versions, self._following = versions, following

    @property
    def schema(self) -> Schema:
        return self._read(lambda content: content.schema)

    def upsert(self, items: pl.DataFrame, vectors: np.ndarray) -> None:
        def write(content: Content) -> None:
            content.upsert(*prepared_items(items, vectors, content.schema))
            content.wait_for_index()

        self._write(write)

    def delete(self, ids: Sequence[str]) -> int:
        return self._write(lambda content: content.delete(ids))  # what mongod lacks is not found, index or not

    def search(self, vectors: np.ndarray, k: int, condition: Condition | None = None) -> list[Found]:
        def read(content: Content) -> list[Found]:
            queries = unit_vectors(vectors, content.schema.dim)
            limit = _normal_form(condition, content.schema)
            if len(queries) == 0 or limit is False:
                return nothing(len(queries))
            return content.search(queries, checked_k(k), limit)

        return self._read(read)

    def fetch(self, ids: Sequence[str], *, vectors: bool = False) -> list[Record | None]:
        return in_order(ids, self._read(lambda content: content.fetch(ids, vectors)))

    def count(self, condition: Condition | None = None) -> int:
        return self._read(lambda content: content.count(_normal_form(condition, content.schema)))

    def iterate(self, batch: int = 10_000) -> Iterator[Batch]:
        with refusals(self._location):
            yield from self._following.current(asking=True).batches(batch)

    def optimise(self) -> None:
        with refusals(self._location):
            content = self._following.current(asking=True)
            if content.optimise() and not content.indexed:
                self._versions.tell_indexed(content)
                self._following.current(asking=True)

    def close(self) -> None:
        self._database.client.close()

    def _read(self, operation: Callable[[Content], Result]) -> Result:
        with refusals(self._location):
            return self._following.read(operation)

    def _write(self, operation: Callable[[Content], Result]) -> Result:
        """Run something, and again if the content was replaced meanwhile: it may have come too late to be copied."""
        with refusals(self._location):
            while True:
                content = self._following.current(asking=True)
                result = operation(content)
                if self._following.current(asking=True) is content:
                    return result


def _normal_form(condition: Condition | None, schema: Schema) -> Condition | bool:
    return True if condition is None else normal_form(condition, schema)
