"""Text heads above a closed-form start: how they train, and what share of what they learned is kept.

Heads train above half of the kernel ridge of descriptions: above all of it there is less left to learn. What a row sees
of its start is cross-fitted (`LeftOutTowers`).

Pictures stay at their start but for one vector, which is added to all of them before they are normalised: queries that
learn move away from where the closed form has put pictures, and without it these would fall behind, most of all in an
index where other items have only a text.

With several seeds, heads train from the same start with each, and their weights are averaged: they stay close to each
other, so the mean is a model as good as the mean of their answers (Wortsman et al. 2022, "Model soups").
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likewise.training.batches import TrainingSet
from likewise.training.closed_form_start import weigh_description
from likewise.training.context import TrainingContext
from likewise.training.ema import load_weights
from likewise.training.left_out import LeftOutTowers, StartFit
from likewise.training.loop import fit, restore_weights
from likewise.training.objective import Objective
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage
from likewise.training.training_state import TrainingState

_TRAINED_ABOVE = 0.5  # of kernel ridge in descriptions
_BETWEEN_SEEDS = 1_000_003  # so that the seeds that people try one after the other do not train the same heads


class Shares(NamedTuple):
    """How much of each part enters the towers, from 0 to 1.

    Attributes:
        description: of kernel ridge in the description tower; None: there is none.
        query: of what the query tower learned.
        texts: of what the towers of text fields learned.
    """

    description: float | None
    query: float
    texts: float

    @property
    def learned(self) -> bool:
        """Whether anything that was learned is kept."""
        return bool(self.query or self.texts)

    @property
    def image(self) -> float:
        """The share of the offset of pictures, which follow the queries."""
        return max(self.query, self.texts)


def build_left_out_towers(context: TrainingContext, data: TrainingSet, fits: Mapping[str, StartFit]) -> LeftOutTowers:
    """The towers above which heads train, as they answer for a row whose fold they have not seen."""
    start = weigh_description(fits, _TRAINED_ABOVE)
    return LeftOutTowers(context.model.network, context.cached, data, start, context.folds)


def train_text_heads(
    context: TrainingContext,
    data: TrainingSet,
    towers: LeftOutTowers,
    stage: Stage,
    state: TrainingState,
    run: Path | None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
    seeds: int = 1,
) -> None:
    """Train the text heads of an untrained network and the offset of pictures; all else stays as it is.

    Args:
        data: the rows that train.
        towers: of these rows.
        state: how far the training is; it is updated in place.
        run: where the state is saved; None: nowhere.
        log: receives every entry of the history.
        seeds: how many trainings there are, each from the same start; the heads are left at their mean.
    """
    network = context.model.network
    network.requires_grad_(False)
    for head in network.text_heads.values():
        head.residual.requires_grad_(True)
    if "image" in network.fields:
        network.picture_head.offset.requires_grad_(True)
    start = {name: weight.detach().clone() for name, weight in network.named_parameters() if weight.requires_grad}
    if state.stage > len(state.learned):  # it was killed just after one had finished
        _keep_learned(state)
    for number in range(len(state.learned), seeds):
        load_weights(dict(network.named_parameters()), start)
        each = _set_seed(stage, number)
        objective = Objective(network, context.cached, data, each.config, context.processes, towers)
        objective.to(context.model.device)
        fit(objective, build_optimizer(objective, network, each.config), each, run, state, None, log=log)
        _keep_learned(state)
    restore_weights(network, TrainingState(weights=_average(state.learned)))


def scale_learned(context: TrainingContext, shares: Shares) -> None:
    """Keep only these shares of what the heads of the network learned."""
    network = context.model.network
    for tower, head in network.text_heads.items():
        head.scale_residual(shares.query if tower == "query" else shares.texts)
    if "image" in network.fields:
        network.picture_head.scale_residual(shares.image)


def _set_seed(stage: Stage, number: int) -> Stage:
    """The stage with another seed; its minutes count from the first one's start."""
    if not number:
        return stage
    config = stage.config.model_copy(update={"seed": (stage.config.seed + number * _BETWEEN_SEEDS) % 2**63})
    name = f"{stage.name}, seed {number + 1}".removeprefix(", ")
    return dataclasses.replace(stage, name=name, config=config, until_minute=stage.until_minute * (number + 1))


def _keep_learned(state: TrainingState) -> None:
    state.learned.append(state.weights)
    state.weights = {}


def _average(learned: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([weights[name] for weights in learned]).mean(dim=0) for name in learned[0]}
