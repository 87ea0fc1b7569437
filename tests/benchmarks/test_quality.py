"""The judge and its table, and a system that goes through a process of its own."""

from pathlib import Path

import numpy as np
import pytest
from catalogues.prepared import split_by_identity
from judging import Judge, as_json, markdown
from model.shape_catalogue import write_catalogue
from peers.clock import Clock
from peers.seen import Seen
from peers.task import Task
from quality import Bench


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    target = folder / "catalogue.csv"
    split_by_identity(write_catalogue(folder / "source"), folder).write_csv(target)
    return target


@pytest.fixture(scope="module")
def judge(file: Path) -> Judge:
    task = Task(file, file.parent / "judge", Clock(0.0, 1.0), 0, threads=1)
    return Judge.of(task.test)


def right(judge: Judge, luck: float, seed: int) -> Seen:
    """A system that knows every answer, as far as luck does not drown it."""
    items = len(judge.titles.catalog)
    scores = np.zeros((len(judge.titles.texts), items), np.float32)
    for query, answers in enumerate(judge.titles.relevant):
        scores[query, answers] = 1.0
    scores += luck * np.random.default_rng(seed).random(scores.shape, np.float32)
    return Seen(scores, scores, scores)


def test_who_knows_more_is_better_and_the_same_is_no_difference(judge: Judge) -> None:
    answers = {
        "likewise": [right(judge, 0.1, 0)],
        "as good": [right(judge, 0.1, 0)],
        "a guess": [right(judge, 1000.0, 1)],
    }
    cells = judge.compare(answers)
    first = judge.columns[1].heading  # mAP tells a guess from knowledge even among few items
    assert cells["likewise"][first].figure.mean == pytest.approx(1.0)
    assert cells["likewise"][first].verdict is None
    assert cells["as good"][first].verdict == "no difference"
    assert cells["a guess"][first].verdict == "better"
    worse = judge.compare({"likewise": answers["a guess"], "baseline": answers["likewise"]})
    assert worse["baseline"][first].verdict == "worse"


def test_queries_are_averaged_over_the_seeds(judge: Judge) -> None:
    seeds = [right(judge, 3.0, seed) for seed in range(3)]
    heading = judge.columns[1].heading
    alone = [judge.compare({"likewise": [seen]})["likewise"][heading].figure.mean for seen in seeds]
    together = judge.compare({"likewise": seeds})["likewise"][heading].figure.mean
    assert together == pytest.approx(np.mean(alone))
    assert np.ptp(alone) > 0


def test_the_blind_are_measured_where_they_can_answer(judge: Judge) -> None:
    seeing = right(judge, 0.1, 0)
    blind = Seen(seeing.text, seeing.text, None)
    cells = judge.compare({"likewise": [seeing], "blind": [blind]})
    pictures = next(column.heading for column in judge.columns if column.view == "image")
    assert pictures not in cells["blind"]
    page = markdown(judge.columns, cells, {"blind": "3"})
    row = next(line for line in page.splitlines() if line.startswith("| blind"))
    assert "–" in row
    assert "| 3 |" in row
    assert "BETTER" in row or "NO DIFFERENCE" in row


def test_photos_look_for_titles_where_many_share_one(judge: Judge, tmp_path: Path) -> None:
    assert not [column for column in judge.columns if "photo" in column.heading]
    catalog = judge.titles.catalog
    shared = catalog.select(np.arange(len(catalog)))
    shared.table = shared.table.with_columns(shared.table["title"].str.split(" ").list.last().alias("title"))
    several = Judge.of(shared)
    cells = several.compare({"likewise": [right(several, 0.1, 0)]})["likewise"]
    assert cells["photo → title, accuracy"].figure.mean == pytest.approx(1.0)
    assert as_json({"likewise": cells})["likewise"]["photo → title, accuracy"]["mean"] == 1.0


def test_a_finished_system_is_not_run_again_and_a_changed_one_is(file: Path) -> None:
    bench = Bench(file.parent, budget=30.0, clock="processor", threads=1, ours="")
    seen, notes = bench.answers("BM25", file, 0, None)
    assert seen.image is None
    assert bench.answers("BM25", file, 0, None)[1] == notes  # its seconds would differ
    assert bench.answers("BM25", file, 1, None)[1] != notes
