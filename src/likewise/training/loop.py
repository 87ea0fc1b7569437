"""The training loop: step, average, evaluate, keep the best, save."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from likewise.errors import UserError
from likewise.progress import Bar, say
from likewise.training.batches import Rows
from likewise.training.ema import load_weights, update_average, use_weights
from likewise.training.objective import Objective
from likewise.training.planner import Stage
from likewise.training.sampler import epoch_batches, steps_per_epoch
from likewise.training.schedule import scale_learning_rate
from likewise.training.training_state import TrainingState
from likewise.training.validation import Scores

_CLIP_NORM = 1.0
_MOST_EVALUATIONS = 15
_RECENT_EPOCHS = 3  # from which one sees how long the next take
_SHARE_FOR_SAVING = 0.05  # of the wall time, so that exact resume stays cheap


def fit(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    stage: Stage,
    run: Path | None,
    state: TrainingState,
    validate: Callable[[], Scores] | None,
    *,
    mine: Callable[[], Rows] | None = None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
    keep: Callable[[], None] = lambda: None,
) -> None:
    """Train the objective's network through one stage and leave its best averaged weights in it.

    A stage begins with the weights of another one or of a closed form, which are kept where no checkpoint scores at
    least as high on average. Checkpoints are compared with each other by `is_as_good`.

    Args:
        objective: loss and network; the parameters that require gradients train.
        optimizer: of these parameters (`build_optimizer`).
        stage: epochs, batch size, rates, seed, and the minutes that it may take.
        run: the folder that holds the state; None: nothing is saved.
        state: how far the training is; it is changed as it goes on.
        validate: scores the network as it is now, one number per question; higher is better. None: no checkpoint is
            chosen, and the last averaged weights are kept.
        mine: finds hard negatives (all rows, k) for the next epochs with the network as it is; None: rows are mixed at
            random.
        log: receives every entry of the history.
        keep: called now and then while the best weights so far are in the network, to save it for use.

    Raises:
        UserError: the loss is no longer a number, or the state is that of a training of other parameters.
    """
    config, network, data, processes = stage.config, objective.network, objective.data, objective.processes
    trained = {name: weight for name, weight in objective.named_parameters() if weight.requires_grad}
    per_epoch = steps_per_epoch(len(data.rows), config.rows_per_batch)
    if state.weights:
        load_weights(trained, state.weights)
    if state.step == 0:
        state.averaged = {name: weight.detach().clone() for name, weight in trained.items()}
        state.best = {name: weight.detach().clone() for name, weight in trained.items()}
        if validate is not None:
            state.peak = torch.from_numpy(validate())
            state.floor = _mean(state.peak)
        if not state.history:
            floor = None if validate is None else state.floor
            state.history.append({"epoch": 0, "step": 0, "validation": floor, "stage": stage.name})
    else:
        try:
            optimizer.load_state_dict(state.optimizer)
        except ValueError:
            raise UserError(
                "cannot resume: another version of likewise trained other parts of the model; start over with --restart"
            ) from None
    state.epochs = state.epochs or config.total_epochs
    first_epoch = state.history[-1]["epoch"] - state.step // per_epoch
    first_step = state.history[-1]["step"] - state.step // per_epoch * per_epoch

    clock, saves = _Minutes(state), _SaveClock()
    with Bar(f"Training {stage.name}".rstrip(), per_epoch * _ends_after(stage, state.epochs)) as bar:
        bar.advance(state.step)
        while (epoch := state.step // per_epoch) < _ends_after(stage, state.epochs):
            every = max(1, math.ceil(state.epochs / _MOST_EVALUATIONS))
            since_best = epoch - max(state.best_epoch - first_epoch, 0)
            if validate is not None and config.patience is not None and since_best >= config.patience * every:
                say(f"No improvement in {since_best} epochs: stopping early")
                break
            last = state.history[-1].get("seconds", 0.0) / 60 if epoch else 0.0
            late = state.minutes + last > stage.until_minute
            if processes.from_leader(late) if processes.count > 1 else late:
                say(f"The time budget is used up after {epoch} of {state.epochs} epochs")
                break
            started = time.monotonic()
            done = state.step - epoch * per_epoch
            if mine is not None and epoch % every == 0 and not done:
                state.neighbours = torch.from_numpy(mine())
            neighbours = state.neighbours.cpu().numpy() if len(state.neighbours) else None
            order = epoch_batches(data.rows, data.things, config.rows_per_batch, config.seed, epoch, neighbours)
            for place, batch in enumerate(order):
                if place < done:
                    continue
                network.train()
                share = scale_learning_rate(state.step, state.epochs * per_epoch, config.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * share
                optimizer.zero_grad(set_to_none=True)
                loss = _backward(objective, batch, state.step, config.accumulate)
                if not math.isfinite(loss):
                    raise UserError(
                        f"training stopped at step {state.step}: the loss is not a number; "
                        "lower learning_rate in the config and train with --restart"
                    )
                if processes.count > 1:
                    processes.sum_gradients(trained.values())
                nn.utils.clip_grad_norm_(list(trained.values()), _CLIP_NORM)
                optimizer.step()
                state.step += 1
                update_average(state.averaged, trained, state.step, config.ema)
                state.running_loss += loss
                bar.advance(note=f"loss {loss:.3f}")
                if run is not None and saves.due() and state.step % per_epoch and processes.leads:
                    clock.tick()
                    saves.saved(_save, state, trained, optimizer, run)
            entry = {
                "epoch": first_epoch + epoch + 1,
                "step": first_step + state.step,
                "loss": state.running_loss / per_epoch,
                "learning_rate": optimizer.param_groups[0]["lr"],
                "temperature": 1 / objective.scale.item(),
                "stage": stage.name,
            }
            state.running_loss = 0.0
            state.epochs = processes.from_leader(_plan_again(stage, state, epoch + 1, started, clock.tick()))
            bar.expect(per_epoch * _ends_after(stage, state.epochs))
            if validate is None:
                state.best_epoch = entry["epoch"]
                state.best = {name: weight.clone() for name, weight in state.averaged.items()}
            elif (epoch + 1) % every == 0 or epoch + 1 == state.epochs:
                with use_weights(trained, state.averaged):
                    scores = torch.from_numpy(validate())
                    entry["validation"] = _mean(scores)
                    if entry["validation"] > _mean(state.peak):
                        state.peak = scores
                    if is_as_good(scores, state.peak) and entry["validation"] >= state.floor:
                        state.best_epoch = entry["epoch"]
                        state.best = {name: weight.clone() for name, weight in state.averaged.items()}
                        if processes.leads and saves.due():
                            saves.saved(keep)
            entry["seconds"] = time.monotonic() - started
            entry["minutes"] = clock.tick()
            state.history.append(entry)
            log(entry)
            if run is not None and processes.leads and saves.due():
                saves.saved(_save, state, trained, optimizer, run)
        else:
            if state.epochs != config.total_epochs:
                took = "shorter" if state.epochs > config.total_epochs else "longer"
                say(f"{state.epochs} epochs instead of {config.total_epochs}, as they were {took} than planned")
    load_weights(trained, state.best)
    state.weights, state.stage, state.step, state.optimizer = dict(state.best), state.stage + 1, 0, {}
    state.epochs = 0
    network.eval()
    if run is not None and processes.leads:
        state.write(run)


def _ends_after(stage: Stage, epochs: int) -> int:
    """The epoch that is the last one of a schedule of as many epochs."""
    return epochs if stage.stop_after is None else min(stage.stop_after, epochs)


def _plan_again(stage: Stage, state: TrainingState, done: int, started: float, minutes: float) -> int:
    """How many epochs the stage lasts, judged by the slowest of the last few.

    Args:
        done: epochs of it, with the one that began at `started`, of which only the validation is still to come.
        minutes: of the training until now.
    """
    before = min(done, _RECENT_EPOCHS) - 1
    recent = [entry["seconds"] for entry in state.history[len(state.history) - before :]]
    return stage.count_epochs(done, minutes, max([time.monotonic() - started, *recent]))


def restore_weights(network: nn.Module, state: TrainingState) -> None:
    """Give a network the weights that the last finished stage left, which are named as parts of an objective."""
    prefix = "network."
    own = {name.removeprefix(prefix): weight for name, weight in state.weights.items() if name.startswith(prefix)}
    load_weights(dict(network.named_parameters()), own)


def _backward(objective: Objective, batch: Rows, step: int, parts: int) -> float:
    """The loss of a batch; its gradients are in the parameters then."""
    if parts == 1:
        return float(objective.backward(batch, step))
    losses = [objective.backward(part, step) for part in np.array_split(batch, parts) if len(part)]
    for weight in objective.parameters():
        if weight.grad is not None:
            weight.grad /= len(losses)
    return sum(float(loss) for loss in losses) / len(losses)


def is_as_good(scores: Tensor, peak: Tensor) -> bool:
    """Whether a later checkpoint may replace the best one: it is no worse than one standard error of the difference.

    The questions are the same, so the difference is paired. A few held-out rows cannot separate near equals, and
    among these the one that learned longest, at the lowest learning rate, is the better guess.

    Args:
        scores: (questions,) of the later checkpoint. peak: (questions,) of the evaluation with the highest mean.
    """
    lost = peak - scores
    if len(lost) < 2:
        return _mean(scores) >= _mean(peak)
    return bool(lost.mean() <= lost.std() / math.sqrt(len(lost)))


def _mean(scores: Tensor) -> float:
    return float(scores.mean()) if len(scores) else 0.0


def _save(state: TrainingState, trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, run: Path) -> None:
    state.weights = {name: weight.detach() for name, weight in trained.items()}
    state.optimizer = optimizer.state_dict()
    state.write(run)


class _Minutes:
    """Counts the minutes of training in the state."""

    def __init__(self, state: TrainingState) -> None:
        self._state = state
        self._last = time.monotonic()

    def tick(self) -> float:
        """The minutes until now."""
        now = time.monotonic()
        self._state.minutes += (now - self._last) / 60
        self._last = now
        return self._state.minutes


class _SaveClock:
    """Says when saving again costs no more than its share of the time."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._cost = 0.1

    def due(self) -> bool:
        return time.monotonic() - self._last > self._cost / _SHARE_FOR_SAVING

    def saved(self, save: Callable[..., None], *arguments: Any) -> None:
        started = time.monotonic()
        save(*arguments)
        self._last = time.monotonic()
        self._cost = self._last - started
