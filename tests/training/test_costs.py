"""Costs of training behind a cut: which blocks fit into some time."""

import pytest

from likewise.progress import quiet
from likewise.training import train as training
from likewise.training.costs import CutCost, affordable, choose_cut

A_DAY = 86_400.0


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
    found = affordable(context, A_DAY)
    assert found.cut == context.model.encoder("image").blocks // 2
    assert found.cache_seconds > 0 and found.epoch_seconds > 0
    for name, weight in context.model.network.named_parameters():
        assert weight.requires_grad == trained[name] and weight.grad is None, "measuring leaves nothing behind"


def test_without_time_nothing_trains(prepared):
    assert affordable(prepared(), 0) is None


def test_without_pictures_nothing_trains(prepared, tiny):
    context = prepared(model=tiny.model.model_copy(update={"fields": ("title", "description")}))
    assert affordable(context, A_DAY) is None
