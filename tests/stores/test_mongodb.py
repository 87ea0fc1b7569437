"""What is MongoDB's own: what is sent to it, and what is done with what it says.

Filters, pipelines and the index's definition are checked against the grammar that MongoDB's manual gives. mongomock, a
MongoDB in memory that knows neither transactions nor `$vectorSearch`, evaluates the filters and stands in for mongod.
Nothing stands in for mongot: searches through its index run in the conformance suite where LIKEWISE_TEST_MONGODB_URI
names a server.
"""

import itertools
import sys
import time
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.catalog.filters import Compare, Condition, Not, OneOf, Or, parse_filter
from likewise.catalog.filters_polars import match_rows
from likewise.errors import MissingExtraError, UserError
from likewise.stores.base import Store
from likewise.stores.conditions import normal_form
from likewise.stores.inputs import prepare_items
from likewise.stores.mongodb import collection as collections
from likewise.stores.mongodb import connection as connections
from likewise.stores.mongodb import filters
from likewise.stores.mongodb.collection import MongoCollection
from likewise.stores.mongodb.filters import (
    bson_vector,
    build_documents,
    cosine,
    index_definition,
    index_filter,
    mark_pipeline,
    match_filter,
    nearest_pipeline,
    read_vectors,
)
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema
from likewise.stores.uri import Credentials, parse_location
from likewise.testing.stores import CONDITIONS, DIM, ITEMS, VECTORS

SCHEMA = Schema.of(ITEMS, DIM)

# --- the grammar -----------------------------------------------------------------------------------------------------

_COMPARISONS = {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte"}


def _check_definition(definition: dict[str, Any]) -> set[str]:
    """Check an index's definition; returns the paths that filters may name."""
    assert set(definition) == {"fields"}
    paths = [field["path"] for field in definition["fields"]]
    assert len(paths) == len(set(paths)), "paths are distinct"
    for field in definition["fields"]:
        if field["type"] == "vector":
            assert set(field) == {"type", "path", "numDimensions", "similarity"}
            assert 1 <= field["numDimensions"] <= 8_192
            assert field["similarity"] in ("euclidean", "cosine", "dotProduct")
        else:
            assert field == {"type": "filter", "path": field["path"]}
    return {field["path"] for field in definition["fields"] if field["type"] == "filter"}


def _check_filter(limit: dict[str, Any], paths: set[str]) -> int:
    """Check a filter; returns its comparisons."""
    ((name, content),) = limit.items()
    if name in ("$and", "$or"):
        assert len(content) >= 2
        return sum(_check_filter(part, paths) for part in content)
    assert name in paths, "only what is indexed as a filter can be asked for"
    ((operator, value),) = content.items()
    values = value if operator in ("$in", "$nin") else [value]
    assert operator in _COMPARISONS | {"$in", "$nin"}
    assert values
    assert (
        len({float if isinstance(one, int | float) and not isinstance(one, bool) else type(one) for one in values}) == 1
    )
    for one in values:
        assert isinstance(one, bool | int | float | str)
        assert isinstance(one, bool) is False or operator in ("$eq", "$ne", "$in", "$nin")
        assert not isinstance(one, str) or len(one.encode()) < 8_191, "longer texts are cut off"
    return len(values)


def _check_pipeline(pipeline: list[dict[str, Any]], paths: set[str], dimensions: int) -> None:
    stage, *rest = pipeline
    search = stage["$vectorSearch"]
    assert [list(stage) for stage in rest] == [["$project"]]
    assert set(search) <= {"index", "path", "queryVector", "limit", "exact", "numCandidates", "filter"}
    assert len(search["queryVector"]) == dimensions
    assert all(type(number) is float for number in search["queryVector"])
    assert 1 <= search["limit"] < 2**31
    if search.get("exact"):
        assert "numCandidates" not in search
    else:
        assert search["limit"] <= search["numCandidates"] <= 10_000
    if "filter" in search:
        _check_filter(search["filter"], paths)


def test_the_index_covers_the_vectors_and_all_that_filters_compare() -> None:
    items = pl.DataFrame({"id": ["a"], "name": ["$5"], "size": [1], "images": [["x.jpg"]]})
    definition = index_definition(Schema.of(items, 512))
    assert definition == {
        "fields": [
            {"type": "vector", "path": "vector", "numDimensions": 512, "similarity": "dotProduct"},
            {"type": "vector", "path": "mark_vector", "numDimensions": 1, "similarity": "dotProduct"},
            *(
                {"type": "filter", "path": path}
                for path in ["ids", "c0s", "c0n", "c1", "idf", "c0f", "c0nf", "c1f", "c2f", "mark"]
            ),
        ]
    }
    _check_definition(definition)


def test_searches_are_those_of_the_manual() -> None:
    paths = _check_definition(index_definition(SCHEMA))
    limit = index_filter(normal_form(parse_filter('tag == "bags" and price < 5'), SCHEMA), SCHEMA)
    query = np.array([0.6, -0.8], dtype=np.float32)
    assert nearest_pipeline(query, 5, limit, exact=False) == [
        {
            "$vectorSearch": {
                "index": "vectors",
                "path": "vector",
                "queryVector": query.tolist(),
                "limit": 5,
                "numCandidates": 200,
                "filter": {"$and": [{"c1s": {"$eq": "bags"}}, {"c2": {"$lt": 5.0}}]},
            }
        },
        {"$project": {"_id": 0, "id": 1, "score": {"$meta": "vectorSearchScore"}}},
    ]
    for k, exact in itertools.product((1, 10, 100, 5_000, 10_000), (False, True)):
        _check_pipeline(nearest_pipeline(query, k, limit, exact=exact), paths, 2)
        _check_pipeline(nearest_pipeline(query, k, {}, exact=exact), paths, 2)
    _check_pipeline(mark_pipeline(7), paths, 1)
    assert [cosine(score) for score in (0.0, 0.5, 1.0)] == [-1.0, 0.0, 1.0]


@settings(max_examples=60, deadline=None)
@given(condition=CONDITIONS)
def test_any_filter_is_one_that_vector_search_takes(condition: Condition) -> None:
    form = normal_form(condition, SCHEMA)
    if not isinstance(form, bool):
        assert _check_filter(index_filter(form, SCHEMA), _check_definition(index_definition(SCHEMA))) > 0


def test_what_the_index_cannot_tell_is_left_to_mongod() -> None:
    for condition in (
        Compare("title", "<", "x" * 1_000),
        Not(OneOf("tag", ("short", "y" * 5_000))),
        OneOf("price", tuple(range(201))),
        Or(tuple(Compare("price", "<", number) for number in range(0, 402, 2))),
    ):
        form = normal_form(condition, SCHEMA)
        assert index_filter(form, SCHEMA) is None
        assert match_filter(form)


# --- what filters mean -----------------------------------------------------------------------------------------------


def _documents(items: pl.DataFrame, schema: Schema) -> list[dict[str, Any]]:
    vectors = np.ones((len(items), schema.dim), np.float32)
    return list(build_documents(*prepare_items(items, vectors, schema), schema))


SOME = ITEMS[:150]
ABOUT = {"_id": "about", "schema": "{}", "indexed": True, "mark": 3, "mark_vector": bson_vector(np.ones(1))}
DOCUMENTS = [*_documents(SOME, SCHEMA), ABOUT]


def _found(limit: dict[str, Any], among: list[dict[str, Any]]) -> list[str]:
    from mongomock.filtering import filter_applies

    return [one["id"] for one in among if filter_applies(limit, one)]


@settings(max_examples=60, deadline=None)
@given(condition=CONDITIONS)
def test_both_halves_of_mongodb_mean_what_the_catalogue_means(condition: Condition) -> None:
    expected = SOME.filter(match_rows(SOME, condition))["id"].to_list()
    form = normal_form(condition, SCHEMA)
    if form is False:
        assert expected == []
        return
    form = None if form is True else form
    assert _found(match_filter(form), DOCUMENTS) == expected
    if limit := index_filter(form, SCHEMA):
        assert _found(limit, DOCUMENTS) == expected


@given(st.lists(st.text("ab\x00é", max_size=6), min_size=1, max_size=8), st.text("ab\x00é", max_size=2), st.data())
def test_a_texts_first_characters_decide_comparisons_with_shorter_texts(
    texts: list[str], value: str, data: st.DataObject
) -> None:
    operator = data.draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
    items = pl.DataFrame({"id": [str(row) for row in range(len(texts))], "text": texts})
    schema = Schema.of(items, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filters, "SHORT", 3)
        stored = _documents(items, schema)
    assert all(len(one["c0s"]) <= 3 for one in stored)
    condition = Compare("text", operator, value)
    expected = items.filter(match_rows(items, condition))["id"].to_list()
    assert _found(index_filter(normal_form(condition, schema), schema), stored) == expected


def test_vectors_are_bsons_own() -> None:
    from bson.binary import Binary, BinaryVectorDtype

    vector = np.array([0.25, -1.5, 3e-5, 0.1], np.float32)
    assert bson_vector(vector) == Binary.from_vector(vector.tolist(), BinaryVectorDtype.FLOAT32)
    np.testing.assert_array_equal(read_vectors([bson_vector(vector)] * 2, 4), np.stack([vector, vector]))


# --- mongod ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in mongomock, where nothing is indexed and writes are not atomic."""
    import mongomock
    import pymongo
    from mongomock.collection import BulkOperationBuilder
    from mongomock.store import ServerStore

    server, add_replace = ServerStore(), BulkOperationBuilder.add_replace

    def client(uri: str, **settings: Any) -> mongomock.MongoClient:
        return mongomock.MongoClient(uri, _store=server)

    def without_sort(builder: Any, *arguments: Any, sort: None = None, **options: Any) -> None:
        add_replace(builder, *arguments, **options)

    monkeypatch.setattr(pymongo, "MongoClient", client)
    monkeypatch.setattr(BulkOperationBuilder, "add_replace", without_sort)  # current versions of pymongo give it
    monkeypatch.setattr(MongoCollection, "_all_or_none", lambda content, write: write(None))
    monkeypatch.setattr(collections, "INDEX_FROM", 1_000_000)
    return f"mongodb://localhost/shop?collection=test_{uuid4().hex[:8]}"


def _filled(place: str, count: int, **about: str) -> Store:
    with replace_store(place, Schema.of(ITEMS, DIM, about)) as store:
        store.upsert(ITEMS[:count], VECTORS[:count])
    return open_store(place)


def _database() -> Any:
    import pymongo

    return pymongo.MongoClient("mongodb://localhost")["shop"]


def _collections(place: str) -> list[str]:
    """The contents that the database holds."""
    names = _database().list_collection_names()
    return [name for name in names if name.startswith(parse_location(place)[0].collection)]


def test_a_store_says_once_that_it_is_experimental(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    collections._announce.cache_clear()
    _filled(place, 1).close()
    assert capsys.readouterr().err.count("experimental") == 1


def test_items_are_found_by_comparing_all_of_them(place: str) -> None:
    store = _filled(place, 300)
    condition = parse_filter('tag != "shoes" and price < 60')
    rows = match_rows(ITEMS[:300], condition).arg_true().to_numpy()
    for k in (1, 10, 1_000):
        for query, found in zip(VECTORS[400:405], store.search(VECTORS[400:405], k, condition), strict=True):
            best = rows[np.argsort(-(VECTORS[rows] @ query))][:k]
            assert found.ids == [f"item-{row}" for row in best]
            np.testing.assert_allclose(found.scores, VECTORS[best] @ query, atol=1e-6)
    assert [found.ids for found in store.search(VECTORS[:2], 1)] == [["item-0"], ["item-1"]]
    store.close()
    store.close()


def test_items_are_written_fetched_walked_through_and_removed(place: str) -> None:
    store = _filled(place, 50)
    store.upsert(pl.DataFrame({"id": ["item-3", "new\x00"], "price": [-0.0, 2.0]}), VECTORS[:2] * 7)
    assert store.count() == 51
    (changed, none, new) = store.fetch(["item-3", "nothing", "new\x00"], vectors=True)
    assert none is None
    assert changed.fields["tag"] is None
    assert new.fields["price"] == 2.0
    np.testing.assert_allclose(new.vector, VECTORS[1], atol=1e-6)
    assert store.count(Compare("price", "==", 0.0)) == 1
    batches = list(store.iterate(batch=20))
    assert [len(batch.ids) for batch in batches] == [20, 20, 11]
    assert {id for batch in batches for id in batch.ids} == {*(f"item-{row}" for row in range(50)), "new\x00"}
    assert store.delete(["item-3", "item-3", "nothing", "item-4"]) == 2
    assert store.count() == 49
    store.close()


def test_the_vectors_of_fields_come_back(place: str) -> None:
    given = np.stack([VECTORS[:5], VECTORS[5:10]], axis=1)
    given[2, 0], given[3] = np.nan, np.nan
    with replace_store(place, Schema.of(ITEMS, DIM, field_vectors=["title", "image"])) as store:
        store.upsert(ITEMS[:5], VECTORS[:5], given)
    store = open_store(place)
    records = store.fetch(ITEMS["id"][:5].to_list(), field_vectors=True)
    assert [list(record.field_vectors) for record in records[1:4]] == [["title", "image"], ["image"], []]
    np.testing.assert_allclose(records[2].field_vectors["image"], VECTORS[7], atol=1e-3)
    assert store.fetch(["item-1"])[0].field_vectors is None
    with pytest.raises(UserError, match="give `field_vectors`"):
        store.upsert(ITEMS[:1], VECTORS[:1])
    assert [batch.vectors.shape for batch in store.iterate(vectors=False)] == [(5, 0)]
    store.close()


def test_contents_change_in_one_step(place: str) -> None:
    with pytest.raises(UserError, match=r"no store at .*likewise index --store"):
        open_store(place)
    handle = _filled(place, 10, turn="1")
    with replace_store(place, Schema.of(ITEMS[["id", "price"]], DIM, {"turn": "2"})) as new:
        new.upsert(ITEMS[100:103][["id", "price"]], VECTORS[100:103])
        assert handle.count() == 10
        assert len(_collections(place)) == 2
    assert (handle.count(), handle.schema.about) == (3, {"turn": "2"})
    assert len(_collections(place)) == 1, "the content before has gone, since all handles have followed"
    with pytest.raises(RuntimeError), replace_store(place, Schema(DIM)):
        assert len(_collections(place)) == 2
        raise RuntimeError
    assert len(_collections(place)) == 1
    handle.close()


def test_a_store_that_is_damaged_says_so(place: str) -> None:
    _filled(place, 3).close()
    (content,) = _collections(place)
    _database()[content].update_one({"_id": "about"}, {"$set": {"schema": "{}"}})
    with pytest.raises(UserError, match="is missing or damaged: build it again"):
        open_store(place)


def test_what_is_read_from_a_content_that_has_gone_is_read_again(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MongoDB finds nothing there, and says nothing of it."""
    handle = _filled(place, 5)
    count, once = MongoCollection.count, iter([True])

    def replace_then_count(content: MongoCollection, condition: Condition | None) -> int:
        if next(once, False):
            _filled(place, 7).close()  # lingers for a second, then drops what was in use
            assert count(content, condition) == 0
        return count(content, condition)

    monkeypatch.setattr(MongoCollection, "count", replace_then_count)
    assert handle.count() == 7
    handle.close()


def test_a_write_that_a_switch_has_overtaken_is_written_again(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = _filled(place, 5, turn="old")
    upsert, once = MongoCollection.upsert, iter([True])

    def upsert_then_switch(content: MongoCollection, stored: pl.DataFrame, unit: np.ndarray) -> None:
        upsert(content, stored, unit)
        if next(once, False):
            _filled(place, 5, turn="new").close()

    monkeypatch.setattr(MongoCollection, "upsert", upsert_then_switch)
    handle.upsert(ITEMS[7:8], VECTORS[7:8])
    assert handle.schema.about == {"turn": "new"}
    assert handle.fetch(["item-7"])[0] is not None
    handle.close()


# --- mongot, as far as it can be told what to do without it ----------------------------------------------------------


def test_whatever_the_index_misses_is_found(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that gives half of what it should, as one that is behind does."""
    _filled(place, 300).close()

    def halved(content: MongoCollection, queries: np.ndarray, k: int, limit: dict[str, Any], exact: bool) -> list[Any]:
        asked.append((len(queries), exact))
        return content._compare(queries, max(1, k // 2), None)

    asked: list[tuple[int, bool]] = []
    monkeypatch.setattr(MongoCollection, "_search", halved)
    store = open_store(place)
    store.optimise()
    assert asked == [], "there is no index yet"
    _tell_indexed(place)
    time.sleep(0.6)
    assert [len(found.ids) for found in store.search(VECTORS[:3], 10)] == [10, 10, 10]
    assert asked == [(3, False), (3, True)]
    assert sorted(store.search(VECTORS[:1], 500)[0].ids) == sorted(ITEMS["id"][:300])
    assert store.search(VECTORS[5:6], 1)[0].ids == ["item-5"]
    asked.clear()
    assert len(store.search(VECTORS[:1], 20_000)[0].ids) == 300
    assert asked == [(1, True)], "the graph takes no more than 10,000 candidates"
    store.close()


def _tell_indexed(place: str) -> None:
    (content,) = _collections(place)
    _database()[content].update_one({"_id": "about"}, {"$set": {"indexed": True}})


class _Indexing:
    """A collection whose index answers as it is told."""

    name = "shop_1"

    def __init__(self, *states: dict[str, Any] | None, seen: Iterable[int] = ()) -> None:
        self.states, self.seen = iter(states), iter(seen)
        self.created: list[dict[str, Any]] = []
        self.asked: list[Any] = []
        self.updated: list[Any] = []

    def count_documents(self, limit: dict[str, Any]) -> int:
        return 500

    def list_search_indexes(self, name: str) -> list[dict[str, Any]]:
        state = next(self.states) if self.created else None
        return [] if state is None else [state]

    def create_search_index(self, model: Any) -> None:
        self.created.append(model.document)

    def update_one(self, *arguments: Any) -> None:
        self.updated.append(arguments)

    def find_one(self, *arguments: Any) -> dict[str, Any]:
        return {"indexed": False}

    def find_one_and_update(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        return {"mark": 4}

    def aggregate(self, pipeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.asked.append(pipeline)
        return [{"mark": 4}] if next(self.seen) >= 4 else []


def test_an_index_is_made_once_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collections, "_SECONDS_BETWEEN_LOOKS", 0.001)
    building = {"status": "BUILDING", "queryable": False}
    collection = _Indexing(None, building, building, {"status": "READY", "queryable": True})
    MongoCollection(collection, SCHEMA, indexed=False).optimise()
    assert collection.updated == [({"_id": "about"}, {"$set": {"indexed": True}})]
    assert collection.created == [{"name": "vectors", "type": "vectorSearch", "definition": index_definition(SCHEMA)}]
    assert list(collection.states) == []
    with pytest.raises(UserError, match="could not build the index of shop_1: too many fields"):
        MongoCollection(_Indexing({"status": "FAILED", "message": "too many fields"}), SCHEMA, indexed=False).optimise()
    monkeypatch.setattr(collections, "_INDEX_SECONDS", 0.01)
    with pytest.raises(UserError, match="still building the index"):
        MongoCollection(_Indexing(*[building] * 1_000), SCHEMA, indexed=False).optimise()


def test_a_write_waits_until_the_index_has_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collections, "_SECONDS_BETWEEN_LOOKS", 0.001)
    collection = _Indexing(seen=[2, 3, 5, 6])
    MongoCollection(collection, SCHEMA, indexed=True).wait_for_index()
    assert collection.asked == [mark_pipeline(4)] * 3
    monkeypatch.setattr(collections, "_FOLLOWING_SECONDS", 0.01)
    with pytest.raises(UserError, match="has what was written, but its index has not followed"):
        MongoCollection(_Indexing(seen=itertools.repeat(0)), SCHEMA, indexed=True).wait_for_index()
    unindexed = _Indexing()
    MongoCollection(unindexed, SCHEMA, indexed=False).wait_for_index()
    assert unindexed.asked == []


# --- servers that will not do ----------------------------------------------------------------------------------------


def test_an_address_without_a_server_is_one_sentence() -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be reached: .*Connection refused") as raised:
        open_store(f"mongodb://someone:hunter2@127.0.0.1:{port}/shop?collection=things")
    assert time.monotonic() - started < 10
    assert str(raised.value).count("\n") == 0
    assert len(str(raised.value)) < 200
    told: BaseException | None = raised.value
    while told is not None:
        assert "hunter2" not in repr(told)
        told = told.__cause__ or told.__context__


def test_a_uri_that_cannot_be_read_is_one_sentence() -> None:
    with pytest.raises(UserError, match="cannot be read: Port contains non-digit"):
        open_store("mongodb://localhost:port/shop", Credentials(user="someone", password="hunter2"))


@pytest.mark.parametrize(
    ("code", "message", "sentence"),
    [
        (31082, "additional configuration", "no vector search: use Atlas, or MongoDB 8.2 or newer with mongot"),
        (40324, "Unrecognized pipeline stage name: '$vectorSearch'", "no vector search"),
        (18, "Authentication failed.", "refuses: Authentication failed."),
        (13, "not authorized on shop to execute command\nmore", "refuses: not authorized on shop to execute command"),
    ],
)
def test_what_mongodb_refuses_is_one_sentence(code: int, message: str, sentence: str) -> None:
    from pymongo.errors import OperationFailure

    location, _ = parse_location("mongodb://localhost/shop")
    with pytest.raises(UserError, match=sentence) as raised, connections._refusals(location):
        raise OperationFailure(f"{message}, full error: …", code, {"errmsg": message})
    assert "\n" not in str(raised.value)


def test_vectors_that_mongodb_cannot_search_are_refused() -> None:
    with (
        pytest.raises(UserError, match="at most 8,192 dimensions"),
        replace_store("mongodb://localhost", Schema(8_193)),
    ):
        pass


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymongo", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'likewise\[mongodb\]'"):
        open_store("mongodb://localhost")
