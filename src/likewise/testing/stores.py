"""The conformance suite for engines of stores: complete filters, durable writes, true neighbours, clear errors.

A test module imports everything from here and says which engine it is about; pytest then runs the whole suite on it:

    import pytest
    from likewise.testing.stores import *
    from likewise.testing.stores import Engine

    @pytest.fixture(scope="module")
    def engine() -> Engine:
        return Engine("mine", lambda folder: f"mine:{folder}/store")

Install it with `pip install 'likewise[testing]'`. For failures that show values, call
`pytest.register_assert_rewrite("likewise.testing.stores")` in conftest.py.
"""

import datetime
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from likewise.catalog.filters import And, Compare, Condition, IsNull, Not, OneOf, Or, parse_filter
from likewise.catalog.filters_polars import match_rows
from likewise.errors import MissingExtraError, UserError
from likewise.stores.base import Store
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema

try:
    import pytest
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise MissingExtraError(str(error.name), "testing") from None

DIM = 16
AWKWARD = "na'me \"; -- 価格`."


@dataclass(frozen=True)
class Engine:
    """An engine under test.

    Attributes:
        new_place: the URI of a place without a store, given a folder that the test alone uses.
        processes: several processes may have one store open at a time.
    """

    name: str
    new_place: Callable[[Path], str]
    processes: bool = False


def make_vectors(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    """(count, dim) of unit norm, in clusters as real ones are."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, dim))
    vectors = centres[random.integers(0, 40, count)] + 0.7 * random.standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make_items(count: int) -> pl.DataFrame:
    """Items with every kind of column; of 300 items one has the tag "rare"."""
    random = np.random.default_rng(7)
    tags = ["shoes", "bags", "Ünïcödé 靴", "quo\"te's", "", "back\\slash", "%_", None]
    return pl.DataFrame(
        {
            "id": [f"item-{row}" for row in range(count)],
            "title": [f"thing {row % 17}" if row % 5 else None for row in range(count)],
            "tag": ["rare" if row % 300 == 17 else tags[row % len(tags)] for row in range(count)],
            "price": [None if row % 11 == 0 else round(float(random.random()) * 100, 2) for row in range(count)],
            AWKWARD: [row % 23 - 5 if row % 7 else None for row in range(count)],
            "cost": [f"${row % 40},000.50" if row % 3 else "on request" for row in range(count)],
            "sold": [(row % 2 == 0) if row % 13 else None for row in range(count)],
            "image": [[f"{row}.jpg", "b.jpg"] if row % 4 else [] for row in range(count)],
            "since": [datetime.date(2020, 1, 1 + row % 28) if row % 6 else None for row in range(count)],
        },
        schema_overrides={AWKWARD: pl.Int64},
    )


def fill_store(place: str, items: pl.DataFrame, vectors: np.ndarray, **about: str) -> Store:
    """A new store with these items."""
    with replace_store(place, Schema.of(items, vectors.shape[1], about)) as store:
        store.upsert(items, vectors)
    return open_store(place)


def highest_cosines(vectors: np.ndarray, query: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """The k highest cosines among some rows, descending."""
    return np.sort(vectors[rows] @ query)[::-1][:k]


@pytest.fixture
def place(engine: Engine, tmp_path: Path) -> str:
    return engine.new_place(tmp_path)


ITEMS, VECTORS = make_items(900), make_vectors(900)


@pytest.fixture(scope="module")
def shop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that no test changes."""
    store = fill_store(engine.new_place(tmp_path_factory.mktemp("shop")), ITEMS, VECTORS, model="m1")
    yield store
    store.close()


# --- searching -------------------------------------------------------------------------------------------------------


def test_neighbours_and_scores_are_those_of_an_exact_search(shop: Store) -> None:
    queries = make_vectors(40, seed=1)
    hits = 0
    for query, found in zip(queries, shop.search(queries, 10), strict=True):
        rows = [int(id.removeprefix("item-")) for id in found.ids]
        assert len(set(rows)) == 10
        assert found.scores.dtype == np.float32
        np.testing.assert_allclose(found.scores, VECTORS[rows] @ query, atol=2e-3)
        assert (np.diff(found.scores) <= 1e-6).all()
        hits += len(set(rows) & set(np.argsort(-(VECTORS @ query))[:10].tolist()))
    assert hits >= 0.95 * 400


def test_lengths_of_queries_do_not_matter_and_scores_stay_cosines(shop: Store) -> None:
    found = shop.search(np.stack([VECTORS[5] * 80, VECTORS[5] * 0.01, -VECTORS[5]]), 900)
    assert found[0].ids[:5] == found[1].ids[:5]
    assert found[0].ids[0] == "item-5"
    assert all(one.scores.max() <= 1.0 and one.scores.min() >= -1.0 for one in found)


def test_a_zero_query_scores_zero(shop: Store) -> None:
    (found,) = shop.search(np.zeros((1, DIM)), 3)
    assert len(found.ids) == 3
    assert (found.scores == 0.0).all()


def test_k_larger_than_the_store_gives_everything(shop: Store) -> None:
    (found,) = shop.search(VECTORS[:1], 5_000)
    assert sorted(found.ids) == sorted(ITEMS["id"])


def test_no_query_gives_no_result(shop: Store) -> None:
    assert list(shop.search(np.empty((0, DIM)), 5)) == []


# --- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'tag == "rare"',
        'tag in ["rare", "nowhere"]',
        'tag != "shoes"',
        'tag not in ["shoes", "bags"]',
        'tag == "Ünïcödé 靴"',
        "tag in ['quo\"te\\'s', 'back\\\\slash', '%_']",
        'tag == ""',
        "tag is null",
        "price < 3.5 and tag is not null",
        "not (price < 50)",
        "price >= 20 and price <= 40 or sold == true",
        "sold != true",
        "sold is null",
        f"`{AWKWARD.replace('`', '``')}` == 3",
        f"`{AWKWARD.replace('`', '``')}` < 2.5",
        f"`{AWKWARD.replace('`', '``')}` not in [1, 2, 3.5]",
        f"`{AWKWARD.replace('`', '``')}` != 2.5",
        "cost < 5000",
        "cost != 3000.5",
        'cost == "on request"',
        "image is null",
        "image is not null and since is null",
        'title > "thing 3" and title <= "thing 9"',
        'id in ["item-3", "item-8", "no such"]',
        'id != "item-3" and price is not null',
        "price < -1",
        "price > 1e300",
    ],
)
def test_a_filter_finds_exactly_what_the_catalogue_says_and_the_best_of_it(shop: Store, text: str) -> None:
    condition = parse_filter(text)
    rows = match_rows(ITEMS, condition).arg_true().to_numpy()
    assert shop.count(condition) == len(rows)
    queries = make_vectors(3, seed=5)
    for query, found in zip(queries, shop.search(queries, 10, condition), strict=True):
        assert len(found.ids) == min(10, len(rows)), "k hits when k items match"
        assert set(found.ids) <= {f"item-{row}" for row in rows}
        np.testing.assert_allclose(found.scores, highest_cosines(VECTORS, query, rows, 10), atol=0.02)
    (everything,) = shop.search(queries[:1], 2_000, condition)
    assert sorted(everything.ids) == sorted(f"item-{row}" for row in rows)


_texts = st.sampled_from(["shoes", "rare", "Ünïcödé 靴", "quo\"te's", "", "zzz", "%_"])
_numbers = st.one_of(st.integers(-8, 50), st.sampled_from([-0.5, 2.5, 18.0, 1e30, -1e30]))
_operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
_leaves = st.one_of(
    st.builds(Compare, st.sampled_from(["tag", "title", "id"]), _operators, _texts),
    st.builds(Compare, st.sampled_from(["price", AWKWARD, "cost"]), _operators, _numbers),
    st.builds(Compare, st.just("sold"), st.sampled_from(["==", "!="]), st.booleans()),
    st.builds(OneOf, st.just("tag"), st.lists(_texts, min_size=1, max_size=4).map(tuple)),
    st.builds(OneOf, st.sampled_from(["price", AWKWARD]), st.lists(_numbers, min_size=1, max_size=4).map(tuple)),
    st.builds(OneOf, st.just("cost"), st.just(("on request", 3000.5, 7))),
    st.builds(IsNull, st.sampled_from(ITEMS.columns)),
)
CONDITIONS = st.recursive(
    _leaves,
    lambda parts: st.one_of(
        st.builds(Not, parts),
        st.builds(And, st.lists(parts, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(parts, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=CONDITIONS)
def test_any_filter_means_the_same_as_in_the_catalogue(shop: Store, condition: Condition) -> None:
    expected = ITEMS.filter(match_rows(ITEMS, condition))["id"].to_list()
    assert shop.count(condition) == len(expected)
    (found,) = shop.search(VECTORS[:1], len(ITEMS), condition)
    assert sorted(found.ids) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prise < 3", 'no column "prise"'),
        ("tag < 3", "holds text"),
        ('price == "cheap"', "compare it with a number"),
        ("sold == 1", "true or false"),
        ('image == "a"', "is null"),
    ],
)
def test_a_filter_that_does_not_fit_is_one_sentence(shop: Store, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        shop.search(VECTORS[:1], 5, parse_filter(text))


# --- fetching and walking --------------------------------------------------------------------------------------------


def test_items_come_back_as_they_went_in_and_in_order(shop: Store) -> None:
    ids = ["item-17", "no such item", "item-0", "item-17"]
    found = shop.fetch(ids, vectors=True)
    assert found[1] is None
    for id, record in zip(ids, found, strict=True):
        if record is not None:
            row = int(id.removeprefix("item-"))
            expected = ITEMS.row(row, named=True)
            since = expected["since"]
            assert record.fields == expected | {"since": since.isoformat() if since else None}
            assert list(record.fields) == ITEMS.columns
            np.testing.assert_allclose(record.vector, VECTORS[row], atol=1e-6)
    assert shop.fetch(["item-1"])[0].vector is None
    assert shop.fetch([]) == []


def test_a_walk_sees_every_item_once(shop: Store) -> None:
    batches = list(shop.iterate(batch=128))
    ids = [id for batch in batches for id in batch.ids]
    assert sorted(ids) == sorted(ITEMS["id"])
    assert max(len(batch.ids) for batch in batches) <= 128
    vectors = np.concatenate([batch.vectors for batch in batches])
    np.testing.assert_allclose(vectors, VECTORS[[int(id.removeprefix("item-")) for id in ids]], atol=1e-6)
    assert [fields["id"] for batch in batches for fields in batch.fields] == ids


def test_a_store_remembers_its_schema(shop: Store) -> None:
    assert shop.schema == Schema.of(ITEMS, DIM, {"model": "m1"})


# --- writing ---------------------------------------------------------------------------------------------------------


def test_upserted_items_replace_and_join_and_are_there_after_opening_again(place: str) -> None:
    store = fill_store(place, ITEMS[:50], VECTORS[:50])
    changed = pl.DataFrame(
        {"id": ["item-3", "new 🥾", "a'b\"c"], "tag": ["changed", "new", None], "price": [1.0, 2.0, 3.0]}
    )
    vectors = make_vectors(3, seed=8)
    store.upsert(changed, vectors)
    for _ in range(2):
        assert store.count() == 52
        assert store.search(vectors[1:2] * 5, 1)[0].ids == ["new 🥾"]
        assert store.search(vectors, 1, parse_filter('tag == "changed"'))[0].ids == ["item-3"]
        (record,) = store.fetch(["item-3"], vectors=True)
        assert record.fields["tag"] == "changed"
        assert record.fields["title"] is None, "an item is replaced as a whole"
        np.testing.assert_allclose(record.vector, vectors[0], atol=1e-6)
        assert "item-3" not in store.search(VECTORS[3:4], 50, parse_filter('tag != "changed"'))[0].ids
        store.close()
        store = open_store(place)
    store.close()


def test_of_items_with_the_same_id_none_is_lost_in_silence(place: str) -> None:
    store = fill_store(place, ITEMS[:0], VECTORS[:0])
    with pytest.raises(UserError, match="id 'x' occurs more than once"):
        store.upsert(pl.DataFrame({"id": ["x", "y", "x"], "tag": ["first", "other", "last"]}), make_vectors(3))
    assert store.count() == 0
    for tag in ("first", "last"):
        store.upsert(pl.DataFrame({"id": ["x"], "tag": [tag]}), make_vectors(1))
    assert store.count() == 1
    assert store.fetch(["x"])[0].fields["tag"] == "last"
    store.close()


def test_deleted_items_are_gone_also_after_opening_again(place: str) -> None:
    store = fill_store(place, ITEMS[:60], VECTORS[:60])
    store.upsert(pl.DataFrame({"id": ["later"]}), make_vectors(1, seed=4))
    assert store.delete(["item-7", "later", "no such item", "item-7"]) == 2
    assert store.delete([]) == 0
    for _ in range(2):
        assert store.count() == 59
        assert store.fetch(["item-7", "later"]) == [None, None]
        (found,) = store.search(VECTORS[7:8], 100)
        assert len(found.ids) == 59
        assert not {"item-7", "later"} & set(found.ids)
        store.close()
        store = open_store(place)
    store.upsert(ITEMS[7:8], VECTORS[7:8])
    assert store.search(VECTORS[7:8], 1)[0].ids == ["item-7"], "what was deleted can come back"
    store.close()


def test_optimising_changes_no_answer(place: str) -> None:
    store = fill_store(place, ITEMS[:200], VECTORS[:200])
    store.upsert(ITEMS[150:400], VECTORS[150:400])
    store.delete([f"item-{row}" for row in range(40)])
    before = store.search(VECTORS[300:310], 5), store.count(), store.count(parse_filter("price < 30"))
    store.optimise()
    after = store.search(VECTORS[300:310], 5), store.count(), store.count(parse_filter("price < 30"))
    assert [found.ids for found in after[0]] == [found.ids for found in before[0]]
    assert after[1:] == before[1:]
    store.close()
    assert open_store(place).count() == 360


def test_an_empty_store_answers_and_takes_items(place: str) -> None:
    store = fill_store(place, ITEMS[:0], VECTORS[:0])
    assert store.count() == 0
    assert store.search(VECTORS[:2], 5)[1].ids == []
    assert store.search(VECTORS[:1], 5, parse_filter("price < 5"))[0].scores.shape == (0,)
    assert list(store.iterate()) == []
    assert store.fetch(["x"]) == [None]
    assert store.delete(["x"]) == 0
    store.upsert(ITEMS[:0], VECTORS[:0])
    store.optimise()
    store.upsert(ITEMS[:5], VECTORS[:5])
    assert store.search(VECTORS[2:3], 1)[0].ids == ["item-2"]
    store.delete([f"item-{row}" for row in range(5)])
    store.optimise()
    assert store.search(VECTORS[:1], 5)[0].ids == []
    store.close()
    store.close()


@pytest.mark.parametrize("shape", [(2, DIM + 1), (DIM,), (3, DIM)])
def test_vectors_of_a_wrong_shape_are_refused_and_nothing_is_written(place: str, shape: tuple[int, ...]) -> None:
    store = fill_store(place, ITEMS[:2], VECTORS[:2])
    with pytest.raises(UserError, match=r"16 dimensions|2 items"):
        store.upsert(ITEMS[10:12], np.ones(shape))
    if shape[-1] != DIM or len(shape) == 1:
        with pytest.raises(UserError, match=r"16 dimensions"):
            store.search(np.ones(shape), 3)
    assert store.count() == 2
    store.close()


def test_mistakes_in_items_and_numbers_are_one_sentence(place: str) -> None:
    store = fill_store(place, ITEMS[:2], VECTORS[:2])
    with pytest.raises(UserError, match='no column "colour"'):
        store.upsert(pl.DataFrame({"id": ["a"], "colour": ["red"]}), VECTORS[:1])
    with pytest.raises(UserError, match='"price"'):
        store.upsert(pl.DataFrame({"id": ["a"], "price": ["cheap"]}), VECTORS[:1])
    with pytest.raises(UserError, match="needs an id"):
        store.upsert(pl.DataFrame({"id": [""]}), VECTORS[:1])
    with pytest.raises(UserError, match="NaN"):
        store.upsert(pl.DataFrame({"id": ["a"]}), np.full((1, DIM), np.nan))
    with pytest.raises(UserError, match="at least 1"):
        store.search(VECTORS[:1], 0)
    assert store.count() == 2
    store.close()


# --- field vectors ---------------------------------------------------------------------------------------------------

FIELDS = ("title", "image", "tag")


def make_field_vectors(count: int, seed: int = 0) -> np.ndarray:
    """(count, fields, DIM) of unit norm; every third item lacks a title, every fourth an image, some have neither."""
    vectors = np.random.default_rng(seed).standard_normal((count, len(FIELDS), DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    vectors[::3, 0], vectors[::4, 1], vectors[::6, 2] = np.nan, np.nan, np.nan
    return vectors


def check_field_vectors(store: Store, rows: list[int], expected: np.ndarray) -> None:
    """Items have the vectors of the fields that they have, and no others."""
    records = store.fetch([f"item-{row}" for row in rows], field_vectors=True)
    for record, vectors in zip(records, expected, strict=True):
        present = {name: vector for name, vector in zip(FIELDS, vectors, strict=True) if not np.isnan(vector[0])}
        assert list(record.field_vectors) == list(present)
        for name, vector in present.items():
            assert record.field_vectors[name].dtype == np.float32
            np.testing.assert_allclose(record.field_vectors[name], vector, atol=1e-3)


def test_the_vectors_of_fields_come_back_as_they_went_in(place: str) -> None:
    given = make_field_vectors(200)
    with replace_store(place, Schema.of(ITEMS, DIM, field_vectors=FIELDS)) as store:
        store.upsert(ITEMS[:120], VECTORS[:120], given[:120])
        store.upsert(ITEMS[120:200], VECTORS[120:200], given[120:200].astype(np.float16))
    store = open_store(place)
    assert store.schema.field_vectors == FIELDS
    rows = [7, 0, 12, 150, 3, 4, 199]
    check_field_vectors(store, rows, given[rows])
    both = store.fetch(["item-12", "no such item", "item-7"], vectors=True, field_vectors=True)
    assert both[0].field_vectors == {}, "an item may have none of the fields"
    assert both[1] is None
    np.testing.assert_allclose(both[2].vector, VECTORS[7], atol=1e-6)
    assert both[2].fields["title"] == ITEMS["title"][7]
    assert store.fetch(["item-7"])[0].field_vectors is None
    assert sorted(store.search(VECTORS[:1], 300)[0].ids) == sorted(ITEMS["id"][:200])
    store.close()


def test_the_vectors_of_fields_are_replaced_and_removed_with_their_items(place: str) -> None:
    given, changed = make_field_vectors(60), make_field_vectors(60, seed=5)[::-1].copy()
    with replace_store(place, Schema.of(ITEMS, DIM, field_vectors=FIELDS)) as store:
        store.upsert(ITEMS[:50], VECTORS[:50], given[:50])
    store = open_store(place)
    store.upsert(ITEMS[40:60], VECTORS[40:60], changed[40:60])
    for vector, towers in ((0, 0), (1, 5)):
        store.upsert(ITEMS[5:6], VECTORS[[vector]], changed[[towers]])
    store.delete(["item-1", "item-45"])
    expected = np.concatenate([given[:40], changed[40:]])
    expected[5] = changed[5]
    kept = [row for row in range(60) if row not in (1, 45)]
    for step in (store.optimise, store.close):
        check_field_vectors(store, kept, expected[kept])
        assert store.fetch(["item-1", "item-45"], field_vectors=True) == [None, None]
        step()
    store = open_store(place)
    check_field_vectors(store, kept, expected[kept])
    store.upsert(ITEMS[45:46], VECTORS[45:46], given[45:46])
    check_field_vectors(store, [45], given[45:46])
    store.close()


def test_field_vectors_that_do_not_fit_the_store_are_one_sentence(place: str) -> None:
    vectors = make_field_vectors(2)
    with replace_store(place, Schema.of(ITEMS, DIM, field_vectors=FIELDS)) as store:
        store.upsert(ITEMS[:2], VECTORS[:2], vectors)
    store = open_store(place)
    some = vectors.copy()
    some[1, 2, 3] = np.nan
    for wrong, sentence in [
        (None, "keeps the vectors of title, image, tag: give"),
        (vectors[:, :2], r"shape \(2, 3, 16\) are needed"),
        (vectors[:1], r"shape \(2, 3, 16\) are needed"),
        (some, "NaN in some places"),
        (vectors * 1e6, "numbers too large"),
    ]:
        with pytest.raises(UserError, match=sentence):
            store.upsert(ITEMS[5:7], VECTORS[5:7], wrong)
    assert store.count() == 2
    store.close()


def test_a_store_without_field_vectors_gives_and_takes_none(place: str) -> None:
    store = fill_store(place, ITEMS[:3], VECTORS[:3])
    assert store.schema.field_vectors == ()
    assert store.fetch(["item-1"], field_vectors=True)[0].field_vectors == {}
    with pytest.raises(UserError, match="keeps no field vectors"):
        store.upsert(ITEMS[:3], VECTORS[:3], make_field_vectors(3))
    store.close()


def test_a_walk_without_vectors_sees_ids_and_fields(place: str) -> None:
    store = fill_store(place, ITEMS[:40], VECTORS[:40])
    store.upsert(ITEMS[30:50], VECTORS[30:50])
    store.delete(["item-2"])
    batches = list(store.iterate(16, vectors=False))
    assert all(batch.vectors.shape == (len(batch.ids), 0) for batch in batches)
    assert max(len(batch.ids) for batch in batches) <= 16
    walked = {id: fields for batch in batches for id, fields in zip(batch.ids, batch.fields, strict=True)}
    assert sum(len(batch.ids) for batch in batches) == len(walked) == 49
    assert walked == {record.id: record.fields for record in store.fetch(list(walked))}
    store.close()


# --- replacing -------------------------------------------------------------------------------------------------------


def test_where_there_is_no_store_opening_says_so(place: str) -> None:
    with pytest.raises(UserError, match=r"no store|no index"):
        open_store(place)


def test_a_new_store_takes_the_place_in_one_step_and_open_handles_follow(place: str) -> None:
    old = fill_store(place, ITEMS[:30], VECTORS[:30], model="old")
    with replace_store(place, Schema.of(ITEMS[["id", "price"]], DIM, {"model": "new"})) as new:
        new.upsert(ITEMS[100:110][["id", "price"]], VECTORS[100:110])
        assert old.count() == 30
        assert old.search(VECTORS[3:4], 1)[0].ids == ["item-3"]
    wait_until(lambda: old.search(VECTORS[104:105], 1)[0].ids == ["item-104"])
    assert old.count() == 10
    assert old.schema.about == {"model": "new"}
    assert [column.name for column in old.schema.columns] == ["id", "price"]
    assert old.fetch(["item-104"])[0].fields == {"id": "item-104", "price": ITEMS["price"][104]}
    old.upsert(ITEMS[:1][["id", "price"]], VECTORS[:1])
    assert open_store(place).count() == 11
    old.close()


def test_a_replacement_that_fails_leaves_the_old_store(place: str) -> None:
    store = fill_store(place, ITEMS[:30], VECTORS[:30])
    with pytest.raises(RuntimeError, match="half way"), replace_store(place, Schema.of(ITEMS, DIM)) as new:
        new.upsert(ITEMS[500:600], VECTORS[500:600])
        raise RuntimeError("half way")
    assert store.count() == open_store(place).count() == 30
    store.close()


# --- many at once ----------------------------------------------------------------------------------------------------

_WRITES = 30


def check_answers(store: Store, stop: threading.Event, errors: list[str]) -> None:
    """Items 0 to 99 are always there; others come and go, and every answer fits what was written for it."""
    while not stop.is_set():
        try:
            found = store.search(VECTORS[:4], 5, parse_filter('tag == "steady"'))
            if [one.ids[0] for one in found] != ["item-0", "item-1", "item-2", "item-3"]:
                errors.append(f"steady items missing: {found}")
            (free,) = store.search(VECTORS[200:201], 3)
            records = [record for record in store.fetch(free.ids) if record is not None]
            if any(record.fields["id"] != record.id for record in records):
                errors.append("fields of another item")
            if store.count() < 100:
                errors.append("fewer items than are always there")
        except Exception as error:  # whatever it is, the test shows it
            errors.append(repr(error))
            return


def write_and_delete(store: Store) -> None:
    for turn in range(_WRITES):
        rows = slice(200 + turn * 5, 210 + turn * 5)
        store.upsert(ITEMS[rows], VECTORS[rows])
        if turn % 3 == 0:
            store.delete([f"item-{row}" for row in range(200, 200 + turn * 5)])
        if turn == _WRITES // 2:
            store.optimise()


def fill_steady_store(place: str) -> Store:
    return fill_store(place, ITEMS[:100].with_columns(tag=pl.lit("steady")), VECTORS[:100])


def test_threads_read_while_another_writes(place: str) -> None:
    store = fill_steady_store(place)
    stop, errors = threading.Event(), list[str]()
    readers = [threading.Thread(target=check_answers, args=(store, stop, errors)) for _ in range(3)]
    for reader in readers:
        reader.start()
    write_and_delete(store)
    stop.set()
    for reader in readers:
        reader.join()
    assert not errors
    assert store.count() > 100
    store.close()


def test_processes_read_while_another_writes(engine: Engine, place: str) -> None:
    if not engine.processes:
        return  # such an engine's file belongs to one process; its threads are tested above
    store = fill_steady_store(place)
    command = [sys.executable, "-c", _READER, place]
    readers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert all(reader.stdout.readline() == "ready\n" for reader in readers)
    write_and_delete(store)
    final = str(store.count())
    assert [reader.communicate(f"{final}\n", timeout=60)[0] for reader in readers] == ["[]\n", "[]\n"]
    store.close()


_READER = """
import sys, threading
from likewise.stores.registry import open_store
from likewise.testing.stores import check_answers, wait_until
store, stop, errors = open_store(sys.argv[1]), threading.Event(), []
reader = threading.Thread(target=check_answers, args=(store, stop, errors))
reader.start()
print("ready", flush=True)
expected = int(sys.stdin.readline())
stop.set()
reader.join()
wait_until(lambda: store.count() == expected)
print(errors, flush=True)
"""


def wait_until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something is true; other handles may take a second to follow."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not seen in time"
        time.sleep(0.05)
