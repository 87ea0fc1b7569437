"""What a `CollectionStore` does with rows that somebody else has written into its collection."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from likewise.errors import UserError
from likewise.stores.collection_store import CollectionStore, StoredItem
from likewise.stores.schema import Schema

SCHEMA = Schema(4, field_vectors=("title", "image"))


def store_of(item: StoredItem) -> CollectionStore:
    collection = SimpleNamespace(
        schema=SCHEMA, fetch=lambda ids, **_: [item], walk=lambda *_, **__: iter([[item]]), count=lambda _: 1
    )
    current = SimpleNamespace(read=lambda read: read(collection), get=lambda **_: collection)
    return CollectionStore(SimpleNamespace(location="pgvector:shop", explain_errors=nullcontext), current)


@pytest.mark.parametrize(
    "fields", ["", "{", "[]", "null", '"a"', '{"id": "b"}', '{"title": "Ball"}', "[" * 100_000, "9" * 5_000, None]
)
def test_an_item_that_says_what_was_not_written_is_refused(fields):
    store = store_of(StoredItem("a", fields, [1.0, 0.0, 0.0, 0.0]))
    for ask in (lambda: store.fetch(["a"]), lambda: list(store.iterate())):
        with pytest.raises(UserError, match=r"pgvector:shop is missing or damaged: build it again \(.*item 'a'"):
            ask()


@pytest.mark.parametrize("blob", [b"", b"\x03", b"\x03" + bytes(9), b"\xff" + bytes(64)])
def test_vectors_of_fields_that_do_not_fit_are_refused(blob):
    store = store_of(StoredItem("a", '{"id": "a"}', [1.0, 0.0, 0.0, 0.0], blob))
    with pytest.raises(UserError, match="pgvector:shop is missing or damaged"):
        store.fetch(["a"], field_vectors=True)
