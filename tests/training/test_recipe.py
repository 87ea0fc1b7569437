"""Recipes: which stages a training has, how they are chosen from what they cost, and that a plan is kept."""

import json
import re

import pytest

from likewise.config import TrainConfig
from likewise.errors import UserError
from likewise.evaluation.results import RunMetrics
from likewise.files import write_record
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.training import costs, recipe
from likewise.training.context import TrainingContext
from likewise.training.recipe import FILE
from likewise.training.train import train


def test_heads_have_all_the_time_where_the_blocks_get_none(shapes, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "affordable", lambda context, seconds: None)
    with quiet():
        train(shapes, tmp_path / "run", tiny.model_copy(update={"effort": "standard", "epochs": 2}))
    (stage,) = json.loads((tmp_path / "run" / FILE).read_text())["stages"]
    assert stage["name"] == "heads"
    assert stage["until_minute"] == pytest.approx(2.0, abs=0.5), "two minutes, less what planning took"


def test_quick_trains_the_heads_alone(shapes, tiny, tmp_path):
    with quiet():
        run = train(shapes, tmp_path / "run", tiny.model_copy(update={"effort": "quick", "epochs": 2}))
    assert {epoch.stage for epoch in run.metrics.history} == {"heads"}


@pytest.fixture(scope="module")
def best(shapes, tiny, tmp_path_factory):
    """A best training that had a minute, though four epochs behind the cut at most."""
    folder = tmp_path_factory.mktemp("best") / "run"
    patch = pytest.MonkeyPatch()
    patch.setattr(recipe, "_MOST_EPOCHS", 4)
    patch.setattr(costs, "_FEWEST_EPOCHS", 1)
    with quiet(), patch.context():
        return train(shapes, folder, tiny.model_copy(update={"effort": "best", "budget": "60s", "epochs": 2}))


def test_best_goes_on_with_the_last_blocks(best):
    stages = [epoch.stage for epoch in best.metrics.history]
    assert stages == ["heads"] * 3 + ["last blocks"] * 4
    assert [epoch.epoch for epoch in best.metrics.history] == list(range(7))
    minutes = [epoch.minutes for epoch in best.metrics.history[1:]]
    assert minutes == sorted(minutes)


def test_text_heads_stay_as_they_are_behind_a_cut_unless_titles_repeat(shapes, tiny, tmp_path, monkeypatch):
    def planned_rate(run):
        with quiet():
            train(shapes, run, tiny.model_copy(update={"effort": "best", "budget": "60s", "epochs": 0}))
        heads, blocks = json.loads((run / FILE).read_text())["stages"]
        assert "text_lr_scale" not in heads["settings"]
        return blocks["settings"].get("text_lr_scale")

    monkeypatch.setattr(recipe, "_MOST_EPOCHS", 0)
    monkeypatch.setattr(costs, "_FEWEST_EPOCHS", 1)
    assert planned_rate(tmp_path / "distinct") == 0.0
    monkeypatch.setattr(TrainingContext, "titles_repeat", True)
    assert planned_rate(tmp_path / "repeating") is None


def test_best_sees_pictures_from_both_sides_whenever_it_is_opened(best):
    assert Model.load(best.path, "cpu").network.hflip_tta


def test_the_report_shows_what_was_given_back(best):
    assert best.metrics.frontier is not None
    assert [point.alpha for point in best.metrics.frontier.points] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert {"all", "image"} <= set(best.metrics.frontier.points[0].metrics)
    assert re.search(r"<svg[^>]*>", (best.path / "report.html").read_text())


def test_a_resumed_training_keeps_to_its_plan(best, shapes, tiny, tmp_path, monkeypatch):
    config = tiny.model_copy(update={"effort": "best", "budget": "60s", "epochs": 2})
    run = tmp_path / "run"

    class StoppedError(Exception):
        pass

    def stop(*arguments, **options):
        raise StoppedError

    monkeypatch.setattr(recipe, "_MOST_EPOCHS", 3)
    monkeypatch.setattr(costs, "_FEWEST_EPOCHS", 1)
    with quiet(), monkeypatch.context() as patch:
        patch.setattr("likewise.training.train.fit", stop)
        with pytest.raises(StoppedError):
            train(shapes, run, config)
    planned = (run / FILE).read_text()
    assert json.loads(planned)["stages"][1]["settings"]["epochs"] == 3
    monkeypatch.setattr(recipe, "_plan", stop)
    with quiet():
        metrics = train(shapes, run, config).metrics
    assert (run / FILE).read_text() == planned
    assert metrics.history[-1].epoch == 2 + 3
    assert RunMetrics.read(run) == metrics


def test_a_damaged_plan_is_one_sentence(shapes, tiny, tmp_path, monkeypatch):
    config = tiny.model_copy(update={"effort": "quick", "epochs": 1})
    run = tmp_path / "run"

    def damage(context, *rest):
        (context.run / FILE).write_text("{")
        return []

    monkeypatch.setattr(recipe, "_write", lambda run, config, stages: (run / FILE).write_text("{"))
    with quiet(), pytest.raises(UserError, match=r"cannot resume: .*recipe\.json is damaged; begin afresh"):
        train(shapes, run, config)


@pytest.mark.parametrize("settings", [{"epochs": "many"}, {"epochs": -1}, {"unheard": 1}, [], {"regime": ["full"]}])
def test_a_plan_that_was_tampered_with_is_one_sentence(settings, tmp_path):
    (tmp_path / recipe.FILE).parent.mkdir()
    plan = [{"name": "heads", "settings": settings, "until_minute": 1.0}]
    write_record(tmp_path / recipe.FILE, {"stages": plan}, 1)
    with pytest.raises(UserError, match=r"recipe\.json is damaged; begin afresh with --restart"):
        recipe._read(tmp_path, TrainConfig(effort="best"))
