"""The training loop: step, average, evaluate, keep the best, save; it reads from top to bottom."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from likewise.errors import UserError
from likewise.progress import Bar, say
from likewise.training.batches import Rows
from likewise.training.objective import Objective
from likewise.training.optimizer import parameter_groups, trained_parameters
from likewise.training.recipe import Stage
from likewise.training.sampler import epoch_batches, steps_per_epoch
from likewise.training.training_state import TrainingState
from likewise.training.validation import Scores

_REFERENCE_BATCH = 128  # the batch size that the configured learning rates are meant for
_CLIP_NORM = 1.0
_MOST_EVALUATIONS = 15
_SHARE_FOR_SAVING = 0.05  # of the wall time, so that exact resume stays cheap


def fit(
    objective: Objective,
    stage: Stage,
    run: Path,
    state: TrainingState,
    validate: Callable[[], Scores],
    *,
    mine: Callable[[], Rows] | None = None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
    keep: Callable[[], None] = lambda: None,
) -> None:
    """Train the objective's network through one stage and leave its best averaged weights in it.

    A stage begins where another one has ended or at a closed form, which are finished weights: they stay where no
    checkpoint scores at least as high on average. Checkpoints among themselves are compared by `as_good_as`.

    Args:
        objective: loss and network; the network's trainable parameters are those that require gradients.
        stage: epochs, batch size, rates, seed, and the minutes that it may take.
        run: the folder that holds the state.
        state: how far the training is; it is changed as it goes on.
        validate: scores the network as it is now, one number per question; higher is better.
        mine: finds hard negatives (all rows, k) for the next epochs with the network as it is; None: rows are mixed at
            random.
        log: receives every entry of the history.
        keep: called now and then while the best weights so far are in the network, to save it for use.

    Raises:
        UserError: the loss is no longer a number.
    """
    config, network, data, processes = stage.config, objective.network, objective.data, objective.processes
    trained = trained_parameters(objective, config)
    batch_size = config.rows_per_batch
    groups = parameter_groups(trained, network, config, math.sqrt(batch_size / _REFERENCE_BATCH))
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    per_epoch = steps_per_epoch(len(data.rows), batch_size)
    total = per_epoch * config.total_epochs
    every = max(1, math.ceil(config.total_epochs / _MOST_EVALUATIONS))

    _set(trained, state.weights)
    if state.step == 0:
        state.averaged = {name: weight.detach().clone() for name, weight in trained.items()}
        state.best = {name: weight.detach().clone() for name, weight in trained.items()}
        state.peak = torch.from_numpy(validate())
        state.floor = _mean(state.peak)
        if not state.history:
            state.history.append({"epoch": 0, "step": 0, "validation": state.floor, "stage": stage.name})
    else:
        optimizer.load_state_dict(state.optimizer)
    first_epoch = state.history[-1]["epoch"] - state.step // per_epoch
    first_step = state.history[-1]["step"] - state.step // per_epoch * per_epoch

    clock, saves = _Minutes(state), _SaveClock()
    with Bar(f"Training {stage.name}".rstrip(), total) as bar:
        bar.advance(state.step)
        for epoch in range(state.step // per_epoch, config.total_epochs):
            since_best = epoch - max(state.best_epoch - first_epoch, 0)
            if config.patience is not None and since_best >= config.patience * every:
                say(f"Nothing better in {since_best} epochs: training ends here")
                break
            last = state.history[-1].get("seconds", 0.0) / 60 if epoch else 0.0
            if processes.from_leader(state.minutes + last > stage.until_minute):
                say(f"The time is up after {epoch} of {config.total_epochs} epochs: training ends here")
                break
            started = time.monotonic()
            done = state.step - epoch * per_epoch
            if mine is not None and epoch % every == 0 and not done:
                state.neighbours = torch.from_numpy(mine())
            neighbours = state.neighbours.cpu().numpy() if len(state.neighbours) else None
            order = epoch_batches(data.rows, data.identity.thing, batch_size, config.seed, epoch, neighbours)
            for place, batch in enumerate(order):
                if place < done:
                    continue
                network.train()
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * schedule(state.step, total, config.warmup)
                optimizer.zero_grad(set_to_none=True)
                loss = _backward(objective, batch, state.step, config.accumulate)
                if not math.isfinite(loss):
                    raise UserError(
                        f"training stopped at step {state.step}: the loss is not a number; "
                        "lower learning_rate in the config and train with --restart"
                    )
                processes.sum_gradients(trained.values())
                nn.utils.clip_grad_norm_(list(trained.values()), _CLIP_NORM)
                optimizer.step()
                state.step += 1
                _average(state.averaged, trained, min(config.ema, state.step / (state.step + 10)))
                state.running_loss += loss
                bar.advance(note=f"loss {loss:.3f}")
                if saves.due() and state.step % per_epoch and processes.leads:
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
            if (epoch + 1) % every == 0 or epoch + 1 == config.total_epochs:
                with _weights(trained, state.averaged):
                    scores = torch.from_numpy(validate())
                    entry["validation"] = _mean(scores)
                    if entry["validation"] > _mean(state.peak):
                        state.peak = scores
                    if as_good_as(scores, state.peak) and entry["validation"] >= state.floor:
                        state.best_epoch = entry["epoch"]
                        state.best = {name: weight.clone() for name, weight in state.averaged.items()}
                        if processes.leads and saves.due():
                            saves.saved(keep)
            entry["seconds"] = time.monotonic() - started
            entry["minutes"] = clock.tick()
            state.history.append(entry)
            log(entry)
            if processes.leads and saves.due():
                saves.saved(_save, state, trained, optimizer, run)
    _set(trained, state.best)
    state.weights, state.stage, state.step, state.optimizer = dict(state.best), state.stage + 1, 0, {}
    network.eval()
    if processes.leads:
        state.write(run)


def restore(network: nn.Module, state: TrainingState) -> None:
    """Give a network the weights that the last finished stage left, which are named as parts of an objective."""
    prefix = "network."
    own = {name.removeprefix(prefix): weight for name, weight in state.weights.items() if name.startswith(prefix)}
    _set(dict(network.named_parameters()), own)


def _backward(objective: Objective, batch: Rows, step: int, parts: int) -> float:
    """The loss of a batch; its gradients are in the parameters then."""
    if parts == 1:
        return float(objective.backward(batch, step))
    losses = [objective.backward(part, step) for part in np.array_split(batch, parts) if len(part)]
    for weight in objective.parameters():
        if weight.grad is not None:
            weight.grad /= len(losses)
    return sum(float(loss) for loss in losses) / len(losses)


def schedule(step: int, total: int, warmup: float) -> float:
    """The share of the peak learning rate: linear warm-up, then a cosine down to 0 (Loshchilov and Hutter, 2017)."""
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def as_good_as(scores: Tensor, peak: Tensor) -> bool:
    """Whether a later checkpoint may replace the best one: it is no worse than one standard error of the difference.

    The questions are the same, so the difference is paired. A few held-out rows cannot tell near equals apart, and
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


@torch.no_grad()
def _average(averaged: dict[str, Tensor], weights: dict[str, nn.Parameter], decay: float) -> None:
    for name, weight in weights.items():
        averaged[name].lerp_(weight, 1 - decay)


@torch.no_grad()
def _set(weights: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        if name in weights:  # an earlier stage may have trained others
            weights[name].copy_(value)


@contextmanager
def _weights(trained: dict[str, nn.Parameter], values: dict[str, Tensor]) -> Iterator[None]:
    """Look at the network with other weights for a while."""
    own = {name: weight.detach().clone() for name, weight in trained.items()}
    _set(trained, values)
    try:
        yield
    finally:
        _set(trained, own)


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
