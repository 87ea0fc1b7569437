"""Recipes: which stages a training has, how they are chosen from what they cost, and that a plan is kept."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from training.toy_network import toy_objective, unlike

from likewise.config import TrainConfig
from likewise.errors import UserError
from likewise.evaluation.results import RunMetrics
from likewise.files import write_record
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.training import planner
from likewise.training import train as training
from likewise.training.context import TrainingContext
from likewise.training.distributed import Processes
from likewise.training.moved_features import TRAINED
from likewise.training.planner import FILE, CutCost, Stage, choose_affordable_cut, choose_cut
from likewise.training.train import train

A_DAY = 86_400.0


def test_heads_have_all_the_time_where_the_blocks_get_none(shapes, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(planner, "choose_affordable_cut", lambda context, seconds: None)
    with quiet():
        train(shapes, tmp_path / "run", tiny.model_copy(update={"effort": "standard", "epochs": 2}))
    (stage,) = json.loads((tmp_path / "run" / FILE).read_text())["stages"]
    assert stage["name"] == "heads"
    assert stage["until_minute"] == pytest.approx(2.0, abs=0.5), "two minutes, less what planning took"


def test_quick_trains_the_heads_alone(shapes, tiny, tmp_path):
    with quiet():
        run = train(shapes, tmp_path / "run", tiny.model_copy(update={"effort": "quick", "epochs": 2}))
    assert {epoch.stage for epoch in run.metrics.history} == {"heads"}


@pytest.mark.parametrize(
    ("seeds", "spent", "affordable"), [(2, 10.0, True), (3, 10.0, True), (4, 10.0, False), (2, 60.0, False)]
)
def test_further_seeds_need_time_for_folds_fit_and_refit(tiny, seeds, spent, affordable):
    """Of 60 seconds: three folds take what is spent, the fit and the refit two thirds of it."""
    stage = Stage("heads", tiny, until_minute=planner._SHARE_OF_ONE_FIT, most_seeds=8)
    assert stage.affords(seeds, spent, folds=3) == affordable
    assert not Stage("heads", tiny).affords(2, 0.0, folds=3), "without an effort there is one"


def test_the_leader_estimates_without_the_others(monkeypatch):
    """They wait until there is a plan, and would never answer."""
    for name in ("gather", "sum_number", "wait"):
        monkeypatch.setattr(Processes, name, None)  # calling it fails
    objective = toy_objective(unlike(12))
    network, config = objective.network, objective.config
    model = SimpleNamespace(network=network, device=torch.device("cpu"))
    context = SimpleNamespace(
        model=model, cached=objective.features, data=objective.data, config=config, processes=Processes(0, 2)
    )
    assert planner._estimate_seconds(context, Stage("heads", config)) > 0
    assert all(weight.grad is None for weight in network.parameters())


@pytest.fixture(scope="module")
def best(shapes, tiny, tmp_path_factory):
    """A best training that had a minute, though four epochs behind the cut at most."""
    folder = tmp_path_factory.mktemp("best") / "run"
    with quiet(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "_MOST_EPOCHS", 4)
        patch.setattr(planner, "_FEWEST_EPOCHS", 1)
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

    monkeypatch.setattr(planner, "_MOST_EPOCHS", 0)
    monkeypatch.setattr(planner, "_FEWEST_EPOCHS", 1)
    assert planned_rate(tmp_path / "distinct") == 0.0
    monkeypatch.setattr(TrainingContext, "titles_repeat", True)
    assert planned_rate(tmp_path / "repeating") is None


def test_best_sees_pictures_from_both_sides_whenever_it_is_opened(best):
    assert Model.load(best.path, "cpu").network.hflip_tta


def test_the_report_shows_what_was_given_back(best):
    if best.metrics.frontier is None:  # as validation rows chose another model than the trained one
        assert not any(f"chose {TRAINED}" in note for note in best.metrics.notes)
        return
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

    monkeypatch.setattr(planner, "_MOST_EPOCHS", 3)
    monkeypatch.setattr(planner, "_FEWEST_EPOCHS", 1)
    with quiet(), monkeypatch.context() as patch:
        patch.setattr("likewise.training.train.fit", stop)
        with pytest.raises(StoppedError):
            train(shapes, run, config)
    planned = (run / FILE).read_text()
    assert json.loads(planned)["stages"][1]["settings"]["epochs"] == 3
    monkeypatch.setattr(planner, "_plan", stop)
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

    monkeypatch.setattr(planner, "_write_plan", lambda run, config, stages: (run / FILE).write_text("{"))
    with quiet(), pytest.raises(UserError, match=r"cannot resume: .*recipe\.json is damaged; start over"):
        train(shapes, run, config)


@pytest.mark.parametrize("settings", [{"epochs": "many"}, {"epochs": -1}, {"unheard": 1}, [], {"regime": ["full"]}])
def test_a_plan_that_was_tampered_with_is_one_sentence(settings, tmp_path):
    (tmp_path / planner.FILE).parent.mkdir()
    plan = [{"name": "heads", "settings": settings, "until_minute": 1.0, "most_seeds": 1}]
    write_record(tmp_path / planner.FILE, {"stages": plan}, planner._FORMAT)
    with pytest.raises(UserError, match=r"recipe\.json is damaged; start over with --restart"):
        planner._read_plan(tmp_path, TrainConfig(effort="best"))


@pytest.mark.parametrize(
    ("seconds", "cut"), [(5000, 8), (1900, 8), (1800, 9), (700, 10), (500, 10), (200, 10), (120, None), (0, None)]
)
def test_the_earliest_cut_with_enough_epochs_is_chosen_else_the_last(seconds, cut):
    costs = [CutCost(10, 100, 30), CutCost(9, 100, 60), CutCost(8, 100, 90)]
    chosen = choose_cut(costs, seconds)
    assert (chosen and chosen.cut) == cut


def test_a_short_training_is_not_spent_on_planning_it():
    costs = iter([CutCost(10, 100, 30), CutCost(9, 100, 60), CutCost(8, 100, 90)])
    assert choose_cut(costs, 300).cut == 10
    assert [cost.cut for cost in costs] == [9, 8], "no earlier cut is measured"


def test_no_cut_is_no_mistake():
    assert choose_cut([], 1000) is None


class PreparedError(Exception):
    """Carries the context of a training that goes no further."""


@pytest.fixture
def prepared(shapes, tiny, tmp_path, monkeypatch):
    """Gives the context of a training with some settings."""

    def stop(context, clock):
        raise PreparedError(context)

    def prepare(**settings):
        monkeypatch.setattr(training, "plan_stages", stop)
        with quiet(), pytest.raises(PreparedError) as stopped:
            training.train(shapes, tmp_path / "run", tiny.model_copy(update=settings))
        return stopped.value.args[0]

    return prepare


def test_with_much_time_the_later_half_of_the_picture_encoder_trains(prepared):
    context = prepared()
    trained = {name: weight.requires_grad for name, weight in context.model.network.named_parameters()}
    found = choose_affordable_cut(context, A_DAY)
    assert found.cut == context.model.encoder("image").blocks // 2
    assert found.cache_seconds > 0 and found.epoch_seconds > 0
    for name, weight in context.model.network.named_parameters():
        assert weight.requires_grad == trained[name] and weight.grad is None, "measuring leaves nothing behind"


def test_without_time_nothing_trains(prepared):
    assert choose_affordable_cut(prepared(), 0) is None


def test_without_pictures_nothing_trains(prepared, tiny):
    context = prepared(model=tiny.model.model_copy(update={"fields": {"title": "text", "description": "text"}}))
    assert choose_affordable_cut(context, A_DAY) is None
