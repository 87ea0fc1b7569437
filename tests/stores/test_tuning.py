"""What the embedded store chooses by itself: within the memory, with the recall that was asked for, and why."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from retrieval.fakes import FakeModel, catalog_of

from likewise.errors import UserError
from likewise.retrieval.index import Index
from likewise.stores.faiss import collection as faiss
from likewise.stores.faiss import indexing
from likewise.stores.faiss.approximate import SearchParameters
from likewise.stores.faiss.collection import FaissStore
from likewise.stores.faiss.tuning import Measured
from likewise.stores.registry import add_search_target
from likewise.stores.schema import Schema
from likewise.stores.search_target import SearchTarget, parse_bytes, show_bytes
from likewise.stores.uri import Credentials, parse_location

DIM, COUNT, K = 48, 12_000, 10


def vectors_of(count: int, seed: int) -> np.ndarray:
    """(count, DIM) of unit norm, in clusters that overlap."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((150, DIM))
    vectors = centres[random.integers(0, 150, count)] + random.standard_normal((count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS, UNSEEN = vectors_of(COUNT, 0), vectors_of(300, 1)
TRUTH = [set(rows) for rows in np.argsort(-(UNSEEN @ VECTORS.T), axis=1)[:, :K].tolist()]


def build(folder: Path, target: SearchTarget | None, count: int = COUNT) -> FaissStore:
    location, _ = parse_location(f"faiss://{folder}/store")
    items = pl.DataFrame({"id": [str(row) for row in range(count)]})
    with faiss.replace_store(location, Schema.of(items, DIM), Credentials(), target) as store:
        store.upsert(items, VECTORS[:count])
    return faiss.open_store(location, Credentials())


def recall(store: FaissStore) -> float:
    found = store.search(UNSEEN, K)
    return np.mean([len(truth & {int(id) for id in one.ids}) / K for truth, one in zip(TRUTH, found, strict=True)])


def held(folder: Path) -> int:
    """The bytes of what a search through an index looks at."""
    version = folder / "store" / (folder / "store" / "current").read_text().strip()
    return sum(file.stat().st_size for file in [version / "index.faiss", *version.glob("ids.*")])


def test_the_choice_keeps_within_the_memory_and_finds_enough_for_unseen_queries(tmp_path, capsys):
    memory = 900_000
    store = build(tmp_path, SearchTarget(recall=0.9, memory=memory))
    assert store.kind in ("ivf-pq", "rabitq"), "others do not fit"
    assert held(tmp_path) <= memory
    assert recall(store) >= 0.9
    about = store.about
    assert about["recall"] >= 0.9
    assert about["bytes"] < memory
    assert about["parameters"]["reranked"] > K, "coarse codes propose more than is asked for"
    said = capsys.readouterr().err
    assert f"Searching by {store.kind}" in said
    assert "within 900 KB" in said
    assert "of the true neighbours of held-out queries" in said


def test_who_aims_higher_searches_harder(tmp_path):
    """The aims lie so far apart that no noise in the measured times can turn their order round."""
    low, high = (build(tmp_path / str(aim), SearchTarget(aim, kind="ivf-sq8")) for aim in (0.6, 0.98))
    assert recall(high) >= 0.98
    assert high.about["parameters"]["probes"] > low.about["parameters"]["probes"]


def test_an_aim_is_reached_for_unseen_queries(tmp_path):
    assert recall(build(tmp_path, SearchTarget(0.7, kind="ivf-sq8"))) >= 0.7


def test_without_a_wish_few_items_are_compared_and_nothing_is_said(tmp_path, capsys):
    store = build(tmp_path, None, indexing.MANY - 1)
    assert store.kind == "flat"
    assert store.about["recall"] == 1.0
    assert capsys.readouterr().err == ""


def test_without_a_wish_many_items_get_an_index_that_is_nearly_exact(tmp_path, capsys):
    store = build(tmp_path, None)
    assert store.kind in ("rabitq", "ivf-sq8")
    assert store.about["recall"] >= 0.99
    assert recall(store) >= 0.98
    assert "quickly built, and reaches a recall of 0.99" in " ".join(capsys.readouterr().err.split())


def test_without_a_wish_very_many_items_get_the_fastest_index(tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "_VERY_MANY", 11_000)
    store = build(tmp_path, None)
    assert store.about["recall"] >= 0.95
    assert recall(store) >= 0.95


def test_where_no_index_finds_enough_all_items_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "_USUAL", ("ivf-pq", "flat"))
    monkeypatch.setattr(indexing, "tune", lambda *_: Measured(SearchParameters(1, 10), 0.9, False, 1.0, 1.0))
    store = build(tmp_path, None)
    assert store.kind == "flat"
    assert recall(store) == 1


def test_growing_past_the_border_brings_an_index_and_shrinking_takes_it_away(tmp_path):
    store = build(tmp_path, None, 9_900)
    assert store.kind == "flat"
    store.upsert(pl.DataFrame({"id": [str(row) for row in range(9_900, 10_100)]}), VECTORS[9_900:10_100])
    store.optimise()
    assert store.kind != "flat"
    store.delete([str(row) for row in range(300)])
    store.optimise()
    assert store.kind == "flat"


def test_a_wish_that_cannot_be_had_is_one_sentence_and_leaves_the_old_store(tmp_path):
    store = build(tmp_path, None, 100)
    for target in (SearchTarget(memory=1_000), SearchTarget(memory=1_000, kind="rabitq")):
        with pytest.raises(UserError, match=r"12,000 items in 48 dimensions cannot be searched within 1 KB: \S+ takes"):
            build(tmp_path, target)
    assert store.count() == 100


def test_a_wish_is_kept_when_the_store_is_compacted(tmp_path):
    store = build(tmp_path, SearchTarget(0.8, memory=900_000), 6_000)
    kind = store.kind
    items = pl.DataFrame({"id": [str(row) for row in range(6_000, 7_000)]})
    store.upsert(items, VECTORS[6_000:7_000])
    store.optimise()
    assert store.content().segment.plan.target == SearchTarget(0.8, memory=900_000)
    assert store.kind == kind
    assert store.about["recall"] >= 0.8


def test_an_index_takes_aims_and_its_run_remembers_them(tmp_path):
    titles = [f"thing number {row} of shelf {row % 40}" for row in range(1_500)]
    index = Index.build(FakeModel(), catalog_of(*titles), tmp_path, target_recall=0.8, memory="1MB", kind="ivf-sq8")
    assert "target_recall=0.8&memory=1MB&kind=ivf-sq8" in (tmp_path / "store.json").read_text()
    assert index.search("thing number 7 of shelf 7", k=1)[0].fields["title"]
    assert Index.build(FakeModel(), catalog_of(*titles[:20]), kind="flat").search("thing 7", k=3)
    with pytest.raises(UserError, match="are for the faiss store"):
        Index.build(FakeModel(), catalog_of("a"), tmp_path, store="lancedb:items", memory="1GB")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target_recall": "1.5"}, "above 0 and at most 1"),
        ({"target_recall": "high"}, "a number such as 0.95, not 'high'"),
        ({"memory": "lots"}, "written as 2GB or 512MB, not 'lots'"),
        ({"memory": "0"}, "at least one byte"),
        ({"kind": "tree"}, "no kind of index 'tree': use auto or one of flat, hnsw-sq8"),
    ],
)
def test_aims_that_make_no_sense_are_one_sentence(options, sentence):
    with pytest.raises(UserError, match=sentence):
        add_search_target(parse_location("faiss:index")[0], options)


def test_bytes_are_read_and_written_as_people_do():
    assert [parse_bytes(text) for text in ("2GB", "512 MiB", "1.5k", "7")] == [2 * 10**9, 2**29, 1500, 7]
    assert [show_bytes(count) for count in (7, 1_500, 2 * 10**6, 3_210_000_000)] == [
        "7 bytes",
        "1.5 KB",
        "2 MB",
        "3.21 GB",
    ]


def test_where_no_kind_reaches_the_aim_those_that_find_more_are_built_first(tmp_path, monkeypatch):
    """However fast they are."""
    recalls = {"hnsw-sq8": 0.5, "ivf-sq8": 0.6, "ivf-pq": 0.7, "rabitq": 0.65}
    measure, built = indexing.tune, []

    def failing(index, kind, trial, count, aim):
        measured = measure(index, kind, trial, count, 0.5)
        return dataclasses.replace(measured, met=False, recall=recalls[kind.name])

    def noted(choice, name, why, start=None):
        built.append(name)
        return build_one(choice, name, why, start)

    build_one = indexing._IndexChoice._built
    monkeypatch.setattr(indexing, "tune", failing)
    monkeypatch.setattr(indexing._IndexChoice, "_built", noted)
    monkeypatch.setattr(indexing, "_FEW", 0)
    with pytest.raises(UserError, match="no index that may be used here reaches a recall"):
        build(tmp_path, SearchTarget(recall=0.9, memory=2_000_000))  # too little for comparing all
    assert built[:3] == ["ivf-pq", "rabitq", "ivf-sq8"]
