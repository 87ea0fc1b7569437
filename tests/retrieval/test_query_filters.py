"""Filters that queries suggest: what the rules read, and what they leave alone."""

import time
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval.fakes import FakeModel, catalog_of

from likewise.catalog.field_inference import is_price
from likewise.catalog.filters import parse_filter
from likewise.catalog.filters_polars import match_rows
from likewise.errors import UserError
from likewise.retrieval.column_values import IndexSummary
from likewise.retrieval.filter_columns import FilterColumn, read_filter_columns
from likewise.retrieval.index import Index
from likewise.retrieval.query_filters import LONGEST_QUERY, FilterSuggestion, may_suggest_filter, suggest_filter

ITEMS = 12
TABLE = pl.DataFrame(
    {
        "price": ["€ 12,50", "€ 1.299,50", "€ 49,90", "€ 50,00"] * 3,
        "weight": ["0.5 kg", "2 kg", "3.5 kg"] * 4,
        "rating": [1.5, 3.0, 4.5, 5.0] * 3,
        "reviews": [0, 20, 150, 4000] * 3,
        "released": ["2019-05-01", "2020-01-01", "2020-12-31T10:00:00", "2021"] * 3,
        "createdAt": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"] * 3,
        "colour": ["Red", "red", "Black", "navy blue", "white", None] * 2,
        "brand": ["Acme", "Black & Decker", "L'Été", "Acme"] * 3,
        "size": ["42", "43", "XL", "42"] * 3,
        "in_stock": [True, False, True, None] * 3,
        "vegan": [True, False, False, False] * 3,
        "sku": [f"S-{number}" for number in range(ITEMS)],
    }
)


@pytest.fixture(scope="module")
def index() -> Index:
    titles = ["red shoes", "blue shoes", "red coat", "tea"] * 3
    return Index.build(FakeModel(), catalog_of(*titles, **TABLE.to_dict(as_series=False)))


@pytest.fixture(scope="module")
def columns(index: Index) -> tuple[FilterColumn, ...]:
    return read_filter_columns(index.summarize())


# query, filter, remaining words
READ = [
    ("red shoes under 50", "price < 50", "red shoes"),
    ("shoes below €49.99 please", "price < 49.99", "shoes please"),
    ("shoes for less than 1.299,50 €", "price < 1299.5", "shoes"),
    ("shoes up to 1k", "price <= 1000", "shoes"),
    ("shoes over 20 euros", "price > 20", "shoes"),
    ("shoes above EUR 20", "price > 20", "shoes"),
    ("shoes from 20 €", "price >= 20", "shoes"),
    ("shoes at least 20", "price >= 20", "shoes"),
    ("shoes €50", "price <= 50", "shoes"),
    ("shoes for 50 euros", "price <= 50", "shoes"),
    ("boots between 20 and 50 euros", "price >= 20 and price <= 50", "boots"),
    ("boots between 50 and 20 euros", "price >= 20 and price <= 50", "boots"),
    ("boots from 20 to 50", "price >= 20 and price <= 50", "boots"),
    ("20-50 € boots", "price >= 20 and price <= 50", "boots"),
    ("boots over 20 and under 50", "price > 20 and price < 50", "boots"),
    ("bike under 2 kg", "weight < 2", "bike"),
    ("bike lighter than 500 g", "weight < 0.5", "bike"),
    ("shoes rating over 4", "rating > 4", "shoes"),
    ("shoes with a rating of at least 4.5", "rating >= 4.5", "shoes"),
    ("shoes with more than 100 reviews", "reviews > 100", "shoes"),
    ("coats since 2020", 'released >= "2020"', "coats"),
    ("coats after 2020", 'released >= "2021"', "coats"),
    ("coats before 2020", 'released < "2020"', "coats"),
    ("coats until 2020", 'released < "2021"', "coats"),
    ("coats in 2020", 'released >= "2020" and released < "2021"', "coats"),
    ("coats from 2019 to 2020", 'released >= "2019" and released < "2021"', "coats"),
    ("coats released after 2020-12-31", 'released >= "2021-01-01"', "coats"),
    ("coats created at before 2025", 'createdAt < "2025"', "coats"),
    ("coat in black", 'colour == "Black"', "coat"),
    ("coat in black or white, under 50", 'colour in ["Black", "white"] and price < 50', "coat"),
    ("coat in NAVY  BLUE", 'colour == "navy blue"', "coat"),
    ("Coat In Black", 'colour == "Black"', "Coat"),
    ("coat in red", 'colour in ["Red", "red"]', "coat"),
    ("coat not red", 'colour not in ["Red", "red"]', "coat"),
    ("coat but not black or white", 'colour not in ["Black", "white"]', "coat"),
    ("no black coat", 'colour != "Black"', "coat"),
    ("shoes by Acme", 'brand == "Acme"', "shoes"),
    ("shoes by l'ete", 'brand == "L\'Été"', "shoes"),
    ("drill by Black & Decker under 50", 'brand == "Black & Decker" and price < 50', "drill"),
    ("brand: Acme drill", 'brand == "Acme"', "drill"),
    ("shoes in size 42", 'size == "42"', "shoes"),
    ("shoes not from Acme", 'brand != "Acme"', "shoes"),
    ("shoes in stock", "in_stock == true", "shoes"),
    ("shoes not in stock", "in_stock == false", "shoes"),
    ("only vegan shoes", "vegan == true", "shoes"),
    ("not vegan shoes", "vegan == false", "shoes"),
    ("Schuhe unter 50 €", "price < 50", "Schuhe"),
    ("Schuhe zwischen 20 und 50 Euro", "price >= 20 and price <= 50", "Schuhe"),
    ("chaussures à moins de 50 euros", "price < 50", "chaussures à"),
    ("under 50", "price < 50", "under 50"),
    ("shoes under 50 in black", 'price < 50 and colour == "Black"', "shoes"),
    ("iphone 12 under 500", "price < 500", "iphone 12"),
    ("Schuhe nicht mehr als 50", "price <= 50", "Schuhe"),
    ("chaussures pas plus de 50 euros", "price <= 50", "chaussures"),
    ("shoes not cheaper than 50", "price >= 50", "shoes"),
    ("shoes no cheaper than 50", "price >= 50", "shoes"),
    ("coats not after 2020", 'released < "2021"', "coats"),
    ("coats not before 2020", 'released >= "2020"', "coats"),
    ("shoes that isn't over 50", "price <= 50", "shoes that"),
    ("shoes rating isn’t over 4", "rating <= 4", "shoes"),
    ("shoes that are not costing more than 50", "price <= 50", "shoes that"),
    ("coats from 2020", 'released >= "2020" and released < "2021"', "coats"),
    ("Schuhe nicht teurer als 50", "price <= 50", "Schuhe"),
    ("coats that weren't released before 2020", 'released >= "2020"', "coats that"),
    ("pendant under 50", "price < 50", "pendant"),
    ("elegant, different coats under 50", "price < 50", "elegant, different coats"),
    ("shoes which dont cost more than 50", "price <= 50", "shoes which"),
    ("shoes without laces under 50", "price < 50", "shoes without laces"),
    ("shoes, not red, under 50", 'colour not in ["Red", "red"] and price < 50', "shoes"),
    ("coats from 2020 on", 'released >= "2020"', "coats"),
    ("shoes not red under 50", 'colour not in ["Red", "red"] and price < 50', "shoes"),
    ("shoes with no laces and under 50", "price < 50", "shoes with no laces"),
    ("shoes, no laces, under 50", "price < 50", "shoes, no laces"),
    ("not today, shoes under 50", "price < 50", "not today, shoes"),
    ("not too heavy boots under 50", "price < 50", "not too heavy boots"),
    ("non-slip, no-iron shoes under 50", "price < 50", "non-slip, no-iron shoes"),
    ("chaussures pas chères à moins de 50 euros", "price < 50", "chaussures pas chères à"),
    ("no boots but shoes under 50", "price < 50", "no boots but shoes"),
    ("no heels, shoes by Acme", 'brand == "Acme"', "no heels, shoes"),
]

LEFT_ALONE = [
    "",
    "red shoes",
    "red vegan shoes",
    "nike air max 90",
    "levi 501",
    "lamp over 40 watt",  # nobody knows what that is about
    "shoes under $50",  # prices are in euros
    "tv over 40 inches",  # no column has a length
    "shoes under 50cc",
    "under the sea",
    "in love with you",
    "by the sea",
    "not today",
    "rating over 9",  # no item has
    "reviews under 0",
    "before 0500",
    "coats in 2020-13-45",
    "since ٢٠٢٠",
    "in S-3",  # ids are no categories
    "x" * LONGEST_QUERY + " under 50",
    "boots not between 20 and 50",
    "boots not between 20 and 50 euros",
    "boots not €50",
    "coats not in 2020",
    "coat that isn't in black",
    "shoes that aren't in stock",
    "no shoes over 50",
    "no shoes under €50",
    "nothing by Acme over 50",
    "no shoes, boots or coats over 50",
    "shoes but no boots over 50",
    "don't show me coats in black",
    "everything except shoes by Acme",
    "without shoes over 50",
    "no coats since 2020",
    "no coats from 2020",
    "no shoes between 20 and 50 euros",
    "no shoes for 50 euros",
    "no shoes with a rating over 4",
    "keine Schuhe über 50",
    "pas de chaussures à plus de 50 euros",
]


@pytest.mark.parametrize(("query", "condition", "rest"), READ)
def test_what_is_read(columns: tuple[FilterColumn, ...], query: str, condition: str, rest: str) -> None:
    suggestion = suggest_filter(query, columns)
    assert suggestion is not None
    assert (suggestion.filter, suggestion.text) == (condition, rest)
    assert str(parse_filter(suggestion.filter)) == suggestion.filter
    assert may_suggest_filter(query, TABLE.columns)
    match_rows(TABLE, suggestion.filter)  # fits the columns


@pytest.mark.parametrize("query", LEFT_ALONE)
def test_what_is_left_alone(columns: tuple[FilterColumn, ...], query: str) -> None:
    assert suggest_filter(query, columns) is None


def test_the_reason_quotes_the_words(columns: tuple[FilterColumn, ...]) -> None:
    suggestion = suggest_filter("coat in black, under 50", columns)
    assert suggestion is not None
    assert suggestion.because == '“in black” is read as colour == "Black"; “under 50” is read as price < 50'


def test_another_filter_is_kept() -> None:
    suggestion = FilterSuggestion("price < 50", "shoes", "")
    assert suggestion.join(None) == suggestion.join(" ") == "price < 50"
    assert suggestion.join("a == 1 or b == 2") == "(a == 1 or b == 2) and price < 50"
    with pytest.raises(UserError, match="syntax error"):
        suggestion.join("a ==")


def test_prices_that_filters_would_misread_are_left_alone() -> None:
    prices = ["1.299 €", "899 €", "2,50 €"] * 4  # a filter reads the first as 1.299
    index = Index.build(FakeModel(), catalog_of(*["shoes"] * ITEMS, price=prices))
    assert index.suggest_filter("shoes under 50") is None


@pytest.mark.parametrize(
    ("column", "cells", "query", "condition"),
    [
        ("year", [1999, 2005, 2020, 2021], "wine since 2005", "year >= 2005"),
        ("year", [1999, 2005, 2020, 2021], "wine in 2005", "year == 2005"),
        ("day", [20190501, 20200101, 20201231, 20210101], "coats after 2020", "day >= 20210101"),
        ("weight in grams", [5, 10, 20, 30], "tea of weight in grams under 20", "`weight in grams` < 20"),
        ("sale_price", [5.0, 10.0, 20.0, 30.0], "tea under $20", "sale_price < 20"),
        ("mass", ["1 lb", "2 lb", "3 lb", "4 lb"], "tea under 2 pounds", "mass < 2"),
        ("price", ["£1", "£2", "£3", "£4"], "tea under 2 pounds", "price < 2"),
    ],
)
def test_kinds_of_columns(column: str, cells: list[object], query: str, condition: str) -> None:
    with Index.build(FakeModel(), catalog_of("a", "b", "c", "d", **{column: cells})) as index:
        suggestion = index.suggest_filter(query)
    assert suggestion is not None
    assert suggestion.filter == condition


PRICES = [
    (("discount", "sale_price"), "shoes under $50", "sale_price < 50"),
    (("shipping_cost", "retail_price"), "shoes under 50", "retail_price < 50"),
    (("amount", "price"), "shoes under 50", "price < 50"),
    (("price", "sale_price"), "shoes under 50", "price < 50"),
    (("price_usd", "price_eur"), "shoes for €50", "price_eur <= 50"),
    (("price_usd", "price_eur"), "shoes under $50", "price_usd < 50"),
    (("price_usd", "price_eur"), "shoes under 50", None),
    (("price_usd",), "shoes under 50", "price_usd < 50"),
    (("price_usd",), "shoes under 50 €", None),
    (("sale_price", "retail_price"), "shoes under 50", None),
    (("sale_price", "retail_price"), "shoes with a sale price under 50", "sale_price < 50"),
    (("discount", "fee", "cost"), "shoes under $50", None),
    (("shipping_cost",), "shoes with a shipping cost under 50", "shipping_cost < 50"),
    (("stock",), "games for kids under 12", None),
    (("msrp",), "shoes under 50", "msrp < 50"),
]


@pytest.mark.parametrize(("names", "query", "condition"), PRICES)
def test_the_column_of_prices(names: tuple[str, ...], query: str, condition: str | None) -> None:
    columns = [FilterColumn(name, tuple(name.split("_")), "number", is_price=is_price(name, "")) for name in names]
    suggestion = suggest_filter(query, columns)
    assert (suggestion.filter if suggestion else None) == condition


def test_a_year_behind_from_is_no_price() -> None:
    columns = [
        FilterColumn("price", ("price",), "number", is_price=True, least=1, greatest=9_000),
        FilterColumn("year", ("year",), "year", least=1950, greatest=2020),
    ]
    for query, condition in [
        ("movies from 2010", "year == 2010"),
        ("movies from 2010 onwards", "year >= 2010"),
        ("cameras from 2500", "price >= 2500"),
        ("cameras from 2010 euros", "price >= 2010"),
    ]:
        suggestion = suggest_filter(query, columns)
        assert suggestion is not None
        assert suggestion.filter == condition


def test_what_no_item_meets_is_not_read_as_its_opposite() -> None:
    columns = [FilterColumn("price", ("price",), "number", is_price=True, least=1, greatest=900)]
    assert suggest_filter("shoes over 1000 euros", columns) is None
    assert suggest_filter("shoes from 1000 € to 2000 €", columns) is None


def test_hundreds_of_columns_cost_little() -> None:
    columns = [FilterColumn(f"width_{n}", (f"width{n}", "max"), "number") for n in range(400)]
    columns += [FilterColumn(f"kind_{n}", (f"kind{n}",), "category", values={"x": ("x",)}) for n in range(400)]
    suggest_filter("shoes under 50 in black", columns)
    began = time.process_time()
    for number in range(10):
        suggest_filter(f"shoes under {number} in black, over 7 cm", columns)
    assert time.process_time() - began < 0.5


def test_an_index_suggests_and_applies_nothing(index: Index) -> None:
    suggestion = index.suggest_filter("red shoes under 50")
    assert suggestion is not None
    assert len(index.search("red shoes under 50", k=ITEMS)) == ITEMS
    found = index.search(suggestion.text, where=suggestion.filter, k=ITEMS)
    assert {hit.fields["price"] for hit in found} == {"€ 12,50", "€ 49,90"}
    for query, *_ in READ:
        suggested = index.suggest_filter(query)
        assert suggested is not None
        index.search(suggested.text, where=suggested.filter)


def test_an_update_brings_new_values() -> None:
    with Index.build(FakeModel(), catalog_of(*["tea"] * 4, brand=["Acme", "Acme", "Bolt", "Bolt"])) as index:
        assert index.suggest_filter("tea by cord") is None
        index.update(catalog_of(*["tea"] * 4, brand=["Acme", "Acme", "Cord", "Cord"]))  # type: ignore[arg-type]
        suggestion = index.suggest_filter("tea by cord")
        assert suggestion is not None
        assert suggestion.filter == 'brand == "Cord"'


def test_columns_are_read_once_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    with Index.build(FakeModel(), catalog_of(*["tea"] * 4, price=[1, 2, 3, 4])) as index:
        read: list[int] = []
        summarize = index.summarize

        def summarize_slowly() -> IndexSummary:
            read.append(1)
            time.sleep(0.1)
            return summarize()

        monkeypatch.setattr(index, "summarize", summarize_slowly)
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(index.suggest_filter, ["tea under 3"] * 4))
        assert [suggestion.filter for suggestion in found if suggestion] == ["price < 3"] * 4
        assert index.suggest_filter("tea") is None
        assert len(read) == 1


_SIGNS = ["€", "$", "50", "2020", "1.299,50", "20-50", "2", "kg", "-", ",", ".", "(", "İ", "ß"]
_WORDS = st.sampled_from([*_SIGNS, *(word for query, *_ in READ for word in query.split())])


@given(st.lists(_WORDS | st.text(max_size=5), max_size=12).map(" ".join))
def test_any_query_gets_a_valid_filter_or_none(columns: tuple[FilterColumn, ...], query: str) -> None:
    suggestion = suggest_filter(query, columns)
    if suggestion is not None:
        assert str(parse_filter(suggestion.filter)) == suggestion.filter
        assert suggestion.text
        assert len(suggestion.text) <= len(query)
        assert may_suggest_filter(query, TABLE.columns)
        match_rows(TABLE, suggestion.filter)
