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

from likewise.config import TrainConfig
from likewise.errors import UserError
from likewise.progress import Bar
from likewise.training.objective import Objective
from likewise.training.sampler import epoch_batches, steps_per_epoch
from likewise.training.state import TrainingState

_REFERENCE_BATCH = 128  # the batch size that the configured learning rates are meant for
_CLIP_NORM = 1.0
_MOST_EVALUATIONS = 15
_SHARE_FOR_SAVING = 0.05  # of the wall time, so that exact resume stays cheap


def fit(
    objective: Objective,
    config: TrainConfig,
    run: Path,
    validate: Callable[[], float],
    log: Callable[[dict[str, Any]], None],
) -> TrainingState:
    """Train the objective's network and leave its best averaged weights in it.

    Args:
        objective: loss and network; the network's trainable parameters are those that require gradients.
        config: epochs, batch size, rates, seed.
        run: the folder that holds the state; an unfinished training there goes on.
        validate: scores the network as it is now; higher is better.
        log: receives every entry of the history.

    Raises:
        UserError: the loss is no longer a number.
    """
    network, data = objective.network, objective.data
    trained = {name: weight for name, weight in objective.named_parameters() if weight.requires_grad}
    batch_size = config.rows_per_batch
    learning_rate_scale = math.sqrt(batch_size / _REFERENCE_BATCH)
    optimizer = torch.optim.AdamW(parameter_groups(trained, config, learning_rate_scale), betas=(0.9, 0.98), fused=True)
    per_epoch = steps_per_epoch(len(data.rows), batch_size)
    total = per_epoch * config.total_epochs
    every = max(1, math.ceil(config.total_epochs / _MOST_EVALUATIONS))

    state = TrainingState.read(run, objective.log_scale.device)
    if state is None:
        state = TrainingState(
            averaged={name: weight.detach().clone() for name, weight in trained.items()},
            best={name: weight.detach().clone() for name, weight in trained.items()},
            best_score=validate(),
        )
        state.history.append({"epoch": 0, "step": 0, "validation": state.best_score})
    else:
        _set(trained, state.weights)
        optimizer.load_state_dict(state.optimizer)

    clock = _SaveClock()
    with Bar("Training", total) as bar:
        bar.advance(state.step)
        for epoch in range(state.step // per_epoch, config.total_epochs):
            started = time.monotonic()
            done = state.step - epoch * per_epoch
            for place, batch in enumerate(
                epoch_batches(data.rows, data.identity.title, batch_size, config.seed, epoch)
            ):
                if place < done:
                    continue
                network.train()
                torch.manual_seed(config.seed * 1_000_003 + state.step)
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * schedule(state.step, total, config.warmup)
                loss = objective(batch, np.random.default_rng([config.seed, 5, state.step]))
                if not torch.isfinite(loss):
                    raise UserError(
                        f"training stopped at step {state.step}: the loss is not a number; "
                        "lower learning_rate in the config and train with --restart"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(list(trained.values()), _CLIP_NORM)
                optimizer.step()
                state.step += 1
                _average(state.averaged, trained, min(config.ema, state.step / (state.step + 10)))
                state.running_loss += loss.item()
                bar.advance(note=f"loss {loss.item():.3f}")
                if clock.due() and state.step % per_epoch:
                    clock.saved(_save, state, trained, optimizer, run)
            entry = {
                "epoch": epoch + 1,
                "step": state.step,
                "loss": state.running_loss / per_epoch,
                "learning_rate": optimizer.param_groups[0]["lr"],
                "temperature": 1 / objective.scale.item(),
            }
            state.running_loss = 0.0
            if (epoch + 1) % every == 0 or epoch + 1 == config.total_epochs:
                with _weights(trained, state.averaged):
                    entry["validation"] = validate()
                # a handful of held-out rows cannot tell: among equals the one that learned most is kept
                if entry["validation"] >= state.best_score:
                    state.best_score, state.best_epoch = entry["validation"], epoch + 1
                    state.best = {name: weight.clone() for name, weight in state.averaged.items()}
            entry["seconds"] = time.monotonic() - started
            state.history.append(entry)
            log(entry)
            if clock.due() or epoch + 1 == config.total_epochs:
                clock.saved(_save, state, trained, optimizer, run)
    _set(trained, state.best)
    network.eval()
    return state


def schedule(step: int, total: int, warmup: float) -> float:
    """The share of the peak learning rate: linear warm-up, then a cosine down to 0 (Loshchilov and Hutter, 2017)."""
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def parameter_groups(trained: dict[str, nn.Parameter], config: TrainConfig, scale: float) -> list[dict[str, Any]]:
    """Heads and encoders at their own rates; no weight decay on vectors (norms, biases, gates) and the temperature."""
    groups = []
    for is_encoder, rate in ((False, config.learning_rate), (True, config.encoder_learning_rate)):
        for is_matrix, decay in ((True, config.weight_decay), (False, 0.0)):
            members = [
                weight
                for name, weight in trained.items()
                if name.startswith("network.encoders.") == is_encoder and (weight.ndim >= 2) == is_matrix
            ]
            if members:
                groups.append({"params": members, "lr": rate * scale, "peak": rate * scale, "weight_decay": decay})
    return groups


@torch.no_grad()
def _average(averaged: dict[str, Tensor], weights: dict[str, nn.Parameter], decay: float) -> None:
    for name, weight in weights.items():
        averaged[name].lerp_(weight, 1 - decay)


@torch.no_grad()
def _set(weights: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    for name, weight in weights.items():
        weight.copy_(values[name])


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
