"""Explanations: exact Shapley values of fields, shares of words and boosts, which add up to the score."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval.fakes import FakeModel, catalog_of, save_picture

from likewise.catalog.catalog import Catalog
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.retrieval import candidates, explanation, search
from likewise.retrieval.explanation import compute_shapley_values, scale_shares
from likewise.retrieval.hybrid import Hybrid
from likewise.retrieval.index import Index
from likewise.retrieval.items import Hit


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.floats(-1, 1), min_size=2**n, max_size=2**n)))
def test_shapley_values_are_the_averages_over_all_orders(worths: list[float]) -> None:
    members = len(worths).bit_length() - 1
    expected = np.zeros(members)
    orders = list(permutations(range(members)))
    for order in orders:
        there = 0
        for member in order:
            expected[member] += (worths[there | 1 << member] - worths[there]) / len(orders)
            there |= 1 << member
    values = compute_shapley_values(np.array([worths]))[0]
    np.testing.assert_allclose(values, expected, atol=1e-9)
    assert values.sum() == pytest.approx(worths[-1] - worths[0], abs=1e-9)


def add_up(hit: Hit) -> float:
    why = hit.explanation
    return sum(why.fields.values()) + sum((why.terms or {}).values()) + (why.boost or 0.0)


QUERIES = {
    "words": {"text": "red circle"},
    "a picture": {"image": "photo.jpg"},
    "both, and what is not wanted": {"text": "shirt", "image": "photo.jpg", "minus": "leather^2"},
    "an item": {"like": "sku-1003"},
    "hybrid": {"text": "red circle shirt XJ-917B", "hybrid": True},
    "hybrid by ranks": {"text": "red XJ-917B", "hybrid": Hybrid("ranks")},
    "hybrid without words that are there": {"text": "xyzzyx", "hybrid": Hybrid(correct=False)},
    "only words": {"text": "red circle", "hybrid": Hybrid(words=1.0)},
    "a boost": {"text": "red", "boost": "popularity * 0.1 - stock"},
    "a boost of a hybrid search": {"text": "red 917", "hybrid": True, "boost": "popularity / 7", "diversity": 0.3},
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_shares_add_up_to_the_score(
    shop_index: Index, shop_run: Path, query: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop_run.parent)
    hits = shop_index.search(**query, k=12, offset=3, explain=True)
    assert [(hit.id, hit.score) for hit in hits] == [
        (hit.id, hit.score) for hit in shop_index.search(**query, k=12, offset=3)
    ]
    for hit in hits:
        assert add_up(hit) == pytest.approx(hit.score, abs=1e-4)
        assert set(hit.explanation.fields) == {"title", "description", "image"}
        assert (hit.explanation.terms is None) == ("hybrid" not in query)
        assert (hit.explanation.boost is None) == ("boost" not in query)


def test_shares_of_fields_are_those_of_the_model_itself(shop_index: Index, shop_model: Model) -> None:
    """By encoding the item again through each subset of its fields."""
    catalog = Catalog.read(Path(shop_index.item("sku-1007").picture.path).parent / "products.csv")
    (hit,) = [hit for hit in shop_index.search("red circle", k=30, explain=True) if hit.id == "sku-1007"]
    row = catalog.ids.index("sku-1007")
    query = shop_model.encode_queries(["red circle"])[0]
    fields = ("title", "description", "image")
    worths = [0.0] + [
        float(
            shop_model.encode_items(
                catalog.select([row]), [name for bit, name in enumerate(fields) if subset >> bit & 1]
            )[0]
            @ query
        )
        for subset in range(1, 8)
    ]
    expected = compute_shapley_values(np.array([worths]))[0]
    found = [hit.explanation.fields[name] for name in fields]
    np.testing.assert_allclose(found, expected, atol=2e-3)  # half precision


def test_words_that_an_item_has_get_their_share(shop_index: Index) -> None:
    hit = shop_index.search("shirt XJ-901B", hybrid=True, k=1, explain=True)[0]
    assert hit.id == "sku-1001"
    terms = hit.explanation.terms
    assert terms["xj901b"] > terms["shirt"] > 0
    assert sum(terms.values()) <= 0.6 + 1e-6
    assert hit.explanation.to_json()["terms"][0]["term"] in {"xj901b", "901b", "901"}


class AveragingModel(FakeModel):
    """Fuses the fields of an item as its items were fused."""

    def fuse_fields(self, vectors: np.ndarray, fields: Sequence[str]) -> np.ndarray:
        sums = np.nansum(vectors, axis=1)
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def test_only_fields_that_an_item_has_get_a_share(tmp_path: Path) -> None:
    catalog = catalog_of("red hat", "red shoe", None)
    catalog.pictures = [
        (),
        (save_picture(tmp_path / "red.png", (255, 0, 0)),),
        (save_picture(tmp_path / "b.png", (0, 0, 255)),),
    ]
    hits = {hit.id: hit for hit in Index.build(AveragingModel(), catalog).search("red hat", explain=True)}
    assert set(hits["0"].explanation.fields) == {"title"}
    assert hits["0"].explanation.fields["title"] == pytest.approx(1.0, abs=1e-3)
    assert set(hits["1"].explanation.fields) == {"title", "image"}
    assert set(hits["2"].explanation.fields) == {"image"}
    assert all(add_up(hit) == pytest.approx(hit.score, abs=1e-4) for hit in hits.values())


def test_pages_further_down_add_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", 5)
    monkeypatch.setattr(candidates, "_FEW", 3)
    index = Index.build(AveragingModel(), catalog_of(*(f"red hat number{row}" for row in range(40))))
    for by in ("weights", "ranks"):
        hits = index.search("red number7", hybrid=Hybrid(by), k=30, offset=5, explain=True)
        assert len(hits) == 30
        assert all(add_up(hit) == pytest.approx(hit.score, abs=1e-4) for hit in hits)


def test_an_index_of_fewer_dimensions_is_explained(shop_catalog: Catalog, shop_model: Model) -> None:
    for hit in Index.build(shop_model, shop_catalog, dim=16).search("red circle", explain=True):
        assert add_up(hit) == pytest.approx(hit.score, abs=1e-4)


def test_without_field_vectors_or_a_fusion_there_is_one_sentence() -> None:
    catalog = catalog_of("red hat")
    with pytest.raises(UserError, match="keeps no field vectors to explain with: build it again without"):
        Index.build(AveragingModel(), catalog, field_vectors=False).search("red", explain=True)
    with pytest.raises(UserError, match="makes no item of single fields"):
        Index.build(FakeModel(), catalog).search("red", explain=True)
    assert Index.build(AveragingModel(), catalog).search("red", where="title == 'x'", explain=True) == []


@given(
    st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=1, max_size=4),
    st.floats(0, 1),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_scaled_shares_add_up_and_stay_in_bounds(shares: list[list[float]], total: float, there: list[bool]) -> None:
    present = np.array([there] * len(shares))
    scaled = scale_shares(np.array(shares) * present, np.full(len(shares), total), present)
    np.testing.assert_allclose(scaled.sum(axis=1), total if any(there) else 0.0, atol=1e-9)
    assert np.abs(scaled).max() <= 2 * total + 1e-9
    assert not scaled[~present].any()


def test_shares_of_one_sign_keep_their_proportions() -> None:
    scaled = scale_shares(np.array([[0.3, 0.1]]), np.array([0.8]), np.ones((1, 2), bool))
    assert scaled[0].tolist() == pytest.approx([0.6, 0.2])


def test_a_filter_that_leaves_few_items_keeps_shares_in_the_range_of_the_score(shop_index: Index) -> None:
    """Two items nearly as far away span the scale of a hybrid search."""
    for where in ('id in ["sku-1003", "sku-1004"]', 'id in ["sku-1007", "sku-1011", "sku-1012"]'):
        for hit in shop_index.search("red circle", where=where, hybrid=True, explain=True):
            assert add_up(hit) == pytest.approx(hit.score, abs=1e-4)
            assert max(map(abs, hit.explanation.fields.values())) <= 2 * hit.score + 1e-4


@pytest.mark.parametrize("by", ["weights", "ranks"])
def test_words_of_hits_in_earlier_blocks_keep_their_shares(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", 4)
    titles = ["red hat", "red shoe", *["hat"] * 10, *["coat"] * 10]
    brands = ["first", "second", *["third"] * 10, *["fourth"] * 10]
    index = Index.build(AveragingModel(), catalog_of(*titles, brand=brands))
    hits = index.search("red hat", hybrid=Hybrid(by), group_by="brand", k=4, explain=True)
    assert len(hits) == 4
    assert set(hits[0].explanation.terms) == {"red", "hat"}
    assert [set(hit.explanation.terms) for hit in hits[1:]].count(set()) == 1
    assert all(add_up(hit) == pytest.approx(hit.score, abs=1e-4) for hit in hits)


def test_the_vectors_of_one_explanation_are_fused_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    portions: list[int] = []

    class CountingModel(AveragingModel):
        def fuse_fields(self, vectors: np.ndarray, fields: Sequence[str]) -> np.ndarray:
            portions.append(vectors.size)
            return super().fuse_fields(vectors, fields)

    index = Index.build(CountingModel(), catalog_of(*(f"red hat number{row}" for row in range(20))))
    whole = index.search("red number7", k=20, explain=True)
    monkeypatch.setattr(explanation, "_NUMBERS_AT_ONCE", 1_000)
    portions.clear()
    assert [hit.explanation for hit in index.search("red number7", k=20, explain=True)] == [
        hit.explanation for hit in whole
    ]
    assert len(portions) > 1
    assert max(portions) <= 1_000


def test_more_hits_than_are_explained_at_once_are_refused(shop_index: Index) -> None:
    shop_index.search("red", k=100, explain=True)
    with pytest.raises(UserError, match="100 hits are explained at once at most: ask for k = 100 or fewer"):
        shop_index.search("red", k=101, explain=True)
