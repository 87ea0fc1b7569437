"""Similar items for everything at once: what single searches find, without the item itself."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from retrieval.fakes import FakeModel, catalog_of
from retrieval.stores_of_runs import STORES

from likewise.errors import UserError
from likewise.retrieval import recommend
from likewise.retrieval.export import write_parquet
from likewise.retrieval.index import Index

COUNT, DIM = 300, 12


@pytest.fixture(scope="module", params=STORES.values(), ids=STORES)
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((COUNT, DIM)).astype(np.float32)
    vectors[200:] = vectors[:100] + 0.001 * random.standard_normal((100, DIM))  # near-duplicates of the first hundred
    table = pl.DataFrame({"id": [f"i{row}" for row in range(COUNT)], "stock": [row % 4 for row in range(COUNT)]})
    run = tmp_path_factory.mktemp("run")
    return Index.from_vectors(FakeModel(dim=DIM), vectors, table, run=run, store=request.param)


def lists_of(table: pl.DataFrame) -> dict[str, list[str]]:
    grouped = table.sort("id", "rank").group_by("id", maintain_order=True).agg("similar_id", "rank")
    assert all(ranks == list(range(1, len(ranks) + 1)) for ranks in grouped["rank"].to_list())
    return dict(zip(grouped["id"], grouped["similar_id"].to_list(), strict=True))


def test_every_item_has_its_neighbours_and_not_itself(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommend, "_BATCH", 64)
    table = index.recommendations(5)
    assert table.schema == {"id": pl.String, "rank": pl.Int32, "similar_id": pl.String, "score": pl.Float32}
    assert len(table) == 5 * COUNT
    assert not (table["id"] == table["similar_id"]).any()
    lists = lists_of(table)
    for row in range(0, COUNT, 17):
        assert lists[f"i{row}"] == [hit.id for hit in index.similar(f"i{row}", 5)]
    assert table.sort("id", "rank").group_by("id").agg((pl.col("score").diff() <= 1e-6).all())["score"].all()


def test_a_filter_says_what_is_recommended_not_what_for(index: Index) -> None:
    lists = lists_of(index.recommendations(3, where="stock == 2"))
    assert len(lists) == COUNT
    assert {int(id[1:]) % 4 for similar in lists.values() for id in similar} == {2}
    assert all(len(similar) == 3 for similar in lists.values())


def test_near_duplicates_can_be_left_out_and_others_take_their_place(index: Index) -> None:
    assert lists_of(index.recommendations(3))["i7"][0] == "i207"
    lists = lists_of(index.recommendations(3, hide_duplicates=True))
    assert all(len(similar) == 3 for similar in lists.values())
    for id, similar in lists.items():
        numbers = [int(other[1:]) % 200 for other in (id, *similar)]
        assert len(set(numbers)) == 4, "an item and its near-duplicate never stand together"


def test_a_small_index_recommends_what_there_is() -> None:
    index = Index.build(FakeModel(), catalog_of("tea", "green tea", "tea"))
    assert len(index.recommendations(10)) == 6
    assert len(index.recommendations(10, hide_duplicates=True)) == 3, "for each the one that is no copy of it"
    assert len(Index.build(FakeModel(), catalog_of("tea")).recommendations()) == 0
    assert len(Index.build(FakeModel(), catalog_of()).recommendations()) == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"where": "stok > 1"}, "did you mean stock"),
        ({"where": "_likewise is null"}, 'no column "_likewise"'),
        ({"hide_duplicates": 2.0}, "the cosine of near-duplicates"),
    ],
)
def test_a_mistake_is_one_sentence(index: Index, options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        index.recommendations(**options)


def test_the_table_is_written_in_one_step(index: Index, tmp_path: Path) -> None:
    table = index.recommendations(2)
    write_parquet(tmp_path / "similar.parquet", table)
    assert pl.read_parquet(tmp_path / "similar.parquet").equals(table)
    assert [file.name for file in tmp_path.iterdir()] == ["similar.parquet"]
