"""The judge and its tables, pooling over folds, and systems that go through a process of their own."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import quality
from catalogues.prepared import fold_by_identity
from judging import Judge, Questions, as_json, markdown, markdown_of_differences, pool
from later_items import compare, describe, measure, summarise
from model.shape_catalogue import write_catalogue
from peers import ours, simple
from peers.clock import Clock
from peers.seen import Seen
from peers.task import Task
from quality import SYSTEMS, Bench, hash_code
from training.tiny_config import TINY

from likewise.evaluation.comparison import SystemMetrics
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.training.train import train


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shapes")
    tables = fold_by_identity(write_catalogue(folder / "source"), folder, folds=2)
    targets = [folder / f"fold-{number}" / "catalogue.csv" for number in range(len(tables))]
    for table, target in zip(tables, targets, strict=True):
        target.parent.mkdir()
        table.write_csv(target)
    return targets


@pytest.fixture(scope="module")
def judge(files: list[Path]) -> Judge:
    return Judge.of([Task(file, file.parent / "judge", Clock(0.0, 1.0), 0, threads=1).test for file in files])


def right(judge: Judge, luck: float, seed: int) -> list[Seen]:
    """A system that knows every answer, as far as luck does not drown it: what it says in every fold."""
    found = []
    for number, fold in enumerate(judge.folds):
        scores = np.zeros((len(fold.titles.texts), len(fold.titles.catalog)), np.float32)
        for query, answers in enumerate(fold.titles.relevant):
            scores[query, answers] = 1.0
        scores += luck * np.random.default_rng([seed, number]).random(scores.shape, np.float32)
        found.append(Seen(scores, scores, scores))
    return found


def seeds(*systems: list[Seen]) -> list[list[Seen]]:
    """By fold what each seed says."""
    return [list(fold) for fold in zip(*systems, strict=True)]


def test_who_knows_more_is_better_and_the_same_is_no_difference(judge: Judge) -> None:
    good, guess = seeds(right(judge, 0.1, 0)), seeds(right(judge, 1000.0, 1))
    cells = judge.compare(judge.measure({"likewise": good, "as good": good, "a guess": guess}))
    assert cells["likewise"]["mAP"].figure.mean == pytest.approx(1.0)
    assert cells["likewise"]["mAP"].verdict is None
    assert cells["as good"]["mAP"].verdict == "no difference"
    assert cells["a guess"]["mAP"].verdict == "better"
    worse = judge.compare(judge.measure({"likewise": guess, "baseline": good}))
    assert worse["baseline"]["mAP"].verdict == "worse"


def test_the_first_columns_are_the_first_and_the_first_ten_hits_of_whole_items(judge: Judge) -> None:
    first, second, *_ = judge.columns
    assert (first.view, first.metric) == ("all", "recall@1")
    assert (second.view, second.metric) == ("all", "recall@10")
    assert judge.deciding == second.heading


def test_queries_are_averaged_over_the_seeds(judge: Judge) -> None:
    runs = [right(judge, 3.0, seed) for seed in range(3)]
    alone = [judge.compare(judge.measure({"likewise": seeds(run)}))["likewise"]["mAP"].figure.mean for run in runs]
    together = judge.compare(judge.measure({"likewise": seeds(*runs)}))["likewise"]["mAP"].figure.mean
    assert together == pytest.approx(np.mean(alone))
    assert np.ptp(alone) > 0


def test_identities_of_two_folds_do_not_collide() -> None:
    one = SystemMetrics("x", {"map": np.array([1.0, 0.0, 1.0])}, np.array([0, 1, 0]))
    other = SystemMetrics("x", {"map": np.array([0.5, 0.25])}, np.array([0, 1]))
    pooled = pool([one, other])
    np.testing.assert_array_equal(pooled.metrics["map"], [1.0, 0.0, 1.0, 0.5, 0.25])
    assert pooled.groups[0] == pooled.groups[2]
    assert not set(pooled.groups[:3]) & set(pooled.groups[3:])
    assert len(set(pooled.groups)) == 4


def test_all_titles_of_all_folds_are_asked_once(judge: Judge) -> None:
    measured = judge.measure({"likewise": seeds(right(judge, 0.1, 0))})["likewise"]["all"]
    assert len(measured.groups) == judge.queries == sum(len(fold.titles.texts) for fold in judge.folds)


def test_a_training_that_spoils_its_start_is_marked(judge: Judge) -> None:
    good, guess = seeds(right(judge, 0.1, 0)), seeds(right(judge, 1000.0, 1))
    differences = judge.differences(judge.measure({"likewise": guess, "start": good, "ridge": guess, "BM25": good}))
    assert list(differences) == ["likewise − start", "likewise − ridge"]
    assert differences["likewise − start"]["mAP"].high < -0.01
    assert differences["likewise − ridge"]["mAP"].mean == 0
    spoiled, kept = markdown_of_differences(judge, differences).splitlines()[2:]
    assert "✗" in spoiled
    assert "✗" not in kept
    assert markdown_of_differences(judge, {}) == ""


def test_the_blind_are_measured_where_they_can_answer(judge: Judge) -> None:
    seeing = right(judge, 0.1, 0)
    blind = [Seen(seen.text, seen.text, None) for seen in seeing]
    cells = judge.compare(judge.measure({"likewise": seeds(seeing), "blind": seeds(blind)}))
    pictures = next(column.heading for column in judge.columns if column.view == "image")
    assert pictures not in cells["blind"]
    page = markdown(judge, cells, {"blind": "3"}, {"blind": "c0de"})
    row = next(line for line in page.splitlines() if line.startswith("| blind"))
    assert "–" in row
    assert "| 3 |" in row
    assert row.endswith("| c0de |")
    assert "BETTER" in row or "NO DIFFERENCE" in row


def test_photos_look_for_titles_where_many_share_one(judge: Judge) -> None:
    assert not [column for column in judge.columns if "photo" in column.heading]
    catalog = judge.folds[0].titles.catalog
    shared = catalog.select(np.arange(len(catalog)))
    shared.table = shared.table.with_columns(shared.table["title"].str.split(" ").list.last().alias("title"))
    several = Judge.of([shared])
    cells = several.compare(several.measure({"likewise": seeds(right(several, 0.1, 0))}))["likewise"]
    assert cells["photo → title, accuracy"].figure.mean == pytest.approx(1.0)
    assert as_json({"likewise": cells})["likewise"]["photo → title, accuracy"]["mean"] == 1.0


@pytest.fixture
def bench(files: list[Path]) -> Bench:
    return Bench(files[0].parent, budget=30.0, clock="processor", threads=1, ours="")


def test_a_finished_system_is_not_run_again_and_a_changed_one_is(bench: Bench, files: list[Path]) -> None:
    seen, notes = bench.answers("BM25", files[0], 0, None)
    assert seen.image is None
    assert bench.answers("BM25", files[0], 0, None)[1] == notes  # its seconds would differ
    assert bench.answers("BM25", files[0], 1, None)[1] != notes


def test_answers_outlive_changes_of_other_code(bench: Bench, files: list[Path], monkeypatch, tmp_path: Path) -> None:
    training = tmp_path / "training"
    training.mkdir()
    (training / "loop.py").write_text("learning_rate = 1")
    for system in SYSTEMS:  # what learns by the code of likewise now learns by this file
        if system not in ("sentence-transformers", "two-tower", "BM25"):
            monkeypatch.setitem(quality._CODE, system, [training])
    before = {system: bench._asked(system, files[0], 0, None) for system in SYSTEMS}
    (training / "loop.py").write_text("learning_rate = 2")
    changed = {system for system in SYSTEMS if bench._asked(system, files[0], 0, None) != before[system]}
    ours = {"likewise", "likewise --effort standard", "likewise --no-refit", "start"}
    ours |= {"likewise without class names"}
    assert changed == ours | {"untrained", "ridge", "kernel ridge"}


def test_the_hash_is_of_contents_and_of_nothing_but_training() -> None:
    package = Path(quality.__file__).parents[1] / "src" / "likewise"
    assert hash_code([package / "training"]) == hash_code([package / "training"])
    assert hash_code([package / "training"]) != hash_code([package / "model"])
    sources = {source.name for source in quality._CODE["likewise"]}
    assert {"catalog", "encoders", "model", "training"} <= sources
    assert not sources & {"evaluation", "serving", "cli", "retrieval"}


def test_likewise_is_given_no_test_row(files: list[Path], tmp_path: Path, monkeypatch) -> None:
    given: list[Path] = []

    def stop(command, **_):
        given.append(Path(command[command.index("train") + 1]))
        raise KeyboardInterrupt

    monkeypatch.setattr(ours.subprocess, "run", stop)
    (tmp_path / "system").mkdir()
    with pytest.raises(KeyboardInterrupt):
        ours.train(Task(files[0], tmp_path / "system", Clock(0.0, 1.0), 0, threads=1), "")
    table = pl.read_csv(files[0])
    read = pl.read_csv(given[0])
    assert read["id"].to_list() == table.filter(pl.col("split") != "test")["id"].to_list()
    assert "split" not in read.columns, "it splits its rows itself"


def test_kernel_ridge_maps_pictures_and_descriptions_to_titles(files: list[Path], tmp_path: Path) -> None:
    by_system = {}
    for system in (simple.untrained, simple.kernel_ridge):
        task = Task(files[0], tmp_path / system.__name__, Clock(0.0, 1.0), 0, threads=1)
        seen, _ = system(task)
        by_system[system] = {
            view: metrics.metrics["map"].mean() for view, metrics in Questions.about(task.test).measure([seen]).items()
        }
    assert by_system[simple.kernel_ridge]["image"] > by_system[simple.untrained]["image"] + 0.1
    assert by_system[simple.kernel_ridge]["text"] != by_system[simple.untrained]["text"]


def test_trained_items_that_stand_in_the_way_of_later_ones_lower_the_ratio() -> None:
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(40, 8)).astype(np.float32)
    later = queries + 0.1 * rng.normal(size=(40, 8)).astype(np.float32)
    titles = [np.arange(40), np.arange(40, 100)]
    far = -rng.normal(size=(60, 8)).astype(np.float32)
    harmless = summarise([compare(queries, later, far, titles, seed=0)])
    assert harmless["ratio (at least 0.95)"] > 0.97
    near = np.concatenate([queries, queries[:20]])  # as if every title were known by heart as one that trained
    crowded = summarise([compare(queries, later * 0.1 + far[:40], near, titles, seed=0)])
    assert crowded["ratio (at least 0.95)"] < 0.9
    assert "half of the index trained" in describe("likewise", crowded)


def test_other_items_with_the_title_are_passed_over_in_both_indexes() -> None:
    """They are right answers, too: an index that is full of them loses nothing."""
    queries = np.eye(30, dtype=np.float32)
    titles = [np.arange(30), np.arange(30)]
    found = compare(queries, queries * 0.9, queries, titles, seed=0)
    assert found["index of later items"] == found["half of the items trained"] == [1.0] * 30


def test_a_model_finds_later_items_in_one_index_with_those_that_trained(files: list[Path], tmp_path: Path) -> None:
    task = Task(files[0], tmp_path, Clock(0.0, 1.0), 0, threads=1)
    brief = TINY.model_copy(update={"split": None, "epochs": 6, "refit": True})
    with quiet():
        run = train(task.given, tmp_path / "run", brief)
    assert run.metrics.refit_items == len(task.given) == len(task.train) + len(task.validation)
    summary = summarise([measure(task, Model.load(run.path))])
    assert 0.4 < summary["recall@10, index of later items"] <= 1
    assert summary["ratio (at least 0.95)"] >= 0.95
