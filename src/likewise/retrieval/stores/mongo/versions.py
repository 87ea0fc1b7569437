"""Contents of a store side by side, each in a collection of its own; a document names the one in use.

likewise_stores        {_id: "products", content: its collection, previous: another, schema: …, indexed: …}
likewise_contents      for each content {_id: its collection, of: "products", since: …, built: …}
products_3f9a2c41b7d0  a content of the store "products"

MongoDB answers from a collection that has gone as from an empty one. So the content that was in use before stays until
the next replacement, for those who have not noticed the current one.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from likewise.errors import UserError
from likewise.retrieval.stores.location import Location
from likewise.retrieval.stores.mongo.content import Content
from likewise.retrieval.stores.schema import Schema

if TYPE_CHECKING:
    from pymongo.database import Database

_INDEXED = " indexed"
_FORGOTTEN = timedelta(days=7)  # since a build began; then its process must have died


class Versions:
    """The contents of one store.

    A content goes by a name that changes once it has an index, so that handles follow that as well.
    """

    def __init__(self, database: "Database[dict[str, Any]]", location: Location) -> None:
        self._database, self._location = database, location
        self._store = location.collection
        self._stores, self._contents = database["likewise_stores"], database["likewise_contents"]
        self._schemas: dict[str, str] = {}  # as they were read together with the names

    def in_use(self) -> str:
        """The name of the content in use.

        Raises:
            UserError: there is none.
        """
        pointer = self._stores.find_one({"_id": self._store})
        if pointer is None:
            raise UserError(
                f"there is no store at {self._location}: build it with `likewise index --store {self._location}`"
            )
        try:
            name = str(pointer["content"]) + (_INDEXED if pointer["indexed"] else "")
            self._schemas[name] = pointer["schema"]
        except KeyError:
            raise self._damaged() from None
        return name

    def content(self, name: str) -> Content:
        """The content of a name.

        Raises:
            UserError: what is known of it cannot be read.
        """
        collection = name.removesuffix(_INDEXED)
        try:
            schema = Schema.from_json(self._schemas[name])
        except (ValueError, KeyError, TypeError):
            raise self._damaged() from None
        return Content(self._database[collection], schema, indexed=name != collection)

    @contextmanager
    def building(self, schema: Schema) -> Iterator[Content]:
        """Yield a new, empty content; it goes if the block fails."""
        from pymongo.errors import PyMongoError

        name = f"{self._store}_{secrets.token_hex(6)}"
        self._contents.insert_one({"_id": name, "of": self._store, "since": datetime.now(UTC), "built": False})
        collection = self._database.create_collection(name)
        try:
            yield Content(collection, schema, indexed=False, building=True)
        except BaseException:
            with suppress(PyMongoError):  # a later build tries again
                self._drop(name)
            raise

    def put_in_use(self, content: Content, *, indexed: bool) -> None:
        """Have all handles use a content from now on, and remove those that nobody uses any more."""
        now = {"content": content.name, "schema": content.schema.to_json(), "indexed": indexed}
        while not self._switched(now):
            pass  # another build was faster; this one comes after it
        self._contents.update_one({"_id": content.name}, {"$set": {"built": True}})
        self._sweep()

    def tell_indexed(self, content: Content) -> None:
        """Have all handles use the index of the content in use."""
        self._stores.update_one({"_id": self._store, "content": content.name}, {"$set": {"indexed": True}})

    def _switched(self, now: dict[str, Any]) -> bool:
        from pymongo.errors import DuplicateKeyError

        pointer = self._stores.find_one({"_id": self._store})
        if pointer is None:
            with suppress(DuplicateKeyError):
                self._stores.insert_one({"_id": self._store, "previous": None} | now)
                return True
            return False
        before = pointer["content"]
        change = {"$set": {"previous": before} | now}
        return self._stores.update_one({"_id": self._store, "content": before}, change).matched_count == 1

    def _sweep(self) -> None:
        pointer = self._stores.find_one({"_id": self._store})
        kept = {pointer["content"], pointer["previous"]}
        oldest = datetime.now(UTC).replace(tzinfo=None) - _FORGOTTEN  # MongoDB gives times without a zone
        for content in list(self._contents.find({"of": self._store})):
            if content["_id"] not in kept and (content["built"] or content["since"] < oldest):
                self._drop(content["_id"])

    def _drop(self, name: str) -> None:
        self._database.drop_collection(name)
        self._contents.delete_one({"_id": name})

    def _damaged(self) -> UserError:
        return UserError(f"the store at {self._location} is damaged: build it again")
