"""An update encodes what changed and nothing else, and the index answers all the while."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from retrieval.fakes import FakeCatalog, FakeModel, catalog_of, save_picture
from retrieval.stores_of_runs import STORES

from likewise.errors import UserError
from likewise.retrieval import timestamps
from likewise.retrieval.index import Index


def titles(index: Index) -> dict[str, str]:
    return {hit.id: hit.fields["title"] for hit in index.search("anything", k=100)}


def shop(**changes: str | None) -> FakeCatalog:
    """Ten items; `changes` gives some of them, such as item3="other", another title, or removes them."""
    names = {f"item{row}": f"thing number {row}" for row in range(10)} | changes
    kept = {id: title for id, title in names.items() if title is not None}
    table = pl.DataFrame({"id": list(kept), "title": list(kept.values()), "price": [1.0] * len(kept)})
    return FakeCatalog(table)


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_only_new_and_changed_items_are_encoded(tmp_path: Path, way: str, store: str) -> None:
    model = FakeModel()
    index = Index.build(model, shop(), tmp_path, store=store)
    assert len(model.encoded) == 10
    model.encoded.clear()
    changes = index.update(shop(item3="a red chair", item5=None, item8=None, item10="a blue plum xj-77"))
    assert sorted(model.encoded) == ["item10", "item3"], "nothing else was encoded"
    assert str(changes) == "1 new, 1 changed, 0 with other metadata, 2 removed, 7 unchanged"
    for opened in (index, Index.open(tmp_path, model)):
        found = titles(opened)
        assert len(opened) == len(found) == 9
        assert (found["item3"], found["item10"], found["item4"]) == (
            "a red chair",
            "a blue plum xj-77",
            "thing number 4",
        )
        assert not {"item5", "item8"} & set(found)
        assert opened.search("red chair", k=1)[0].id == "item3"
        assert opened.search("thing number 4", k=1)[0].score == pytest.approx(1.0, abs=1e-3)
        assert opened.search("xj77", k=1, hybrid=True)[0].id == "item10"
        assert opened.search("item3", k=1, hybrid=True)[0].id == "item3"
        assert opened.matches(shop(item3="a red chair", item5=None, item8=None, item10="a blue plum xj-77"))


def test_nothing_changed_encodes_and_writes_nothing(tmp_path: Path) -> None:
    model = FakeModel()
    index = Index.build(model, shop(), tmp_path)
    model.encoded.clear()
    (log,) = (tmp_path / "index").glob("*/wal")
    before = log.read_bytes()
    changes = index.update(shop())
    assert changes.size == 0
    assert model.encoded == []
    assert log.read_bytes() == before


def test_changed_metadata_is_written_without_encoding(tmp_path: Path, way: str) -> None:
    model = FakeModel()
    index = Index.build(model, shop(), tmp_path)
    model.encoded.clear()
    cheaper = shop()
    cheaper.table = cheaper.table.with_columns(
        price=pl.when(pl.col("id") == "item4").then(0.5).otherwise(pl.col("price"))
    )
    before = index.search("thing number 4", k=3)
    changes = index.update(cheaper)
    assert str(changes) == "0 new, 0 changed, 1 with other metadata, 0 removed, 9 unchanged"
    assert model.encoded == []
    assert [hit.id for hit in index.search("thing", where="price < 1")] == ["item4"]
    after = index.search("thing number 4", k=3)
    assert [(hit.id, hit.score) for hit in after] == [(hit.id, hit.score) for hit in before]


def test_another_picture_is_encoded_and_a_moved_one_is_not(tmp_path: Path) -> None:
    model = FakeModel()
    first = save_picture(tmp_path / "first.png", (250, 0, 0))
    catalog = catalog_of("lamp", "vase")
    catalog.pictures = [(first,), ()]
    index = Index.build(model, catalog, tmp_path / "run")
    model.encoded.clear()
    moved = save_picture(tmp_path / "moved.png", (250, 0, 0))
    catalog.pictures = [(moved,), ()]
    assert len(index.update(catalog).rewritten) == 1
    assert model.encoded == []
    assert index.item("0").picture == moved
    catalog.pictures = [(save_picture(tmp_path / "other.png", (0, 0, 250)),), ()]
    assert len(index.update(catalog).changed) == 1
    assert model.encoded == ["0"]
    assert index.search("blue", k=1)[0].id == "0"


def test_other_columns_make_a_new_store_without_encoding(tmp_path: Path) -> None:
    model = FakeModel()
    index = Index.build(model, shop(), tmp_path)
    model.encoded.clear()
    wider = shop()
    wider.table = wider.table.with_columns(brand=pl.lit("Acme"), price=pl.col("price").cast(pl.String))
    changes = index.update(wider)
    assert len(changes.rewritten) == 10
    assert model.encoded == []
    assert len(index.search("thing", where='brand == "Acme" and price == 1', k=20)) == 10


def test_items_without_content_leave_the_index_and_come_back(tmp_path: Path, way: str) -> None:
    model = FakeModel()
    index = Index.build(model, catalog_of("tea", "coffee", None), tmp_path)
    changes = index.update(catalog_of(None, "coffee", None))
    assert (changes.removed, changes.empty) == (["0"], 2)
    assert list(titles(index)) == ["1"]
    model.encoded.clear()
    index.update(catalog_of("tea", "coffee", "milk"))
    assert sorted(model.encoded) == ["0", "2"]
    assert len(index) == 3


def test_an_item_that_cannot_be_encoded_any_more_goes(tmp_path: Path, way: str) -> None:
    class Failing(FakeModel):
        def encode_items_with_fields(self, catalog):
            vectors, fields = super().encode_items_with_fields(catalog)
            vectors[[title == "broken" for title in catalog.table["title"]]] = float("nan")
            return vectors, fields

    index = Index.build(Failing(), shop(), tmp_path)
    index.update(shop(item3="broken", item11="broken"))
    assert len(index) == 9
    assert not {"item3", "item11"} & set(titles(index))
    assert "item3" not in [hit.id for hit in index.search("item3", hybrid=True, k=20)]


def test_everything_can_go_and_come_back(tmp_path: Path) -> None:
    model = FakeModel()
    index = Index.build(model, shop(), tmp_path)
    index.update(catalog_of())
    assert len(index) == 0
    assert index.search("thing", hybrid=True) == []
    index.update(shop())
    assert len(index) == 10
    assert index.search("item7", hybrid=True, k=1)[0].id == "item7"


def test_a_retrained_model_cannot_update(tmp_path: Path) -> None:
    index = Index.build(FakeModel(), shop(), tmp_path)
    Index.build(FakeModel(fingerprint="retrained"), shop(), tmp_path)
    time.sleep(0.5)
    with pytest.raises(UserError, match="made by another model"):
        index.update(shop())
    with pytest.raises(UserError, match="made by another model"):
        Index.open(tmp_path, FakeModel())


@pytest.mark.parametrize("by", ["itself", "another handle"])
@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_an_open_index_answers_during_updates_and_follows(tmp_path: Path, way: str, store: str, by: str) -> None:
    model = FakeModel()
    Index.build(model, shop(), tmp_path, store=store)
    served, stop, errors = Index.open(tmp_path, model), threading.Event(), list[str]()

    def visitor() -> None:
        while not stop.is_set():
            try:
                hits = served.search("thing number 1", k=3, hybrid=True)
                if "item1" not in [hit.id for hit in hits]:
                    errors.append(f"item1 is not among {hits}")
            except Exception as error:
                errors.append(repr(error))

    visitors = [threading.Thread(target=visitor) for _ in range(2)]
    for thread in visitors:
        thread.start()
    try:
        updater = served if by == "itself" else Index.open(tmp_path, model)
        for turn in range(5):
            updater.update(shop(item3=f"turn{turn}", item4=None if turn % 2 else "back again"))
        time.sleep(1.2)
    finally:
        stop.set()
        for thread in visitors:
            thread.join()
    assert errors == []
    assert titles(served)["item3"] == "turn4"
    assert served.search("turn4", k=1, hybrid=True)[0].id == "item3"


def test_updates_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    model = FakeModel()
    Index.build(model, shop(), tmp_path)
    final = shop(item3="last word")
    threads = [threading.Thread(target=lambda: Index.open(tmp_path, model).update(final)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.encoded.count("item3") == 2, "once at first, and once by whoever came first"
    assert Index.open(tmp_path, model).matches(final)


_UPDATER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from retrieval.fakes import FakeModel
from retrieval.test_update import shop
from likewise.retrieval.index import Index
index = Index.open(Path(sys.argv[1]), FakeModel())
print("ready", flush=True)
for turn in range(10_000):
    index.update(shop(item3=f"turn{turn}", item5=None if turn % 2 else "xj-905", **{f"extra{turn}": "more"}))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_update_killed_at_any_moment_leaves_words_that_know_every_item(tmp_path: Path) -> None:
    model = FakeModel()
    Index.build(model, shop(), tmp_path / "run")
    for delay in (0.0, 0.011, 0.03, 0.07, 0.13, 0.21):
        command = [sys.executable, "-c", _UPDATER, str(tmp_path / "run"), str(Path(__file__).parents[1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        index = Index.open(tmp_path / "run", model)
        for id, title in titles(index).items():
            words = title.split()[-1] if title.startswith("turn") else id
            assert id in [hit.id for hit in index.search(words, k=3, hybrid=True)]
    index.update(shop())
    assert index.matches(shop())


def test_an_update_mends_words_that_were_behind(tmp_path: Path) -> None:
    model = FakeModel()
    index = Index.build(model, shop(), tmp_path)
    behind = shutil.copytree(tmp_path / "words", tmp_path / "before")
    index.update(shop(item3="xj-900", item4="xj-911"))
    shutil.rmtree(tmp_path / "words")
    shutil.move(behind, tmp_path / "words")
    index = Index.open(tmp_path, model)
    index.update(shop(item3="xj-777", item4=None))
    words = Index.open(tmp_path, model)._words._lexical.current()
    assert words.count == len(index) == 9
    assert index.search("xj777", k=1, hybrid=True)[0].id == "item3"
    assert words.match([("900 911", 1.0)]).best(5)[0] == []


def test_words_that_another_machine_has_left_behind_are_brought_up_to_date(tmp_path: Path) -> None:
    model = FakeModel()
    Index.build(model, shop(), tmp_path / "here", store=f"lancedb://{tmp_path}/shared")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    Index.open(tmp_path / "there", model).update(shop(item3="xj-900", item4=None, item11="xj-911"))
    here = Index.open(tmp_path / "here", model)
    assert here.search("xj900", k=1, hybrid=True)[0].id == "item3"
    assert here.search("xj911", k=1, hybrid=True)[0].id == "item11"


def test_words_follow_writers_whose_clocks_differ_or_are_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FakeModel()
    Index.build(model, shop(), tmp_path / "here", store=f"lancedb://{tmp_path}/shared")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    right = timestamps.now()
    clocks = {"there": right - 3600 * 10**6, "here": right, "in time": right + 86_400 * 10**6}
    changes: dict[str, str] = {}
    for number, machine in enumerate(["here", "there", "here", "there", "there", "in time", "here", "there"]):
        monkeypatch.setattr(timestamps, "now", lambda machine=machine: clocks[machine])
        changes[f"item{number}"] = f"xj-90{number}"
        Index.open(tmp_path / ("there" if machine == "there" else "here"), model).update(shop(**changes))
        for folder in ("here", "there"):
            found = Index.open(tmp_path / folder, model).search(f"xj90{number}", k=1, hybrid=True)
            assert found[0].id == f"item{number}", (machine, folder)
    opened = Index.open(tmp_path / "here", model)
    with opened._handle.use() as store:
        newest = max(fields[opened._bookkeeping.written] for batch in store.iterate() for fields in batch.fields)
    assert newest == clocks["in time"] + 2, "timestamps do not run away from the clocks"
