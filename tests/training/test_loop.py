"""The loop: keeps the best, stops on NaN with a sentence, and goes on to the bit wherever it was stopped."""

import dataclasses
from itertools import chain, count, repeat
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training.toy_network import toy_objective, unlike

from likewise.errors import UserError
from likewise.training import loop
from likewise.training.loop import fit, is_as_good
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage
from likewise.training.training_state import FILE, TrainingState


def fit_stage(objective, stage, *arguments, **options):
    """Train through one stage with the optimizer that its settings ask for."""
    fit(objective, build_optimizer(objective, objective.network, stage.config), stage, *arguments, **options)


def fitted(run, scores=None, rows=12, **settings):
    """(objective, state, history) after a training whose validation gives `scores` in turn."""
    objective = toy_objective(unlike(rows), **settings)
    numbers = iter(scores) if scores is not None else count()
    history = []
    state = TrainingState.read(run, objective.log_scale.device) or TrainingState()
    if state.stage == 0:
        fit_stage(
            objective,
            Stage("", objective.config),
            run,
            state,
            lambda: np.array([float(next(numbers))]),
            log=history.append,
        )
    return objective, state, history


def weights_of(objective):
    return {name: weight.detach().clone() for name, weight in objective.named_parameters() if weight.requires_grad}


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_the_history_has_a_line_for_each_epoch_and_the_untrained_model(tmp_path):
    _, state, logged = fitted(tmp_path, scores=[0.1, 0.2, 0.3, 0.4])
    assert [entry["epoch"] for entry in state.history] == [0, 1, 2, 3]
    assert [entry["validation"] for entry in state.history] == [0.1, 0.2, 0.3, 0.4]
    assert logged == state.history[1:]
    assert state.history[-1]["loss"] < state.history[1]["loss"] * 2
    assert state.history[-1]["step"] == 9
    assert (state.stage, state.step) == (1, 0), "the next stage begins at its first step"
    assert not list(tmp_path.glob("training/*.new"))


def test_the_best_weights_are_kept_not_the_last(tmp_path):
    best, state, _ = fitted(tmp_path / "five", scores=[0.1, 0.2, 0.9, 0.3, 0.3, 0.3], epochs=5)
    assert state.best_epoch == 2
    assert_equal(weights_of(best), state.best)
    last, *_ = fitted(tmp_path / "six", scores=[0.1, 0.2, 0.3, 0.3, 0.3, 0.4], epochs=5)
    moved = [not torch.equal(a, b) for a, b in zip(weights_of(best).values(), weights_of(last).values(), strict=True)]
    assert any(moved)


def test_a_training_that_only_harms_leaves_the_untrained_weights(tmp_path):
    untrained = weights_of(toy_objective(unlike(12)))
    objective, state, _ = fitted(tmp_path, scores=[0.9, 0.5, 0.4, 0.3])
    assert state.best_epoch == 0
    assert_equal(weights_of(objective), untrained)


def test_a_validation_that_cannot_tell_lets_the_training_count(tmp_path):
    """A handful of held-out rows are all found among the first ten, trained or not."""
    _, state, _ = fitted(tmp_path, scores=[1.0, 1.0, 1.0, 1.0])
    assert state.best_epoch == 3


def test_no_epochs_leave_the_untrained_weights(tmp_path):
    untrained = weights_of(toy_objective(unlike(12)))
    objective, state, _ = fitted(tmp_path, epochs=0)
    assert len(state.history) == 1
    assert_equal(weights_of(objective), untrained)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize(
    ("stop_at", "settings"), [(1, {}), (3, {}), (5, {"ema": 0.5, "warmup": 0.5}), (8, {}), (9, {})]
)
def test_a_stopped_training_goes_on_to_the_bit(tmp_path, monkeypatch, stop_at, settings):
    scores = [0.1, 0.5, 0.3, 0.4]
    straight, straight_state, _ = fitted(tmp_path / "straight", scores=scores, **settings)
    monkeypatch.setattr(loop, "_SHARE_FOR_SAVING", 1e12)  # so that every step is saved
    write = TrainingState.write

    def stop_after(state, run):
        write(state, run)
        if state.step == stop_at:
            raise StoppedError

    monkeypatch.setattr(TrainingState, "write", stop_after)
    with pytest.raises(StoppedError):
        fitted(tmp_path / "stopped", scores=scores, **settings)
    monkeypatch.setattr(TrainingState, "write", write)
    torch.manual_seed(12345)  # another process, another random state
    done = TrainingState.read(tmp_path / "stopped", torch.device("cpu"))
    assert done.step == stop_at
    resumed, state, _ = fitted(tmp_path / "stopped", scores=scores[len(done.history) :], **settings)
    assert_equal(weights_of(resumed), weights_of(straight))
    assert_equal(state.averaged, straight_state.averaged)
    untimed = [
        [{key: entry[key] for key in entry if key not in ("seconds", "minutes")} for entry in one.history]
        for one in (state, straight_state)
    ]
    assert untimed[0] == untimed[1]


def test_a_state_that_was_cut_off_while_writing_is_not_read(tmp_path):
    straight, *_ = fitted(tmp_path / "straight")
    folder = (tmp_path / "run" / FILE).parent
    folder.mkdir(parents=True)
    (folder / "state.4711.new").write_bytes(b"PK\x03\x04 half of a file")
    resumed, *_ = fitted(tmp_path / "run")
    assert_equal(weights_of(resumed), weights_of(straight))


def test_a_damaged_state_is_one_sentence(tmp_path):
    fitted(tmp_path)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:100])
    with pytest.raises(UserError, match=r"cannot resume from .*state\.pt.*--restart"):
        fitted(tmp_path)


def test_state_files_hold_nothing_but_tensors_numbers_and_text(tmp_path):
    fitted(tmp_path)
    assert set(torch.load(tmp_path / FILE, weights_only=True)) == {
        field.name for field in dataclasses.fields(TrainingState)
    }


def test_a_loss_that_is_not_a_number_stops_with_a_sentence(tmp_path):
    objective = toy_objective(unlike(12))
    with torch.no_grad():
        objective.features.table[:, 0] = float("nan")
    with pytest.raises(UserError, match=r"training stopped at step 0: the loss is not a number; lower learning_rate"):
        fit_stage(objective, Stage("", objective.config), tmp_path, TrainingState(), lambda: np.zeros(3))


def test_patience_ends_a_training_that_no_longer_gets_better(tmp_path, capsys):
    objective = toy_objective(unlike(12), epochs=30, patience=2)
    scores = iter([0.0, 0.2, 0.9] + [0.1] * 40)
    state = TrainingState()
    fit_stage(objective, Stage("", objective.config), tmp_path, state, lambda: np.full(8, float(next(scores))))
    every = 2  # 30 epochs are evaluated 15 times
    assert state.best_epoch == 2 * every and state.history[-1]["epoch"] == (2 + 2) * every
    assert "No improvement in 4 epochs: stopping early" in capsys.readouterr().err


def test_when_the_time_is_up_no_further_epoch_begins_and_the_best_is_kept(tmp_path, capsys):
    objective = toy_objective(unlike(12), epochs=30)
    state, scores = TrainingState(), count()
    state.minutes = 2.0  # trained before
    stage = Stage("heads", objective.config, until_minute=2.0)
    fit_stage(objective, stage, tmp_path, state, lambda: np.full(8, float(next(scores))))
    assert len(state.history) == 2 and state.best_epoch in (0, 1)
    assert "The time budget is used up after 1 of 30 epochs" in capsys.readouterr().err


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by what each step of `slow` takes, and otherwise stands still."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock.now)
    return clock


def slow(objective, clock, seconds):
    """The objective, of which every step takes the next of these seconds; an epoch has three steps."""
    backward = objective.backward

    def step_slowly(*arguments):
        clock.now += next(seconds)
        return backward(*arguments)

    objective.backward = step_slowly
    return objective


@pytest.mark.parametrize(
    ("planned", "most", "lasts", "said"),
    [(3, 60, 8, "shorter"), (20, 60, 8, "longer"), (8, 60, 8, None), (3, 6, 6, "shorter")],
)
def test_a_stage_lasts_as_long_as_its_time_whatever_was_planned(clock, tmp_path, capsys, planned, most, lasts, said):
    """Of four minutes, an epoch takes half a one."""
    objective = slow(toy_objective(unlike(12), epochs=planned), clock, repeat(10.0))
    state, scores = TrainingState(), count()
    stage = Stage("last blocks", objective.config, until_minute=4.0, most_epochs=most)
    fit_stage(objective, stage, tmp_path, state, lambda: np.full(8, float(next(scores))))
    assert state.history[-1]["epoch"] == state.best_epoch == lasts, "the last epoch is validated, too"
    rates = [entry["learning_rate"] for entry in state.history[1:]]
    assert rates[-1] < max(rates) / 10, "the rate falls to zero within the time"
    assert state.epochs == 0, "the next stage begins with its own plan"
    notes = capsys.readouterr().err
    if said is None:
        assert "instead of" not in notes
    else:
        assert f"{lasts} epochs instead of {planned}, as they were {said} than planned" in notes


def test_a_stage_that_ends_early_does_not_say_how_long_its_epochs_were(clock, tmp_path, capsys):
    objective = slow(toy_objective(unlike(12), epochs=3, patience=2), clock, repeat(10.0))
    stage = Stage("last blocks", objective.config, until_minute=4.0, most_epochs=60)
    scores = chain([0.5, 0.9], repeat(0.1))
    fit_stage(objective, stage, tmp_path, TrainingState(), lambda: np.full(8, next(scores)))
    notes = capsys.readouterr().err
    assert "stopping early" in notes and "instead of" not in notes


def test_a_machine_that_gets_slower_has_fewer_epochs(clock, tmp_path):
    objective = slow(toy_objective(unlike(12), epochs=8), clock, chain(repeat(10.0, 6), repeat(20.0)))
    state = TrainingState()
    stage = Stage("last blocks", objective.config, until_minute=4.0, most_epochs=60)
    fit_stage(objective, stage, tmp_path, state, lambda: np.zeros(8))
    assert state.history[-1]["epoch"] == 5 and state.minutes == pytest.approx(4.0), "two of 30 s and three of 60 s"


def test_a_resumed_stage_keeps_to_what_was_planned_again(clock, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_SHARE_FOR_SAVING", 1e12)
    write = TrainingState.write

    def stop_after(state, run):
        write(state, run)
        if state.step == 7:  # in the third epoch
            raise StoppedError

    monkeypatch.setattr(TrainingState, "write", stop_after)
    objective = slow(toy_objective(unlike(12), epochs=4), clock, repeat(10.0))
    stage = Stage("last blocks", objective.config, until_minute=4.0, most_epochs=60)
    with pytest.raises(StoppedError):
        fit_stage(objective, stage, tmp_path, TrainingState(), lambda: np.zeros(8))
    state = TrainingState.read(tmp_path, torch.device("cpu"))
    assert state.epochs == 8
    objective = slow(toy_objective(unlike(12), epochs=4), clock, repeat(10.0))
    fit_stage(objective, stage, tmp_path, state, lambda: np.zeros(8))
    assert state.history[-1]["epoch"] == 8 and state.minutes == pytest.approx(4.0)


def test_a_stage_that_wins_nothing_leaves_the_weights_that_it_began_with(tmp_path):
    objective = toy_objective(unlike(12))
    before = weights_of(objective)
    state = TrainingState()
    scores = iter([np.array([0.5] * 8), *[np.array([0.5] * 7 + [0.4])] * 3])  # no worse than chance, and no better
    fit_stage(objective, Stage("", objective.config), tmp_path, state, lambda: next(scores))
    assert state.best_epoch == 0
    assert_equal(weights_of(objective), before)


def test_no_epoch_begins_that_would_end_past_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(loop.time, "monotonic", count(step=6.0).__next__)  # every look at the clock takes 6 s
    objective = toy_objective(unlike(12), epochs=30)
    state, scores = TrainingState(), count()
    stage = Stage("heads", objective.config, until_minute=5.0)
    fit_stage(objective, stage, tmp_path, state, lambda: np.full(8, float(next(scores))))
    assert 1 < len(state.history) < 30
    assert state.minutes <= 5.0 < state.minutes + state.history[-1]["seconds"] / 60


def test_a_second_stage_goes_on_from_the_first_one_and_counts_on(tmp_path):
    objective = toy_objective(unlike(12))
    state, scores = TrainingState(), count()
    validate = lambda: np.full(8, float(next(scores)))  # noqa: E731
    fit_stage(objective, Stage("heads", objective.config), tmp_path, state, validate)
    after = weights_of(objective)
    assert_equal(after, state.weights)
    second = toy_objective(unlike(12), seed=1)
    fit_stage(second, Stage("more", second.config.model_copy(update={"epochs": 0})), tmp_path, state, validate)
    assert_equal(weights_of(second), after)
    fit_stage(second, Stage("more", second.config), tmp_path, state, validate)
    assert [entry["epoch"] for entry in state.history] == [0, 1, 2, 3, 4, 5, 6]
    assert [entry["step"] for entry in state.history] == [3 * epoch for epoch in range(7)]
    assert [entry["stage"] for entry in state.history] == ["heads"] * 4 + ["more"] * 3
    assert state.best_epoch == 6


def test_the_best_model_so_far_is_kept_for_use(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_SHARE_FOR_SAVING", 1e12)
    objective = toy_objective(unlike(12))
    kept, scores = [], iter([0.1, 0.5, 0.4, 0.9])
    stage, state = Stage("", objective.config), TrainingState()
    fit_stage(
        objective,
        stage,
        tmp_path,
        state,
        lambda: np.full(8, float(next(scores))),
        keep=lambda: kept.append(weights_of(objective)),
    )
    assert len(kept) == 2, "after the first and the third epoch"
    assert_equal(kept[-1], state.best)


def test_a_later_checkpoint_replaces_the_best_unless_it_is_worse_by_more_than_chance():
    peak = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    one_lost = peak.clone()
    one_lost[0] = 0.0
    assert is_as_good(peak, peak)
    assert is_as_good(one_lost, peak)  # one question of eight is chance
    assert not is_as_good(peak - 0.1, peak)  # a little worse on every question is not
    assert not is_as_good(torch.zeros(8), peak)
    assert is_as_good(torch.zeros(0), torch.zeros(0))
