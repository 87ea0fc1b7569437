"""Every kind of query over a small shop, on every engine that needs no server."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from retrieval.fakes import FakeModel, catalog_of
from retrieval.stores_of_runs import STORES

from likewise.errors import UserError
from likewise.retrieval import candidates, search
from likewise.retrieval.hybrid import Hybrid
from likewise.retrieval.index import Index

MODEL = FakeModel()
BRANDS = ["Acme", "Bolt", "Acme", None, "Cord"]
SHOES = [
    "red running shoe",
    "red leather shoe",
    "blue leather shoe",
    "blue canvas shoe",
    "green leather bag",
    "green canvas bag",
    "wooden chair",
    "red wooden chair",
    "red running shoe",
    "red hat",
]


def shop_table() -> pl.DataFrame:
    count = len(SHOES)
    return pl.DataFrame(
        {
            "id": [f"s{row}" for row in range(count)],
            "title": SHOES,
            "brand": [BRANDS[row % 5] for row in range(count)],
            "model": [f"XJ-{900 + row}" for row in range(count)],
            "price": [None if row == 3 else 10.0 * row for row in range(count)],
            "popularity": [row * row for row in range(count)],
            "sold": [row % 2 == 0 if row else None for row in range(count)],
            "tags": [["sport", "new"] if row % 3 == 0 else ["old"] if row % 3 == 1 else [] for row in range(count)],
            "since": pl.Series([None] * count, dtype=pl.Date),
        }
    )


@pytest.fixture(scope="module", params=STORES.values(), ids=STORES)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    table = shop_table()
    vectors = MODEL.encode_queries(table["title"].to_list())
    run = tmp_path_factory.mktemp("run")
    index = Index.from_vectors(MODEL, vectors, table, run=run, store=request.param)
    yield index
    index.close()


def ids(hits: list) -> list[str]:
    return [hit.id for hit in hits]


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_words_with_weights(shop: Index) -> None:
    assert shop.search([("chair", 1.0), ("hat", 0.1)], k=1)[0].fields["title"] == "wooden chair"
    assert shop.search([("chair", 0.1), ("hat", 1.0)], k=1)[0].id == "s9"
    assert ids(shop.search([("hat", 3.0)])) == ids(shop.search("hat")), "the weight of a single part is its own affair"


def test_several_pictures_and_words(shop: Index) -> None:
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    assert shop.search("leather", image=[(red, 1.0), (blue, 0.1)], k=1)[0].id == "s1"
    assert shop.search("leather", image=[(red, 0.1), (blue, 1.0)], k=1)[0].id == "s2"
    share = shop.search(["leather", "shoe", "canvas"], image=blue, image_weight=0.9, k=2)
    assert set(ids(share)) <= {"s2", "s3"}, "the pictures' share does not depend on how many words there are"


def test_what_is_not_wanted_sinks(shop: Index) -> None:
    wanted = shop.search("red shoe", k=10)
    without = shop.search("red shoe", minus="leather", k=10)
    assert ids(wanted).index("s1") < 3
    assert ids(without).index("s1") > ids(wanted).index("s1")
    assert set(ids(shop.search("red shoe", minus=[("leather", 0.01)], k=3))) == set(ids(wanted)[:3])


def test_more_like_items_leaves_them_out(shop: Index) -> None:
    assert ids(shop.search(like="s0", k=1)) == ["s8"]
    assert not {"s2", "s3"} & set(ids(shop.search(like=["s2", ("s3", 0.5)], k=10)))
    assert len(shop.search(like="s0", k=99)) == len(SHOES) - 1
    liked_in_green = shop.search("green", like="s2", k=1)
    assert liked_in_green[0].id == "s4"
    with pytest.raises(UserError, match="no item 'nowhere'"):
        shop.search(like="nowhere")


def test_scores_are_cosines(shop: Index) -> None:
    query = MODEL.encode_queries(["red shoe"])[0]
    titles = {id: MODEL.encode_queries([title])[0] for id, title in zip(shop_table()["id"], SHOES, strict=True)}
    for hit in shop.search("red shoe", k=10):
        assert hit.score == pytest.approx(float(titles[hit.id] @ query), abs=1e-3)


# --- which items -----------------------------------------------------------------------------------------------------


def test_a_filter_limits_hits_and_finds_all_that_meet_it(shop: Index) -> None:
    assert set(ids(shop.search("red shoe", where='brand == "Acme" and price < 60'))) == {"s0", "s2", "s5"}
    assert ids(shop.search("wooden", where="price is null")) == ["s3"]
    assert shop.search("red", where="price > 1000") == []
    assert ids(shop.similar("s0", k=5, where='title == "red running shoe"')) == ["s8"]


def test_pages_fit_together(shop: Index) -> None:
    everything = ids(shop.search("red leather shoe", k=10))
    for size in (1, 3, 4):
        pages = [ids(shop.search("red leather shoe", k=size, offset=start)) for start in range(0, 12, size)]
        assert [id for page in pages for id in page] == everything
    assert shop.search("red", offset=50) == []


def test_a_least_score_ends_the_hits(shop: Index) -> None:
    everything = shop.search("red leather shoe", k=10)
    least = everything[3].score - 1e-4
    assert ids(shop.search("red leather shoe", k=10, min_score=least)) == ids(everything)[:4]
    assert ids(shop.search("red leather shoe", k=2, offset=2, min_score=least)) == ids(everything)[2:4]
    assert shop.search("red", min_score=1.5) == []


def test_a_group_has_one_hit_and_blank_cells_stand_for_themselves(shop: Index) -> None:
    hits = shop.search("red leather shoe", k=10, group_by="brand")
    brands = [hit.fields["brand"] for hit in hits]
    assert sorted(brand for brand in brands if brand) == ["Acme", "Bolt", "Cord"]
    assert brands.count(None) == 2
    everything = shop.search("red leather shoe", k=10)
    for hit in hits:
        if hit.fields["brand"]:
            best = next(one for one in everything if one.fields["brand"] == hit.fields["brand"])
            assert hit.id == best.id, "the best of its group"


@pytest.mark.parametrize("column", ["sold", "price", "popularity", "title"])
def test_any_single_value_can_make_groups(shop: Index, column: str) -> None:
    hits = shop.search("red shoe", k=10, group_by=column)
    values = [hit.fields[column] for hit in hits]
    expected = shop_table()[column]
    assert len(hits) == expected.n_unique() - (expected.null_count() > 0) + expected.null_count()
    assert len({value for value in values if value is not None}) == len([v for v in values if v is not None])


def test_groups_are_complete_however_large_they_are(shop: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", 1)
    hits = shop.search("red leather shoe", k=5, group_by="brand")
    assert len(hits) == 5


def test_near_duplicates_are_hidden(shop: Index) -> None:
    hits = shop.search("red running shoe", k=10, hide_duplicates=True)
    assert ids(hits)[0] in ("s0", "s8")
    assert not {"s0", "s8"} <= set(ids(hits))
    assert len(hits) == 9
    assert "s8" not in ids(shop.search(like="s0", k=10, hide_duplicates=True)), "nor what is the same as the item"
    few = shop.search("red running shoe", k=10, hide_duplicates=0.5)
    assert len(few) < 9
    fetched = shop._handle._current.store.fetch(ids(few), vectors=True)
    vectors = np.stack([record.vector for record in fetched])
    assert np.triu(vectors @ vectors.T, 1).max() < 0.5


def test_diversity_brings_something_else_forward(shop: Index) -> None:
    plain = [hit.fields["title"] for hit in shop.search("red running shoe", k=3)]
    assert plain[:2] == ["red running shoe", "red running shoe"]
    diverse = [hit.fields["title"] for hit in shop.search("red running shoe", k=3, diversity=0.6)]
    assert diverse[0] == "red running shoe"
    assert diverse[1] != "red running shoe"
    assert sorted(ids(shop.search("red", k=10, diversity=0.9))) == sorted(shop_table()["id"])


def test_a_boost_is_added(shop: Index) -> None:
    plain = {hit.id: hit.score for hit in shop.search("red shoe", k=10)}
    boosted = shop.search("red shoe", k=10, boost="popularity * 0.1")
    for hit in boosted:
        assert hit.score == pytest.approx(plain[hit.id] + 0.1 * hit.fields["popularity"], abs=1e-4)
    assert ids(boosted)[0] == "s9"
    assert [hit.score for hit in boosted] == sorted((hit.score for hit in boosted), reverse=True)
    blank = shop.search("red shoe", k=10, boost="price * -100")
    assert ids(blank)[:2] in (["s0", "s3"], ["s3", "s0"]), "a blank price counts as 0"


def test_pages_fit_together_whatever_reorders_them(shop: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", 3)
    for options in (
        {"boost": "popularity * 0.01"},
        {"diversity": 0.5},
        {"hide_duplicates": True, "group_by": "title"},
        {"hybrid": True},
        {"hybrid": Hybrid("ranks"), "diversity": 0.3, "boost": "price * 0.001"},
    ):
        everything = ids(shop.search("red leather shoe", k=10, **options))
        pages = [ids(shop.search("red leather shoe", k=3, offset=start, **options)) for start in range(0, 10, 3)]
        assert [id for page in pages for id in page] == everything
        assert len(set(everything)) == len(everything)


def test_values_are_counted(shop: Index) -> None:
    hits = shop.search("red shoe", k=2, facet=["brand", "tags", "sold"])
    assert len(hits) == 2
    assert hits.facets["brand"] == {"Acme": 4, "Bolt": 2, "Cord": 2}
    assert hits.facets["tags"] == {"new": 4, "sport": 4, "old": 3}
    assert hits.facets["sold"] == {False: 5, True: 4}
    narrow = shop.search("red shoe", k=1, facet="brand", where="price < 20")
    assert narrow.facets == {"brand": {"Acme": 1, "Bolt": 1}}
    strict = shop.search("red leather shoe", k=9, facet="brand", min_score=0.99)
    assert strict.facets == {"brand": {"Bolt": 1}}
    assert shop.search("red shoe").facets == {}


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["XJ-906", "xj906", "XJ 906", "906", "906xj"])
def test_hybrid_finds_a_model_number_however_it_is_typed(shop: Index, typed: str) -> None:
    assert shop.search(typed, k=1, hybrid=True)[0].id == "s6"


def test_hybrid_finds_ids_and_brands(shop: Index) -> None:
    assert shop.search("s7", k=1, hybrid=True)[0].id == "s7"
    assert {hit.fields["brand"] for hit in shop.search("cord", k=2, hybrid=True)} == {"Cord"}


@pytest.mark.parametrize("fusion", [True, Hybrid("ranks"), Hybrid("weights", 0.7)])
def test_hybrid_keeps_to_filters_and_finds_all_that_meet_them(shop: Index, fusion: object) -> None:
    for where in ("price > 55", "sold == true", 'brand == "Acme" or price is null', "price > 1000"):
        plain = shop.search("XJ-906", where=where, k=10)
        hybrid = shop.search("XJ-906", where=where, k=10, hybrid=fusion)
        assert set(ids(hybrid)) == set(ids(plain))
    assert shop.search("XJ-906", where="price > 55", k=1, hybrid=fusion)[0].id == "s6"


def test_hybrid_with_a_common_word_and_a_filter_looks_as_far_as_it_takes(
    shop: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_FEW", 0)
    monkeypatch.setattr(candidates, "_ASKED_AT_ONCE", 2)
    monkeypatch.setattr(search, "BLOCK", 2)
    hits = shop.search("shoe", where='title == "wooden chair" or price == 80', k=5, hybrid=True)
    assert ids(hits) == ["s8", "s6"]


def test_hybrid_scores_lie_between_0_and_1_and_descend(shop: Index) -> None:
    for fusion in (Hybrid(), Hybrid("ranks")):
        scores = [hit.score for hit in shop.search("red XJ-901", k=10, hybrid=fusion)]
        assert scores == sorted(scores, reverse=True)
        assert 0 <= scores[-1] <= scores[0] <= 1


def test_hybrid_without_a_known_word_is_a_search_by_vectors(shop: Index) -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    hybrid, plain = (shop.search("zzz", image=red, k=4, hybrid=on) for on in (True, False))
    assert [hit.fields["title"] for hit in hybrid] == [hit.fields["title"] for hit in plain]


def test_unwanted_words_count_in_a_hybrid_search_too(shop: Index) -> None:
    wanted = shop.search("leather shoe", minus=("xj-901", 2.0), k=10, hybrid=Hybrid(words=1.0))
    assert ids(wanted).index("s1") > ids(wanted).index("s2")


def test_everything_together(shop: Index) -> None:
    hits = shop.search(
        ["red shoe", ("running", 0.5)],
        like=("s2", 0.2),
        minus="canvas",
        where="price is not null",
        hybrid=True,
        group_by="brand",
        hide_duplicates=True,
        diversity=0.2,
        boost="popularity / 1000",
        min_score=-1,
        k=3,
        facet="brand",
    )
    assert len(hits) == 3
    assert "s2" not in ids(hits)
    assert sum(hits.facets["brand"].values()) == 7


_options = st.fixed_dictionaries(
    {},
    optional={
        "hybrid": st.sampled_from([True, Hybrid("ranks")]),
        "where": st.sampled_from(["price < 60", 'brand == "Acme"', "sold != true", "price > 70"]),
        "group_by": st.sampled_from(["brand", "title", "sold"]),
        "hide_duplicates": st.sampled_from([True, 0.7]),
        "diversity": st.sampled_from([0.2, 0.8]),
        "boost": st.sampled_from(["popularity * 0.01", "-price"]),
        "like": st.sampled_from(["s1", ["s0", "s4"]]),
        "minus": st.sampled_from(["leather", ["red", "bag"]]),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=_options, k=st.integers(1, 12), offset=st.integers(0, 5))
def test_any_combination_gives_a_page_of_different_items_that_meet_the_filter(shop, options, k, offset) -> None:
    everything = shop.search("red leather xj-905", k=20, **options)
    assert ids(shop.search("red leather xj-905", k=k, offset=offset, **options)) == ids(everything)[offset : offset + k]
    assert len(set(ids(everything))) == len(everything)
    if "where" in options:
        allowed = set(ids(shop.search("red", k=20, where=options["where"])))
        assert set(ids(everything)) <= allowed
    if not {"group_by", "hide_duplicates", "where"} & set(options):
        liked = options.get("like", [])
        assert len(everything) == len(SHOES) - (1 if isinstance(liked, str) else len(liked))


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"where": "prise < 3"}, 'no column "prise"; did you mean price'),
        ({"where": "_likewise is null"}, 'no column "_likewise"'),
        ({"group_by": "brnd"}, "did you mean brand"),
        ({"group_by": "tags"}, "its cells are not texts or numbers"),
        ({"group_by": "since"}, "its cells are not texts or numbers"),
        ({"facet": "brnd"}, "did you mean brand"),
        ({"facet": "since"}, "no texts or numbers to count"),
        ({"boost": "brand * 2"}, '"brand" holds no numbers'),
        ({"boost": "_likewise_written"}, "no column"),
    ],
)
def test_a_column_that_does_not_fit_is_one_sentence_before_anything_is_encoded(
    shop: Index, options: dict, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeModel, "encode_queries", None)
    with pytest.raises(UserError, match=sentence):
        shop.search("red", **options)


def test_words_that_were_lost_are_read_again_from_the_store(tmp_path: Path) -> None:
    import shutil

    table = shop_table()
    Index.from_vectors(MODEL, MODEL.encode_queries(table["title"].to_list()), table, run=tmp_path)
    shutil.rmtree(tmp_path / "words")
    assert Index.open(tmp_path, MODEL).search("xj906", hybrid=True, k=1)[0].id == "s6"
    assert list((tmp_path / "words").glob("*/current")), "and kept"


@pytest.mark.parametrize("options", [{}, {"hybrid": True}, {"boost": "1"}, {"diversity": 0.5}])
@pytest.mark.parametrize("most_ties", [10_000, 0])
def test_pages_of_equals_fit_together(options: dict, most_ties: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", 8)
    index = Index.build(MODEL, catalog_of("coffee", *["tea"] * 30, "green tea", *["coffee"] * 5))
    if most_ties:
        pages = [ids(index.search("tea", k=7, offset=start, **options)) for start in range(0, 37, 7)]
        assert sorted(id for page in pages for id in page) == sorted(str(row) for row in range(37))
    monkeypatch.setattr(search, "_MOST_TIES", most_ties)
    assert len(set(ids(index.search("tea", k=37, **options)))) == 37
