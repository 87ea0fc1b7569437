"""Hits that are less likely are said to be so, and never dropped; on every engine that needs no server."""

from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest
from PIL import Image
from retrieval.fakes import FakeModel
from retrieval.stores_of_runs import STORES

from likewise.errors import UserError
from likewise.retrieval.hybrid import Hybrid
from likewise.retrieval.index import Index
from likewise.retrieval.metadata import sample_ids
from likewise.retrieval.query import build_query
from likewise.retrieval.query_threshold import find_kind
from likewise.retrieval.thresholds import SAMPLE, ThresholdRule, Thresholds

TITLES = ["red running shoe", "red leather shoe", "blue leather shoe", "green leather bag", "wooden chair", "red hat"]
MODEL = FakeModel()
RED = Image.new("RGB", (8, 8), "red")


def rule(intercept: float, **coefficients: float) -> ThresholdRule:
    flat = ThresholdRule(intercept, 0.0, 0.0, 0.0, 0.0, -9.0, 9.0, 0.5, 0.05, 0.5, 0.4, 100)
    return replace(flat, **coefficients)


RULES = {"words": rule(0.5), "pictures": rule(0.3, mean=1.0)}


@pytest.fixture(scope="module", params=STORES.values(), ids=STORES)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    run = tmp_path_factory.mktemp("run")
    table = pl.DataFrame({"id": [f"s{row}" for row in range(len(TITLES))], "title": TITLES, "price": range(6)})
    Thresholds(MODEL.dim, RULES).write(run)
    with Index.from_vectors(MODEL, MODEL.encode_queries(TITLES), table, run=run, store=request.param) as index:
        yield index


def test_every_hit_says_whether_it_is_likely_and_none_is_dropped(shop: Index) -> None:
    plain, marked = shop.search("red shoe"), shop.search("red shoe", min_score="auto")
    assert [(hit.id, hit.score) for hit in marked] == [(hit.id, hit.score) for hit in plain]
    assert (marked.threshold.kind, marked.threshold.score) == ("words", pytest.approx(0.5))
    assert [hit.likely for hit in marked] == [hit.score >= 0.5 for hit in marked]
    assert {hit.likely for hit in marked} == {True, False}
    assert plain.threshold is None and {hit.likely for hit in plain} == {None}


def test_the_threshold_follows_the_scores_of_the_query(shop: Index) -> None:
    found = shop.search(image=RED, min_score="auto", k=6)
    mean = sum(hit.score for hit in found) / 6  # the sample is the whole index
    assert found.threshold.kind == "pictures" and found.threshold.score == pytest.approx(0.3 + mean, abs=1e-4)


def test_the_threshold_follows_how_near_the_best_item_is_to_others(tmp_path) -> None:
    Thresholds(MODEL.dim, {"words": rule(0.0, item_mean=1.0), "mixed": rule(0.0, item_spread=1.0)}).write(tmp_path)
    with build(tmp_path) as index:
        vectors = MODEL.encode_queries(TITLES)
        found = index.search("red running shoe", min_score="auto", k=1, offset=3)
        others = vectors[1:] @ vectors[0]
        assert found.threshold.score == pytest.approx(others.mean(), abs=1e-4)
        both = index.search("red running shoe", image=RED, image_weight=0.0, min_score="auto")
        assert both.threshold.kind == "mixed" and both.threshold.score == pytest.approx(others.std(), abs=1e-4)


def test_a_hybrid_search_goes_by_the_threshold_of_words(shop: Index) -> None:
    cosines = {hit.id: hit.score for hit in shop.search("crimson footwear", k=6)}
    found = shop.search("crimson footwear", hybrid=True, min_score="auto", k=6)  # words that nobody has
    assert found.threshold.kind == "hybrid"
    assert [hit.likely for hit in found] == [cosines[hit.id] >= 0.5 for hit in found]


def test_an_item_that_has_all_of_the_words_is_likely_whatever_its_vector_says(tmp_path) -> None:
    Thresholds(MODEL.dim, {"words": rule(2.0)}).write(tmp_path)
    with build(tmp_path) as index:
        found = index.search("hat", hybrid=True, min_score="auto")
        assert found.threshold.score == pytest.approx(0.6, abs=1e-4)
        assert [hit.id for hit in found if hit.likely] == ["s5"]
        both = index.search("blue shoe", hybrid=True, min_score="auto")
        assert [hit.id for hit in both if hit.likely] == ["s2"], "where both stand"
        assert not any(hit.likely for hit in index.search("xyzzy", hybrid=Hybrid(correct=False), min_score="auto"))


@pytest.mark.parametrize(
    "asked",
    [
        {"like": "s1"},
        {"text": "red", "image": RED},  # for which the run has no rule
        {"text": "red", "boost": "price"},
        {"text": "red", "hybrid": Hybrid(by="ranks")},
        {"text": "red", "hybrid": Hybrid(words=0.1)},
        {"text": "red", "hybrid": True, "image": RED},
    ],
)
def test_other_queries_have_no_threshold(shop: Index, asked: dict) -> None:
    found = shop.search(**asked, min_score="auto", k=2)
    assert found.threshold is None and [hit.likely for hit in found] == [None, None]


def test_kinds_of_queries() -> None:
    asked = {
        "words": {"text": ["red", "shoe"], "minus": "blue"},
        "pictures": {"image": RED},
        "mixed": {"text": "red", "image": RED},
        "hybrid": {"text": "red", "hybrid": True},
    }
    assert {kind: find_kind(build_query(**parts)) for kind, parts in asked.items()} == {kind: kind for kind in asked}


def test_another_word_than_auto_is_refused() -> None:
    with pytest.raises(UserError, match="min_score must be a number or \"auto\", not 'best'"):
        build_query("tea", min_score="best")


def build(run, titles=TITLES) -> Index:
    table = pl.DataFrame({"id": [f"s{row}" for row in range(len(titles))], "title": titles})
    return Index.from_vectors(MODEL, MODEL.encode_queries(titles), table, run=run)


def test_a_run_without_rules_or_with_damaged_ones(tmp_path) -> None:
    with build(tmp_path / "old") as index:
        assert index.search("red", min_score="auto").threshold is None
    with build(tmp_path / "damaged") as index:
        (tmp_path / "damaged" / "thresholds.json").write_text("{}")
        assert len(index.search("red")) == 6
        with pytest.raises(UserError, match=r"thresholds\.json"):
            index.search("red", min_score="auto")


def test_rules_do_not_apply_to_other_dimensions(tmp_path) -> None:
    Thresholds(MODEL.dim - 1, RULES).write(tmp_path)
    with build(tmp_path) as index:
        assert index.search("red", min_score="auto").threshold is None


def test_items_that_come_and_go_leave_the_rest_of_the_sample(tmp_path) -> None:
    Thresholds(MODEL.dim, RULES).write(tmp_path)
    with build(tmp_path) as index:
        index.delete(["s0", "s1"])
        found = index.search(image=RED, min_score="auto", k=6)
        mean = sum(hit.score for hit in found) / 4
        assert len(found) == 4 and found.threshold.score == pytest.approx(0.3 + mean, abs=1e-4)
        index.delete([f"s{row}" for row in range(2, 6)])
        assert index.search(image=RED, min_score="auto") == []


def test_a_sample_is_bounded_whatever_the_ids() -> None:
    ids = [f"item-{row:06d}" for row in range(5_000)]
    drawn = sample_ids(ids)
    assert len(set(drawn)) == SAMPLE and set(drawn) <= set(ids) and drawn == sample_ids(ids)
    assert sum(map(len, sample_ids(["x" * 900 + str(row) for row in range(5_000)]))) <= 20_000
    assert sample_ids([]) == ()
